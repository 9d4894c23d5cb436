//! The equations are those of `docs/control.md`.

use super::*;
use crate::num::{calls, seconds};

fn law() -> Adaptive {
    Adaptive::new(&ControllerSettings::default(), Timestamp::ZERO)
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

fn sample(signal: Signal, in_flight: u32, latency: f64, now: f64) -> Sample {
    Sample {
        signal,
        in_flight,
        in_flight_end: in_flight,
        sent: at(now - latency),
        latency: seconds(latency),
        log_latency: Some(latency.ln()),
        binding: true,
        acknowledged: false,
    }
}

/// Keeps the limit full of calls on a backend of `slots`, with a queue that says nothing.
fn drive(law: &mut Adaptive, slots: f64, rounds: u32, signal: Signal, share: u32) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for round in 0..rounds {
        let n = calls(law.limit());
        let latency = (f64::from(n) / slots).max(1.0);
        let now = 10.0 + f64::from(round) * 0.1;
        let ending = if share > 0 && round % share == 0 {
            signal
        } else {
            Signal::Served
        };
        verdicts.extend(law.sample(&sample(ending, n, latency, now), at(now)));
    }
    verdicts
}

/// Keeps the limit full of calls on a backend that refuses above `slots`, and by chance one call in `chance`;
/// counts the refusals. Ten calls per second end, refusals take 50 ms.
fn drive_rejecting(law: &mut Adaptive, slots: u32, from: f64, rounds: u32, chance: u32) -> u32 {
    let mut refusals = 0;
    for round in 0..rounds {
        let now = from + f64::from(round) * 0.1;
        let n = calls(law.limit());
        law.dispatched(n, at(now));
        let unlucky = chance > 0 && round % chance == 0;
        let ended = now + 0.01;
        let (signal, took) = if n > slots || unlucky {
            refusals += 1;
            (Signal::Refused, 0.05)
        } else {
            // By Little's law.
            (Signal::Served, f64::from(n) / 10.0)
        };
        let taken = Sample {
            sent: at(now),
            ..sample(signal, n, took, ended)
        };
        law.sample(&taken, at(ended));
        law.tick(true, at(now + 0.09));
        law.dispatched(calls(law.limit()), at(now + 0.09));
    }
    refusals
}

#[test]
fn a_silent_queue_is_found_by_its_elasticity() {
    let mut law = law();
    let verdicts = drive(&mut law, 16.0, 3000, Signal::Served, 0);
    assert!((14.0..=28.0).contains(&law.level), "{}", law.level);
    let text: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
    assert!(text.iter().any(|v| v.starts_with("UP ")), "{text:?}");
    assert!(text.iter().any(|v| v.contains("reject")), "{text:?}");
    let (from, to) = (verdicts[0].from, verdicts[0].to);
    assert!(from < to, "the level before comes first: {text:?}");
}

#[test]
fn faults_that_do_not_depend_on_load_do_not_hold_it_back() {
    let mut law = law();
    drive(&mut law, 16.0, 3000, Signal::Fault, 10);
    assert!(law.level >= 13.0, "{}", law.level);
}

#[test]
fn a_silent_backend_that_lost_half_its_slots_is_followed_down() {
    let mut law = law();
    drive(&mut law, 16.0, 3000, Signal::Served, 0);
    let mut now = 400.0;
    for _ in 0..3000 {
        let n = calls(law.limit());
        let latency = (f64::from(n) / 6.0).max(1.0);
        law.sample(&sample(Signal::Served, n, latency, now), at(now));
        now += 0.1;
    }
    assert!((5.0..=12.0).contains(&law.level), "{}", law.level);
}

#[test]
fn a_refusal_at_a_held_level_clamps_to_what_was_served_once_per_epoch() {
    let mut law = law();
    law.level = 20.0;
    law.enter(Mode::Edge);
    let first = law.sample(&sample(Signal::Refused, 20, 0.05, 10.0), at(10.0));
    assert_eq!(first.unwrap().to_string(), "CLAMP 20.0->19.0 refused");
    let second = law.sample(&sample(Signal::Refused, 19, 0.05, 10.01), at(10.01));
    assert_eq!(second, None, "it was sent before the cut");
}

#[test]
fn refusals_in_a_row_cut_deeper_and_deeper() {
    let mut law = law();
    law.level = 24.0;
    law.enter(Mode::Edge);
    let mut levels = Vec::new();
    for step in 0..5 {
        let now = 10.0 + f64::from(step);
        law.sample(
            &sample(Signal::Refused, calls(law.limit()), 0.05, now),
            at(now),
        );
        levels.push(calls(law.limit()));
    }
    // 24 - 1, then (n - 1) times 0.8, 0.6, 0.5, 0.5.
    assert_eq!(levels, [23, 17, 9, 4, 1]);
}

#[test]
fn an_edge_is_found_to_one_call_and_asked_for_one_refusal_at_a_time() {
    let mut law = law();
    drive_rejecting(&mut law, 12, 10.0, 300, 0);
    assert!((law.level - 12.0).abs() < 1e-9, "{}", law.level);
    let refusals = drive_rejecting(&mut law, 12, 40.0, 2000, 0);
    // 200 s: a tenth per second and 0.03 for each of 2000 successes, and those saved up.
    assert!((60..=90).contains(&refusals), "{refusals}");
    assert!((law.level - 12.0).abs() < 1e-9, "{}", law.level);
}

#[test]
fn room_that_turns_up_is_taken_within_seconds() {
    let mut law = law();
    drive_rejecting(&mut law, 6, 10.0, 600, 0);
    drive_rejecting(&mut law, 24, 70.0, 45, 0);
    assert!(law.level >= 22.0, "{}", law.level);
}

#[test]
fn a_growth_of_one_slot_per_second_is_followed() {
    let mut law = law();
    drive_rejecting(&mut law, 6, 10.0, 600, 0);
    for second in 0..40_u32 {
        drive_rejecting(&mut law, 6 + second, 70.0 + f64::from(second), 10, 0);
        let behind = f64::from(6 + second) - law.level;
        assert!(behind <= 8.0, "{behind} behind after {second} s");
    }
}

#[test]
fn a_backend_that_shuts_is_asked_one_call_at_a_time_and_its_level_is_restored() {
    let mut law = law();
    drive_rejecting(&mut law, 12, 10.0, 300, 0);
    let level = law.level;
    let mut now = 40.0;
    while law.asks_at().is_none() {
        let n = calls(law.limit());
        law.dispatched(n, at(now));
        law.sample(
            &sample(Signal::Refused, n, 0.05, now + 0.05),
            at(now + 0.05),
        );
        now += 0.06;
    }
    let mut waits = Vec::new();
    for _ in 0..5 {
        let due = law.asks_at().unwrap().as_secs_f64();
        waits.push(((due - now) * 10.0).round() / 10.0);
        now = due;
        law.dispatched(1, at(now));
        law.sample(&sample(Signal::Refused, 1, 0.05, now), at(now));
    }
    assert_eq!(waits, [0.1, 0.3, 0.6, 1.0, 1.0]);
    now = law.asks_at().unwrap().as_secs_f64();
    law.dispatched(1, at(now));
    law.tick(false, at(now + 0.5));
    assert!((law.level - level).abs() < 1.5, "{} of {level}", law.level);
    let (from, to) = law.penalty().unwrap();
    assert!(to.since(from) >= seconds(3.0), "{from:?} {to:?}");
    assert_eq!((law.asks_at(), law.penalty()), (None, None));
}

#[test]
fn refusals_by_chance_whatever_is_in_flight_do_not_hold_it_down() {
    let mut law = law();
    drive_rejecting(&mut law, 20, 10.0, 3000, 30);
    assert!(law.level >= 15.0, "{}", law.level);
}

#[test]
fn it_never_leaves_its_bounds() {
    let settings = ControllerSettings {
        limit_max: 5,
        ..ControllerSettings::default()
    };
    let mut law = Adaptive::new(&settings, Timestamp::ZERO);
    drive(&mut law, 1000.0, 2000, Signal::Served, 0);
    assert!((law.limit() - 5.0).abs() < 1e-9);
    for step in 0..50 {
        let now = 1000.0 + f64::from(step);
        law.sample(&sample(Signal::Refused, 1, 0.01, now), at(now));
    }
    assert!((law.limit() - 1.0).abs() < 1e-9);
}

/// What may happen to a law.
fn event() -> impl proptest::strategy::Strategy<Value = (u8, u32, f64, bool)> {
    use proptest::prelude::any;
    (any::<u8>(), 1..60_u32, 0.01..20.0_f64, any::<bool>())
}

proptest::proptest! {
    #[test]
    fn whatever_it_sees_limit_and_budget_keep_their_bounds(
        events in proptest::collection::vec(event(), 0..400)
    ) {
        let settings = ControllerSettings { limit_max: 50, ..ControllerSettings::default() };
        let mut law = Adaptive::new(&settings, Timestamp::ZERO);
        let (mut now, mut cut) = (30.0, Timestamp::ZERO);
        for (kind, in_flight, latency, binding) in events {
            now += latency / 10.0;
            let signal = match kind % 8 {
                0 => Signal::Refused,
                1 => Signal::Fault,
                2 => Signal::Timeout,
                _ => Signal::Served,
            };
            law.dispatched(in_flight, at(now));
            let seen = Sample { binding, ..sample(signal, in_flight, latency, now) };
            let verdict = law.sample(&seen, at(now));
            if verdict.is_some_and(|verdict| verdict.kind == VerdictKind::Clamp) {
                proptest::prop_assert!(seen.sent >= cut, "one cut per epoch");
                cut = at(now);
            }
            law.tick(binding, at(now));
            if kind > 252 {
                law.restart(Some(latency), at(now));
            }
            proptest::prop_assert!((1.0..=50.0).contains(&law.limit()), "{law:?}");
            proptest::prop_assert!(law.limit().fract() < 1e-9, "whole: {law:?}");
            proptest::prop_assert!(law.edge.budget.abs() <= edge::BUDGET_CAP, "{law:?}");
        }
    }
}

#[test]
fn callers_that_leave_do_not_leave_a_climb_without_a_foot() {
    for leave in [0, 5, 8] {
        let mut law = law();
        for call in 0..8 {
            law.dispatched(2, at(10.0 + f64::from(call) * 0.1));
        }
        for call in 0..leave {
            law.uninformative(at(10.0 + f64::from(call) * 0.1));
        }
        for _ in 0..leave {
            law.dispatched(2, at(11.0));
        }
        for call in leave..8 {
            let ended = 11.0 + f64::from(call) * 0.1;
            law.sample(&sample(Signal::Served, 2, 1.0, ended), at(ended));
        }
        for _ in 0..leave {
            law.sample(&sample(Signal::Served, 2, 1.0, 12.0), at(12.0));
        }
        let foot = law.ladder.foot();
        assert!(
            foot.is_some_and(|foot| foot.y.abs() < 1e-9),
            "{leave} left: {foot:?}"
        );
    }
}

/// Sends as many calls as the limit allows, again and again; one in four fails after 20 ms, the others are served after
/// a second.
fn drive_broken_replica(law: &mut Adaptive, rounds: u32) {
    for round in 0..rounds {
        let start = 10.0 + f64::from(round) * 1.1;
        let n = calls(law.limit());
        for _ in 0..n {
            law.dispatched(n, at(start));
        }
        let failing = n.div_ceil(4);
        for call in 0..n {
            let (signal, latency) = if call < failing {
                (Signal::Fault, 0.02)
            } else {
                (Signal::Served, 1.0)
            };
            let now = start + latency + 0.001_1 * f64::from(call);
            law.sample(&sample(signal, n, latency, now), at(now));
        }
    }
}

#[test]
fn failures_that_come_sooner_than_answers_do_not_end_a_climb() {
    let mut law = law();
    drive_broken_replica(&mut law, 30);
    assert!(law.level >= 64.0, "{}", law.level);
}

#[test]
fn one_call_more_is_asked_for_in_the_middle_between_two_calls() {
    let mut law = law();
    law.level = 1.0;
    law.enter(Mode::Edge);
    law.dispatched(1, at(6.0));
    law.sample(&sample(Signal::Served, 1, 4.0, 10.0), at(10.0));
    law.dispatched(1, at(10.0));
    law.tick(true, at(10.5));
    assert!((law.limit() - 1.0).abs() < 1e-9, "{}", law.limit());
    let due = law.due().unwrap();
    assert_eq!(due, at(12.0));
    law.tick(true, due);
    assert!((law.limit() - 2.0).abs() < 1e-9, "{}", law.limit());
    // It is refused, and asked for again in the middle, though nothing else happens.
    law.dispatched(2, due);
    law.sample(&sample(Signal::Refused, 2, 0.05, 12.05), at(12.05));
    assert!((law.limit() - 1.0).abs() < 1e-9, "{}", law.limit());
    assert_eq!(law.due(), Some(at(14.0)));
}

#[test]
fn calls_of_new_kinds_prove_no_step_of_a_climb() {
    let mut law = law();
    for call in 0..60_u32 {
        let n = calls(law.limit());
        let ended = 11.0 + f64::from(call) * 0.1;
        law.dispatched(n, at(ended - 1.0));
        let new = Sample {
            log_latency: None,
            ..sample(Signal::Served, n, 1.0, ended)
        };
        law.sample(&new, at(ended));
    }
    assert!(law.limit() <= 6.0, "{}", law.limit());
}

/// Starts a climb of which this many first calls are of new kinds, sends a call that is refused, and returns the best latency.
fn best_after_a_climb(new: u32) -> Option<f64> {
    let mut law = law();
    for call in 0..8 {
        law.dispatched(2, at(10.0 + f64::from(call) * 0.1));
    }
    for call in 0..new {
        let ended = 11.0 + f64::from(call) * 0.1;
        let unknown = Sample {
            log_latency: None,
            ..sample(Signal::Served, 2, 1.0, ended)
        };
        law.sample(&unknown, at(ended));
        law.dispatched(2, at(12.0));
    }
    for _ in 0..8 {
        let known = Sample {
            sent: at(10.0),
            ..sample(Signal::Served, 2, 1.0, 13.0)
        };
        law.sample(&known, at(13.0));
    }
    assert!(law.ladder.foot().is_some(), "{new} of 8 are of new kinds");
    law.sample(&sample(Signal::Refused, 6, 0.05, 14.0), at(14.0));
    assert_eq!(law.mode, Mode::Edge);
    law.best.map(|best| best.0)
}

#[test]
fn an_edge_is_not_compared_with_a_climb_that_began_with_new_kinds() {
    assert_eq!(best_after_a_climb(0), Some(0.0));
    assert_eq!(best_after_a_climb(3), Some(0.0));
    assert_eq!(best_after_a_climb(4), None);
    assert_eq!(best_after_a_climb(8), None);
}

#[test]
fn a_climb_whose_calls_time_out_ends_where_it_began() {
    let mut law = law();
    for call in 0..8 {
        law.dispatched(2, at(10.0 + f64::from(call) * 0.1));
    }
    for call in 0..8 {
        let ended = 11.0 + f64::from(call) * 0.1;
        law.sample(&sample(Signal::Served, 2, 1.0, ended), at(ended));
    }
    assert!(law.limit() >= 5.0, "{}", law.limit());
    for call in 0..20 {
        let ended = 80.0 + f64::from(call) * 0.1;
        let n = calls(law.limit());
        law.sample(&sample(Signal::Timeout, n, 60.0, ended), at(ended));
    }
    assert!(law.level <= 3.0, "{}", law.level);
}
