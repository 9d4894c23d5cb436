//! Whole runs: the oracle on cases with a known answer, conservation, determinism, cold dialects.

use crate::sim::bench::{Plan, compare};
use crate::sim::entrant::{DEFAULT, find};
use crate::sim::ledger::{End, Ledger};
use crate::sim::scenario::Scenario;
use crate::sim::{oracle, random, run, score, shares, suite};

fn scenario(rest: &str) -> Scenario {
    let text = format!(
        "name = \"T\"\ntitle = \"test\"\nduration = 200\ndeadline = 20\ntimeout = 20\n{rest}"
    );
    suite::parse("test", &text).unwrap()
}

/// Work that the oracle served between the filling and the draining of the queue, per second.
fn steady(book: &Ledger) -> f64 {
    book.windows[6..38].iter().sum::<f64>() / (32.0 * 5.0)
}

fn near(value: f64, known: f64, part: f64) {
    assert!(
        (value / known - 1.0).abs() < part,
        "{value} is not near {known}"
    );
}

#[test]
fn the_oracle_keeps_every_slot_busy() {
    let overload = scenario(
        "value = \"work\"\n[[tenants]]\nrate = [[0, 20]]\n[backend]\nslots = [[0, 8]]\nline = 2",
    );
    // Eight slots do eight seconds of work per second.
    near(steady(&oracle::run(&overload, 1)), 8.0, 0.02);
}

#[test]
fn the_oracle_uses_a_quota_to_its_last_unit() {
    let quota = scenario(
        "value = \"calls\"\n[[tenants]]\nrate = [[0, 9]]\n[backend]\nslots = [[0, 64]]\n[backend.quota]\nper_minute = 300\nburst = 30\ntelling = \"nothing\"",
    );
    let book = oracle::run(&quota, 1);
    near(steady(&book), 5.0, 0.02);
    assert_eq!(book.attempts.get("limit"), None, "and is never refused");
}

#[test]
fn the_oracle_serves_a_batch_server_at_its_knee() {
    let batch = scenario(
        "[[tenants]]\nrate = [[0, 30]]\n[work]\nmean = 100\nsigma = 0.01\n[backend]\nslots = [[0, 256]]\n[backend.batch]\nt0 = 0.02\nt1 = 0.0006\nprefill = 20\nstreams = true\n[backend.thrash]\nknee = 48\nslope = 1.2\nfloor = 0.25",
    );
    // 48 calls, each at 1 / (t0 + 48 t1) tokens per second, of which 100 in 120 are useful.
    let known = 48.0 / (0.02 + 48.0 * 0.0006) * 100.0 / 120.0;
    near(steady(&oracle::run(&batch, 1)), known, 0.03);
}

#[test]
fn the_oracle_repeats_faults_at_once() {
    let faults = scenario(
        "[[tenants]]\nrate = [[0, 30]]\n[backend]\nslots = [[0, 8]]\nline = 0\n[backend.faults]\nshare = 0.25",
    );
    // A fault takes as long as a success, so three quarters of the work are useful.
    near(steady(&oracle::run(&faults, 1)), 6.0, 0.03);
}

#[test]
fn the_oracle_wakes_a_sleeper_with_one_call_and_serves_all_who_can_wait() {
    let cold = scenario(
        "[[tenants]]\nrate = [[0, 2]]\n[backend]\nslots = [[0, 8]]\n[backend.cold]\ndialect = \"silent\"\nboot = 15\nasleep = true",
    );
    let book = oracle::run(&cold, 1);
    assert_eq!(book.attempts.get("cold"), Some(&1));
    assert!(book.ended(End::Served) >= 0.98 * crate::sim::number::real(book.ends.len()));
}

#[test]
fn every_offered_call_ends_exactly_once_and_nothing_is_left() {
    let named = suite::named().unwrap();
    let short = named.into_iter().filter(|s| s.duration < 1000.0);
    for mut scenario in short.chain((0..20).map(random::draw)) {
        scenario.duration = scenario.duration.min(40.0);
        for name in ["kebne", "aimd", "kebne-hedged"] {
            let book = run::run(&scenario, 5, find(name).unwrap(), false);
            let what = format!("{} {name}", scenario.name);
            assert_eq!(book.twice, 0, "{what}: a call ended twice");
            assert_eq!(book.left_over, 0, "{what}: a call never ended");
            assert_eq!(
                book.violations, 0,
                "{what}: sent without permission, or not sent though idle"
            );
            assert!(!book.ends.is_empty(), "{what}: nothing was offered");
        }
    }
}

#[test]
fn a_seed_gives_the_same_table_bit_by_bit_on_any_number_of_threads() {
    let table = |threads: usize, seed: u64| {
        let named = suite::named().unwrap();
        let chosen = ["S01", "S06", "S16", "S17b"];
        let plan = Plan {
            scenarios: named
                .into_iter()
                .filter(|s| chosen.contains(&s.name.as_str()))
                .map(|s| Scenario {
                    duration: s.duration.min(60.0),
                    ..s
                })
                .collect(),
            entrants: DEFAULT.iter().map(|name| find(name).unwrap()).collect(),
            seeds: vec![seed, seed + 1],
            threads,
            bar: false,
        };
        serde_json::to_string(&compare(&plan)).unwrap()
    };
    let first = table(1, 3);
    assert_eq!(first, table(2, 3));
    assert_ne!(first, table(2, 9), "another seed is another table");
}

#[test]
fn each_dialect_of_cold_start_is_waited_out_by_the_oracle_and_the_lane() {
    for (dialect, most) in [
        ("honest", 24),
        ("constant", 30),
        ("silent", 30),
        ("holding", 0),
        ("proxy", 0),
    ] {
        let mut cold = scenario(&format!(
            "event = 30\n[[tenants]]\nrate = [[0, 4]]\n[backend]\nslots = [[0, 8]]\n[backend.cold]\ndialect = \"{dialect}\"\nboot = 30\nasleep = true"
        ));
        cold.deadline = 60.0;
        cold.timeout = 10.0;
        let book = run::run(&cold, 2, find("kebne").unwrap(), false);
        let reference = oracle::run(&cold, 2);
        assert_eq!(book.episodes, 1, "{dialect}");
        // The one call that wakes it outlasts the time that an ordinary attempt may take.
        let given_up = book.attempts.get("timeout").copied().unwrap_or(0);
        assert!(dialect != "holding" || given_up == 0, "{given_up} probes");
        assert!(book.work >= 0.95 * reference.work, "{dialect} lost work");
        let told = book.attempts.get("cold").copied().unwrap_or(0);
        assert!(told <= most, "{dialect}: {told} loading answers");
    }
}

#[test]
fn hedging_cuts_the_tail_that_is_bad_luck_for_one_attempt_in_twenty() {
    let named = suite::named().unwrap();
    let slow = named.iter().find(|s| s.name == "S41").unwrap();
    let run = |law| {
        let book = run::run(slow, 6, find(law).unwrap(), false);
        let reference = oracle::run(slow, 6);
        crate::sim::score::score(slow, &book, &reference)
    };
    let (plain, hedged) = (run("kebne"), run("kebne-hedged"));
    assert!(
        hedged.p99 < 0.5 * plain.p99,
        "p99 {} s without, {} s with",
        plain.p99,
        hedged.p99
    );
    assert!(hedged.attempts < 1.06, "{} attempts", hedged.attempts);
    assert!(hedged.goodput > plain.goodput - 0.002);
}

#[test]
fn no_call_waits_for_an_idle_backend_that_was_slow_after_its_cold_start() {
    for seed in 1..6 {
        let mut cold = scenario(
            "[[tenants]]\nrate = [[0, 5], [3, 5], [3, 0]]\n[work]\nmean = 1.35\nsigma = 0.1\n[backend]\nslots = [[0, 8]]\n\
            [backend.cold]\ndialect = \"silent\"\nboot = 2\nasleep = true\n[[backend.brownouts]]\nfrom = 0\nto = 8\nfactor = 3",
        );
        (cold.duration, cold.deadline) = (20.0, 15.0);
        let book = run::run(&cold, seed, find("kebne").unwrap(), false);
        let served = book.ended(End::Served);
        let all = crate::sim::number::real(book.ends.len());
        assert!(served >= all - 1.0, "{served} of {all}: {:?}", book.reasons);
    }
}

#[test]
fn a_busy_machine_does_not_hold_calls_back_from_a_backend_with_room() {
    let named = suite::named().unwrap();
    for seed in 1..6 {
        let quick = named.iter().find(|s| s.name == "S48").unwrap();
        let book = run::run(quick, seed, find("kebne").unwrap(), false);
        let served = book.ended(End::Served) / crate::sim::number::real(book.ends.len());
        assert!(served > 0.85, "seed {seed}: {served} of the quick calls");
        let after = book.moments.iter().filter(|moment| moment.time > 65.0);
        let waiting = after.filter(|moment| moment.queued > 0).count();
        assert!(waiting <= 2, "seed {seed}: calls wait after the noise");
        let streams = named.iter().find(|s| s.name == "S47").unwrap();
        let book = run::run(streams, seed, find("kebne").unwrap(), false);
        let after = book.moments.iter().filter(|moment| moment.time > 45.0);
        let lowest = after
            .map(|moment| moment.limit)
            .fold(f64::INFINITY, f64::min);
        assert!(lowest >= 48.0, "seed {seed}: {lowest} streams of 64");
    }
}

/// Returns the median latency of the calls that ended after the first `skipped` ones.
fn median_after(book: &Ledger, skipped: usize) -> f64 {
    crate::sim::number::quantile(&book.latencies[skipped..], 0.5)
}

#[test]
fn a_backend_that_becomes_far_slower_at_low_load_delays_no_one_after_three_seconds() {
    for slower in [20.0, 100.0, 400.0] {
        let until = 60.0;
        let mut jump = scenario(&format!(
            "[[tenants]]\nrate = [[0, 100]]\n[work]\nmean = 0.0005\nsigma = 0.1\n[backend]\nslots = [[0, 1000]]\n\
            [[backend.brownouts]]\nfrom = {until}\nto = 1000\nfactor = {slower}"
        ));
        jump.duration = 120.0;
        let book = run::run(&jump, 4, find("kebne").unwrap(), false);
        // A hundred calls per second.
        let healed = median_after(&book, 6300);
        let direct = 0.0005 * slower;
        assert!(
            healed < 1.02 * direct + 0.001,
            "{healed} s instead of {direct} s"
        );
    }
}

#[test]
fn a_load_that_grows_on_a_backend_with_room_is_as_fast_as_direct() {
    let mut room = scenario(
        "[[tenants]]\nrate = [[0, 2], [40, 90], [80, 90]]\n[work]\nmean = 1.3\nsigma = 0.7\n[mix]\nstreamed = 0.5\nprompt = 0.2\n\
        [backend]\nslots = [[0, 1000]]",
    );
    room.duration = 80.0;
    for seed in 1..5 {
        let book = run::run(&room, seed, find("kebne").unwrap(), false);
        let direct = oracle::run(&room, seed);
        let (median, known) = (median_after(&book, 0), median_after(&direct, 0));
        assert!(median < 1.05 * known, "{median} s instead of {known} s");
    }
}

#[test]
fn a_cold_backend_that_is_ready_long_before_it_said_serves_callers_who_could_not_wait_that_long() {
    // It announces 20 s and is ready after one. The first caller leaves before the second probe.
    let mut cold = scenario(
        "[[tenants]]\nrate = [[0, 4]]\n[work]\nmean = 0.1\nsigma = 0.1\n[backend]\nslots = [[0, 8]]\n\
        [backend.cold]\ndialect = \"constant\"\nboot = 1\nasleep = true",
    );
    cold.duration = 40.0;
    cold.deadline = 1.5;
    for seed in 1..5 {
        let book = run::run(&cold, seed, find("kebne").unwrap(), false);
        let served = book.ended(End::Served) / crate::sim::number::real(book.ends.len());
        // A probe each two seconds.
        assert!(served > 0.93, "seed {seed}: {served}");
    }
}

#[test]
fn several_gateways_with_leases_wake_a_backend_once_and_hold_no_more_of_a_silent_one() {
    let all = suite::named().unwrap();
    let score = |name: &str, count: usize, law: &str| {
        let found = all.iter().find(|scenario| scenario.name == name).unwrap();
        let scenario = shares::with_gateways(found, count);
        let run = run::run(&scenario, 31, find(law).unwrap(), false);
        assert_eq!(run.left_over, 0);
        score::score(&scenario, &run, &oracle::run(&scenario, 31))
    };
    let cold = |count, law| score("S02", count, law).ends["cold"];
    let alone = cold(1, "kebne");
    assert!(cold(3, "kebne-shared") <= alone + 2.0);
    assert!(
        cold(3, "kebne") > 2.0 * alone,
        "without leases each one wakes it"
    );
    let silent = |count, law| score("S17b", count, law);
    let (alone, shared) = (silent(1, "kebne"), silent(5, "kebne-shared"));
    assert!(
        shared.load <= 1.5 * alone.load,
        "{} {}",
        shared.load,
        alone.load
    );
    assert!(silent(5, "kebne").load > 1.5 * alone.load);
    assert!(shared.goodput >= 0.9 * alone.goodput);
}
