//! The rules in virtual time: each fires when it should, once, and an hour of healthy, noisy load raises nothing.

use std::{sync::Arc, time::Duration};

use crate::{
    ActorSample, AlertChanged, Change, LaneSample, Memory, ModelSample, Phase, Rule, RuleSettings,
    Sample, Watch,
};

/// A service with one lane, whose numbers a test changes second by second.
struct Service {
    watch: Watch,
    sample: Sample,
    changes: Vec<(u64, Change, Rule)>,
    last: Option<AlertChanged>,
}

impl Service {
    fn new() -> Self {
        let lane = LaneSample {
            name: "gpu".into(),
            phase: Phase::Serving,
            latency: Some(Duration::from_millis(200)),
            ..LaneSample::default()
        };
        Self {
            watch: Watch::new(RuleSettings::default()),
            sample: Sample {
                lanes: vec![lane],
                ..Sample::default()
            },
            changes: Vec::new(),
            last: None,
        }
    }

    fn lane(&mut self) -> &mut LaneSample {
        &mut self.sample.lanes[0]
    }

    /// Lets so many seconds pass, each with `change`.
    fn seconds(&mut self, seconds: u64, mut change: impl FnMut(&mut Sample)) -> &mut Self {
        for _ in 0..seconds {
            self.sample.at += Duration::from_secs(1);
            self.sample.unix_seconds += 1;
            change(&mut self.sample);
            for changed in self.watch.take(&self.sample) {
                let at = self.sample.at.as_secs();
                self.changes.push((at, changed.change, changed.alert.rule));
                self.last = Some(changed);
            }
        }
        self
    }

    /// Lets so many seconds pass with ten calls each, of which so many fail and so many are refused.
    fn calls(&mut self, seconds: u64, failed: u64, refused: u64) -> &mut Self {
        self.seconds(seconds, |sample| {
            let lane = &mut sample.lanes[0];
            lane.calls += 10;
            lane.failed += failed;
            lane.refused += refused;
            lane.succeeded += 10 - failed - refused;
            lane.metered += 10 - failed - refused;
            lane.tokens += 100 * (10 - failed - refused);
        })
    }

    fn rules(&self) -> Vec<(Change, Rule)> {
        self.changes
            .iter()
            .map(|(_, change, rule)| (*change, *rule))
            .collect()
    }

    fn sentence(&self) -> &str {
        &self.last.as_ref().unwrap().alert.sentence
    }
}

const OPENED: Change = Change::Opened;
const CLOSED: Change = Change::Closed;

#[test]
fn a_fast_burn_opens_within_seconds_and_closes_minutes_after_its_cause() {
    let mut service = Service::new();
    // 14.4 times the budget of one percent is one call in seven.
    service.calls(3600, 0, 0).calls(7200, 1, 0);
    assert_eq!(
        service.rules(),
        [(OPENED, Rule::BurnRateSlow)],
        "ten percent burn slowly"
    );
    let mut service = Service::new();
    service.lane().last_failure = Some("the server answered 500".into());
    service.calls(600, 0, 0).calls(700, 5, 0);
    // The slow burn is reached earlier.
    let rules = [(OPENED, Rule::BurnRateSlow), (OPENED, Rule::BurnRateFast)];
    assert_eq!(service.rules(), rules);
    let (opened, ..) = service.changes[1];
    // Over the longer window: a seventh of all calls must have failed since the start, with five of ten failing.
    assert!((830..=860).contains(&opened), "{opened}");
    let sentence = service.sentence();
    assert!(
        sentence.contains("`gpu`") && sentence.contains("99 %"),
        "{sentence}"
    );
    assert!(
        sentence.ends_with("The last error: the server answered 500."),
        "{sentence}"
    );
    let healed = service.sample.at.as_secs();
    service.calls(600, 0, 0);
    let (closed, change, rule) = service.changes[2];
    assert_eq!((change, rule), (CLOSED, Rule::BurnRateFast));
    assert!(
        closed > healed + 60 && closed < healed + 400,
        "{closed} {healed}"
    );
}

#[test]
fn few_failures_at_low_traffic_burn_nothing() {
    let mut service = Service::new();
    service.seconds(3600, |sample| {
        let lane = &mut sample.lanes[0];
        if sample.at.as_secs().is_multiple_of(60) {
            lane.calls += 1;
            if sample.at.as_secs().is_multiple_of(120) {
                lane.failed += 1;
            } else {
                lane.succeeded += 1;
            }
        }
    });
    // Half of the calls fail, 15 of 30 in half an hour: slow, not fast.
    assert_eq!(service.rules(), [(OPENED, Rule::BurnRateSlow)]);
}

#[test]
fn an_unreachable_backend_is_down_after_its_time_or_after_its_usual_load_time() {
    for (load, expected) in [(None, 31), (Some(90), 91)] {
        let mut service = Service::new();
        let lane = service.lane();
        lane.load_time_p95 = load.map(Duration::from_secs);
        lane.phase = Phase::Cold;
        lane.unreachable = true;
        lane.held = 3;
        lane.last_failure = Some("connection refused".into());
        lane.last_failure_age = Some(Duration::from_secs(1));
        // A probe in between is part of the same outage.
        service.seconds(600, |sample| {
            let is_probe = sample.at.as_secs().is_multiple_of(7);
            sample.lanes[0].phase = if is_probe {
                Phase::Probing
            } else {
                Phase::Cold
            };
        });
        assert_eq!(service.changes, [(expected, OPENED, Rule::BackendDown)]);
        assert!(
            service.sentence().contains("cannot be reached"),
            "{}",
            service.sentence()
        );
        service.lane().phase = Phase::Serving;
        service.lane().unreachable = false;
        service.seconds(40, |_| {});
        assert_eq!(service.rules()[1..], [(CLOSED, Rule::BackendDown)]);
    }
}

#[test]
fn a_backend_that_nobody_asks_is_not_found_to_be_down() {
    let mut service = Service::new();
    let lane = service.lane();
    lane.phase = Phase::Cold;
    lane.unreachable = true;
    lane.last_failure_age = Some(Duration::ZERO);
    service.seconds(3600, |sample| {
        let age = sample.lanes[0].last_failure_age.as_mut().unwrap();
        *age += Duration::from_secs(2);
    });
    assert_eq!(service.changes, []);
}

#[test]
fn a_wrong_key_is_reported_at_once_and_until_a_call_succeeds() {
    let mut service = Service::new();
    service.lane().misconfigured = 1;
    service.lane().last_failure = Some("401 invalid key".into());
    service.seconds(1000, |_| {});
    assert_eq!(service.changes, [(1, OPENED, Rule::Misconfigured)]);
    assert!(service.sentence().contains("401"), "{}", service.sentence());
    assert!(
        service
            .last
            .as_ref()
            .unwrap()
            .alert
            .action
            .contains("api_key_env")
    );
    service.calls(61, 0, 0);
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::Misconfigured)]);
}

#[test]
fn a_closed_lane_is_reported_with_its_reason_and_its_refusals_are_not() {
    let mut service = Service::new();
    service.lane().closed = Some("closed by an operator".into());
    service.calls(600, 0, 10);
    assert_eq!(service.changes, [(1, OPENED, Rule::LaneClosed)]);
    assert!(service.sentence().contains("closed by an operator"));
    service.lane().closed = None;
    service.seconds(3, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::LaneClosed)]);
}

#[test]
fn three_openings_in_ten_minutes_are_flapping_and_failed_probes_are_not() {
    let mut service = Service::new();
    let mut phases = |phases: &[(Phase, u64)]| {
        for (phase, seconds) in phases {
            service.lane().phase = *phase;
            service.seconds(*seconds, |_| {});
        }
        service.rules()
    };
    let outage = [(Phase::Broken, 5), (Phase::Probing, 1)];
    assert_eq!(phases(&[(Phase::Serving, 60)]), []);
    for _ in 0..4 {
        assert_eq!(phases(&outage), [], "one outage with four probes");
    }
    assert_eq!(phases(&[(Phase::Serving, 60), (Phase::Broken, 5)]), []);
    let rules = phases(&[(Phase::Serving, 60), (Phase::Broken, 5)]);
    assert_eq!(rules, [(OPENED, Rule::Flapping)]);
    let rules = phases(&[(Phase::Serving, 800)]);
    assert_eq!(rules[1..], [(CLOSED, Rule::Flapping)]);
}

#[test]
fn a_load_is_long_compared_with_earlier_ones() {
    let mut service = Service::new();
    let lane = service.lane();
    lane.phase = Phase::Cold;
    lane.held = 1;
    lane.load_time_p95 = Some(Duration::from_secs(50));
    service.seconds(66, |_| {});
    assert_eq!(
        service.changes,
        [],
        "1.2 times 50 s and 5 s more are not over"
    );
    service.seconds(1, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::ColdStartLong)]);
    assert!(
        service.sentence().contains("at most 50 s"),
        "{}",
        service.sentence()
    );
    service.lane().phase = Phase::Serving;
    service.seconds(11, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::ColdStartLong)]);
    // Nothing is known, and nobody waits.
    let mut service = Service::new();
    service.lane().phase = Phase::Cold;
    service.seconds(3600, |_| {});
    assert_eq!(service.changes, []);
    service.lane().held = 1;
    service.seconds(602, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::ColdStartLong)]);
}

#[test]
fn refusals_are_reported_when_they_last_and_not_in_a_burst() {
    let mut service = Service::new();
    service.calls(300, 0, 0).calls(15, 0, 2).calls(300, 0, 0);
    assert_eq!(service.changes, [], "a burst");
    service.calls(300, 0, 2);
    assert_eq!(service.rules(), [(OPENED, Rule::RefusalsSustained)]);
    service.calls(300, 0, 0);
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::RefusalsSustained)]);
}

#[test]
fn a_lane_is_slower_than_its_own_history_and_not_than_an_unknown_one() {
    let mut service = Service::new();
    service.lane().latency = Some(Duration::from_secs(5));
    service.calls(300, 0, 0);
    service.lane().latency = Some(Duration::from_millis(200));
    service.calls(1800, 0, 0);
    assert_eq!(service.changes, [], "there was no history");
    service.lane().latency = Some(Duration::from_millis(450));
    service.calls(1800, 0, 0);
    assert_eq!(service.changes, [], "below the factor");
    service.lane().latency = Some(Duration::from_secs(4));
    let slow = service.sample.at.as_secs();
    service.calls(120, 0, 0);
    let (opened, change, rule) = service.changes[0];
    assert_eq!((change, rule), (OPENED, Rule::Slower));
    assert!((slow + 61..slow + 70).contains(&opened), "{opened} {slow}");
    assert!(
        service.sentence().contains("take about 4 s now"),
        "{}",
        service.sentence()
    );
    service.lane().latency = Some(Duration::from_millis(250));
    service.calls(200, 0, 0);
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::Slower)]);
}

#[test]
fn calls_with_many_more_tokens_are_reported() {
    let mut service = Service::new();
    service.calls(1800, 0, 0);
    service.seconds(120, |sample| {
        let lane = &mut sample.lanes[0];
        lane.calls += 1;
        lane.succeeded += 1;
        lane.metered += 1;
        lane.tokens += 5000;
    });
    assert_eq!(service.rules(), [(OPENED, Rule::TokensUnusual)]);
    assert!(
        service.sentence().contains("usually use 1"),
        "{}",
        service.sentence()
    );
}

#[test]
fn calls_that_cost_much_more_are_reported() {
    let mut service = Service::new();
    service.sample.currency = "EUR".into();
    let mut calls = |seconds, nano| {
        service.seconds(seconds, |sample| {
            let lane = &mut sample.lanes[0];
            lane.calls += 1;
            lane.succeeded += 1;
            lane.priced += 1;
            lane.cost_nano += nano;
        });
    };
    calls(1800, 2_000_000);
    calls(120, 50_000_000);
    assert_eq!(service.rules(), [(OPENED, Rule::CostUnusual)]);
    let sentence = service.sentence();
    assert!(
        sentence.contains("usually cost 0.002") && sentence.contains("EUR"),
        "{sentence}"
    );
}

#[test]
fn a_budget_that_is_nearly_used_and_a_store_that_fails_are_reported() {
    let mut service = Service::new();
    let budget = |used_permille| crate::BudgetSample {
        account: "group/a".into(),
        period: "month",
        used_permille,
    };
    service.sample.budgets = vec![budget(899), budget(100)];
    service.seconds(60, |_| {});
    assert_eq!(service.changes, []);
    service.sample.budgets = vec![budget(100), budget(934)];
    service.seconds(60, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::BudgetNearlyUsed)]);
    assert!(
        service.sentence().contains("to 93 %"),
        "{}",
        service.sentence()
    );
    service.sample.budgets.clear();
    service.sample.account_outage = Some("disk is full".to_owned());
    service.seconds(120, |_| {});
    let closed = (CLOSED, Rule::BudgetNearlyUsed);
    let opened = (OPENED, Rule::AccountStoreDown);
    let rules = service.rules();
    assert!(
        rules.contains(&closed) && rules.contains(&opened),
        "{rules:?}"
    );
}

#[test]
fn a_certificate_is_reported_two_weeks_before_it_expires_until_it_is_renewed() {
    const DAY: u64 = 24 * 60 * 60;
    let mut service = Service::new();
    let expires_in = |service: &mut Service, left: u64| {
        service.seconds(1, |_| {});
        let now = service.sample.unix_seconds;
        service.sample.certificate_expires_at = Some(now + left);
    };
    expires_in(&mut service, 14 * DAY + 60);
    service.seconds(30, |_| {});
    assert_eq!(service.changes, []);
    service.seconds(60, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::CertificateExpires)]);
    let sentence = service.sentence();
    assert!(sentence.contains("in 13 days"), "{sentence}");
    expires_in(&mut service, 90 * DAY);
    service.seconds(30, |_| {});
    let closed = (CLOSED, Rule::CertificateExpires);
    assert!(service.rules().contains(&closed), "{:?}", service.rules());
}

#[test]
fn a_server_that_does_not_start_is_reported_until_it_does() {
    let mut service = Service::new();
    let server = |is_failing| crate::ServerSample {
        name: "gpu".into(),
        is_failing,
        failures: 2,
        last_error: Some("no such file.".to_owned()),
    };
    service.sample.servers = vec![server(false)];
    service.seconds(60, |_| {});
    assert_eq!(service.changes, []);
    service.sample.servers = vec![server(true)];
    service.seconds(2, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::ServerFails)]);
    assert_eq!(
        service.sentence(),
        "The model server `gpu` does not start, 2 times in a row. The last error: no such file."
    );
    service.sample.servers = vec![server(false)];
    service.seconds(30, |_| {});
    assert!(service.rules().contains(&(CLOSED, Rule::ServerFails)));
}

#[test]
fn promises_that_are_not_kept_are_reported() {
    let mut service = Service::new();
    // Told to come back after a second, refused for half a minute.
    service.lane().load_time_p95 = Some(Duration::from_mins(10));
    for _ in 0..6 {
        service.lane().promised = Some(Duration::from_secs(1));
        service.seconds(30, |sample| {
            let lane = &mut sample.lanes[0];
            lane.phase = Phase::Cold;
            lane.calls += 1;
            lane.refused += 1;
        });
        service.lane().promised = None;
        service.calls(1, 0, 0);
    }
    assert_eq!(service.rules(), [(OPENED, Rule::RetryAfterWrong)]);
    assert!(
        service.sentence().contains("was 1 s where it took"),
        "{}",
        service.sentence()
    );
    // Told to come back after a minute, admitted after a few seconds.
    let mut service = Service::new();
    for _ in 0..6 {
        service.lane().promised = Some(Duration::from_mins(1));
        service.calls(1, 0, 10);
        service.lane().promised = None;
        service.calls(100, 0, 0);
    }
    assert_eq!(service.rules(), [(OPENED, Rule::RetryAfterWrong)]);
    // Right ones.
    let mut service = Service::new();
    service.lane().phase = Phase::Cold;
    service.lane().load_time_p95 = Some(Duration::from_mins(10));
    for _ in 0..50 {
        service.lane().promised = Some(Duration::from_secs(20));
        service.calls(18, 0, 10);
        service.lane().promised = None;
        service.calls(300, 0, 0);
    }
    assert_eq!(service.changes, []);
}

#[test]
fn an_actor_that_handles_nothing_is_stuck_and_a_busy_one_is_not() {
    let mut service = Service::new();
    service.sample.actors = vec![
        ActorSample {
            path: "/user/busy".into(),
            mailbox: 900,
            handled: 0,
            ..ActorSample::default()
        },
        ActorSample {
            path: "/user/stuck".into(),
            mailbox: 1,
            handled: 7,
            ..ActorSample::default()
        },
        ActorSample {
            path: "/user/idle".into(),
            mailbox: 0,
            handled: 7,
            ..ActorSample::default()
        },
    ];
    service.seconds(100, |sample| sample.actors[0].handled += 1);
    assert_eq!(service.changes, [(31, OPENED, Rule::StuckActor)]);
    assert!(
        service
            .sentence()
            .contains("`/user/stuck` has 1 message waiting"),
        "{}",
        service.sentence()
    );
    service.sample.actors[0].mailbox = 0;
    service.sample.actors[1].mailbox = 0;
    service.seconds(31, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::StuckActor)]);
    // A lane whose actors do not answer: its numbers are zero, which means nothing.
    let mut service = Service::new();
    service.calls(100, 0, 0);
    service.lane().phase = Phase::Silent;
    // Its actors are a part of the same incident.
    service.sample.actors = vec![ActorSample {
        path: "/user/lane-gpu/pool".into(),
        mailbox: 3,
        ..ActorSample::default()
    }];
    service.lane().calls = 0;
    service.lane().succeeded = 0;
    service.seconds(40, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::StuckActor)]);
}

#[test]
fn a_model_burns_though_its_lane_does_not_and_has_no_alert_of_its_own_if_the_lane_speaks_for_it() {
    let mut service = Service::new();
    let model = |name: &str, only_lane: Option<&str>| ModelSample {
        name: name.into(),
        only_lane: only_lane.map(Arc::from),
        ..ModelSample::default()
    };
    service.sample.models = vec![model("chat", None), model("alone", Some("gpu"))];
    service.seconds(400, |sample| {
        sample.lanes[0].succeeded += 100;
        sample.models[0].succeeded += 9;
        sample.models[0].failed += 1;
        sample.models[1].failed += 1;
    });
    assert_eq!(service.rules(), [(OPENED, Rule::ModelBurnRateSlow)]);
    service.seconds(2000, |sample| {
        sample.models[0].succeeded += 5;
        sample.models[0].failed += 5;
    });
    let opened = (OPENED, Rule::ModelBurnRateFast);
    assert_eq!(service.rules()[1..], [opened]);
    let sentence = service.sentence();
    assert!(
        sentence.contains("calls of the model `chat` in the last 5 minutes failed"),
        "{sentence}"
    );
    service.seconds(600, |sample| sample.models[0].succeeded += 10);
    assert_eq!(service.rules()[2..], [(CLOSED, Rule::ModelBurnRateFast)]);
}

#[test]
fn restarts_are_counted_over_workers_that_are_alike_and_within_ten_minutes() {
    let mut service = Service::new();
    let actor = |path: &str| ActorSample {
        path: path.into(),
        ..ActorSample::default()
    };
    service.sample.actors = vec![
        actor("/user/gpu/worker-1"),
        actor("/user/gpu/worker-23"),
        actor("/user/context"),
    ];
    let fail = |service: &mut Service, index: usize| {
        service.seconds(1, |sample| {
            sample.actors[index].restarts += 1;
            sample.actors[index].last_failure = Some("the attempt panicked".into());
        });
    };
    for _ in 0..20 {
        fail(&mut service, 2);
        service.seconds(299, |_| {});
    }
    assert_eq!(service.changes, [], "one in five minutes");
    for index in [0, 1, 0, 1] {
        fail(&mut service, index);
    }
    assert_eq!(service.changes, []);
    fail(&mut service, 1);
    assert_eq!(service.rules(), [(OPENED, Rule::ActorRestarts)]);
    assert_eq!(
        service.sentence(),
        "The actor `/user/gpu/worker` was restarted 5 times within 10 minutes. The last failure: the attempt panicked."
    );
    service.seconds(700, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::ActorRestarts)]);
}

#[test]
fn a_store_that_is_gone_restarts_its_actor_and_is_one_alert() {
    let mut service = Service::new();
    service.sample.actors = vec![ActorSample {
        path: "/user/context".into(),
        last_failure: Some("the file is gone".into()),
        ..ActorSample::default()
    }];
    service.sample.store_outage = Some("the file is gone".to_owned());
    service.seconds(100, |sample| sample.actors[0].restarts += 1);
    assert_eq!(service.rules(), [(OPENED, Rule::StoreDown)]);
}

#[test]
fn what_is_usual_is_known_after_a_restart() {
    let mut service = Service::new();
    service.calls(1800, 0, 0);
    let mut memory = Memory::default();
    service.watch.remember(&mut memory);
    let restarted = |memory: &Memory, latency: u64| {
        let mut service = Service::new();
        service.watch = Watch::with_memory(RuleSettings::default(), memory);
        service.lane().latency = Some(Duration::from_secs(latency));
        service.calls(120, 0, 0);
        service.rules()
    };
    assert_eq!(restarted(&memory, 4), [(OPENED, Rule::Slower)]);
    assert_eq!(restarted(&Memory::default(), 4), [], "it knows no history");
    // What cannot be is not believed.
    for value in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        let habits = memory.habits.get_mut("gpu").unwrap();
        habits.latency.as_mut().unwrap().value = value;
        assert_eq!(restarted(&memory, 4), [], "{value}");
    }
}

#[test]
fn an_outage_of_the_store_and_lost_lines_are_reported() {
    let mut service = Service::new();
    service.sample.log_lines_dropped = 5;
    service.seconds(10, |_| {});
    assert_eq!(service.changes, [], "lost before the first sample");
    service.sample.log_lines_dropped = 6;
    service.sample.store_outage = Some("the disk is full".to_owned());
    service.seconds(120, |_| {});
    assert_eq!(
        service.changes,
        [
            (11, OPENED, Rule::LogLinesDropped),
            (16, OPENED, Rule::StoreDown),
            (130, CLOSED, Rule::LogLinesDropped)
        ]
    );
}

/// One second of a healthy lane: bursts of load, one failure in 500, short refusals, latencies that vary by a factor of
/// two, now and then a cold start of the usual length, and one breaker that opens.
fn healthy(lane: &mut LaneSample, chance: &mut fastrand::Rng, second: u64) {
    lane.promised = None;
    let in_cold_start = second % 1800 < 20;
    lane.load_time_p95 = Some(Duration::from_secs(25));
    lane.held = chance.u64(1..20);
    if in_cold_start {
        lane.phase = if second.is_multiple_of(5) {
            Phase::Probing
        } else {
            Phase::Cold
        };
        lane.unreachable = second % 1800 < 5;
        lane.last_failure_age = Some(Duration::from_secs(1));
        lane.calls += chance.u64(0..20);
        return;
    }
    lane.unreachable = false;
    lane.phase = if second % 3600 == 1000 {
        Phase::Broken
    } else {
        Phase::Serving
    };
    let burst = if chance.f64() < 0.02 { 5 } else { 1 };
    for _ in 0..chance.u64(0..30) * burst {
        lane.calls += 1;
        let roll = chance.f64();
        if roll < 0.002 {
            lane.failed += 1;
        } else if burst > 1 && roll < 0.2 {
            lane.refused += 1;
            lane.promised = Some(Duration::from_secs(chance.u64(1..4)));
        } else {
            lane.succeeded += 1;
            lane.metered += 1;
            lane.tokens += chance.u64(20..2000);
        }
    }
    let noise = 2.0_f64.powf(chance.f64() * 2.0 - 1.0);
    lane.latency = Some(Duration::from_millis(300).mul_f64(noise));
}

#[test]
fn hours_of_healthy_and_noisy_load_raise_nothing() {
    for seed in 0..6 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut service = Service::new();
        let second_lane = LaneSample {
            name: Arc::from("other"),
            ..service.sample.lanes[0].clone()
        };
        service.sample.lanes.push(second_lane);
        service.sample.actors = (0..10)
            .map(|number| ActorSample {
                path: format!("/user/worker-{number}").into(),
                ..ActorSample::default()
            })
            .collect();
        service.seconds(2 * 3600, |sample| {
            let second = sample.at.as_secs();
            for (number, lane) in (0..).zip(&mut sample.lanes) {
                healthy(lane, &mut chance, second + 700 * number);
            }
            for actor in &mut sample.actors {
                actor.mailbox = chance.usize(0..50);
                // At times it is busy for some seconds.
                actor.handled += chance.u64(0..100) / 30;
            }
        });
        assert_eq!(service.changes, [], "seed {seed}: {:?}", service.last);
        assert!(
            service.sample.lanes[0].failed > 50,
            "the load is not without failures"
        );
    }
}
