//! What is wrong with one backend: down, misconfigured, closed, flapping, loading for too long.

use super::*;

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
fn a_backend_that_nobody_asks_and_that_its_health_checks_cannot_reach_is_down() {
    let mut service = Service::new();
    service.lane().phase = Phase::Idle;
    service.lane().check_failure = Some("connection refused".into());
    service.seconds(600, |_| {});
    assert_eq!(service.changes, [(31, OPENED, Rule::BackendDown)]);
    let sentence = service.sentence();
    assert!(sentence.contains("connection refused"), "{sentence}");
    service.lane().check_failure = None;
    service.seconds(40, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::BackendDown)]);
}

#[test]
fn health_checks_that_fail_while_calls_are_served_are_no_outage() {
    let mut service = Service::new();
    service.lane().phase = Phase::Serving;
    service.lane().check_failure = Some("connection refused".into());
    service.calls(600, 0, 0);
    assert_eq!(service.changes, []);
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
fn the_trials_of_a_lane_that_was_taken_out_are_one_alert() {
    let mut service = Service::new();
    let set = |service: &mut Service, closed: bool, seconds| {
        let reason = format!("{}. It fails", crate::TAKEN_OUT);
        service.lane().closed = closed.then(|| reason.into());
        service.seconds(seconds, |_| {});
    };
    for _ in 0..5 {
        set(&mut service, true, 120);
        set(&mut service, false, 20);
    }
    assert_eq!(service.changes, [(1, OPENED, Rule::LaneClosed)]);
    let sentence = &service.watch.active()[0].sentence;
    assert!(sentence.ends_with("is open again, on trial."), "{sentence}");
    set(&mut service, false, 60);
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
    lane.last_failure = Some("the model loads".into());
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
fn a_load_is_counted_from_its_beginning_also_while_nobody_waits() {
    let mut service = Service::new();
    let lane = service.lane();
    lane.phase = Phase::Cold;
    lane.load_time_p95 = Some(Duration::from_secs(50));
    // A caller each 20 s, who does not wait.
    let load = |service: &mut Service, seconds| {
        service.seconds(seconds, |sample| {
            let second = sample.at.as_secs();
            let lane = &mut sample.lanes[0];
            lane.last_failure_age = Some(Duration::from_secs(second % 20));
            lane.calls += u64::from(second.is_multiple_of(20));
        });
    };
    load(&mut service, 70);
    assert_eq!(service.changes, [(67, OPENED, Rule::ColdStartLong)]);
    load(&mut service, 70);
    let sentence = &service.watch.active()[0].sentence;
    assert!(
        sentence.contains("since 00:00 UTC (2 minutes)"),
        "{sentence}"
    );
    // Nobody calls for an hour: whether it still loads is not known, and what is seen then is another load.
    service.seconds(3600, |sample| {
        let age = sample.lanes[0].last_failure_age.as_mut().unwrap();
        *age += Duration::from_secs(1);
    });
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::ColdStartLong)]);
    load(&mut service, 60);
    assert_eq!(service.rules().len(), 2);
    load(&mut service, 10);
    assert_eq!(service.rules()[2..], [(OPENED, Rule::ColdStartLong)]);
}

#[test]
fn an_outage_that_was_learned_as_a_load_time_delays_no_alert_for_ever() {
    let hours = Some(Duration::from_hours(3));
    // One that has just served does not start on demand, so it is down at once; one that nobody had called may start.
    for (before, expected) in [(Phase::Serving, 41), (Phase::Idle, 611)] {
        let mut service = Service::new();
        service.lane().load_time_p95 = hours;
        service.lane().phase = before;
        service.seconds(10, |_| {});
        let lane = service.lane();
        lane.phase = Phase::Cold;
        lane.unreachable = true;
        lane.last_failure_age = Some(Duration::from_secs(1));
        service.seconds(700, |_| {});
        assert_eq!(service.changes, [(expected, OPENED, Rule::BackendDown)]);
    }
    let mut service = Service::new();
    let lane = service.lane();
    lane.load_time_p95 = hours;
    lane.phase = Phase::Cold;
    lane.held = 1;
    service.seconds(3700, |_| {});
    assert_eq!(service.changes, [(3602, OPENED, Rule::ColdStartLong)]);
}

#[test]
fn an_outage_is_found_also_if_no_caller_waits_for_the_answer_to_a_question() {
    let mut service = Service::new();
    let lane = service.lane();
    lane.phase = Phase::Cold;
    lane.unreachable = true;
    lane.last_failure_age = Some(Duration::ZERO);
    // The last question is old, and each caller is refused at once.
    service.seconds(120, |sample| {
        let lane = &mut sample.lanes[0];
        lane.calls += 1;
        lane.refused += 1;
        lane.last_failure_age = Some(sample.at);
    });
    assert_eq!(service.changes, [(31, OPENED, Rule::BackendDown)]);
}

#[test]
fn a_quota_that_is_used_up_is_an_alert_that_says_what_callers_get() {
    let mut service = Service::new();
    service.sample.unix_seconds = 1_772_323_830;
    let lane = service.lane();
    lane.phase = Phase::OutOfQuota;
    lane.next_attempt_in = Some(Duration::from_secs(90));
    lane.last_failure = Some("status 429, You exceeded your current quota".into());
    service.seconds(300, |_| {});
    assert_eq!(service.changes, [(1, OPENED, Rule::QuotaUsedUp)]);
    let alert = service.watch.active()[0].clone();
    assert_eq!(
        alert.sentence,
        "The quota of `gpu` at its provider is used up, since 00:10 UTC. Calls that no other backend takes are refused at once, \
         with 429 `insufficient_quota`. The gateway asks again with one call, in 90 s at the earliest. The last error: status 429, \
         You exceeded your current quota."
    );
    assert_eq!(alert.severity, crate::Severity::Critical);
    let command = "`curl -X POST http://127.0.0.1:8080/admin/v1/backends/gpu/disable`";
    assert!(alert.action.contains(command), "{}", alert.action);
    service.lane().has_alternative = true;
    service.seconds(1, |_| {});
    let sentence = &service.watch.active()[0].sentence;
    assert!(sentence.contains("Another backend serves"), "{sentence}");
    service.lane().phase = Phase::Serving;
    service.seconds(60, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::QuotaUsedUp)]);
}

#[test]
fn an_alert_that_waits_to_close_and_one_that_closes_say_that_it_is_over_and_how_long_it_lasted() {
    let mut service = Service::new();
    service.lane().misconfigured = 1;
    service.seconds(30, |_| {});
    let seen = service.watch.active()[0].sentence.clone();
    assert!(
        seen.starts_with("The server of `gpu` does not accept"),
        "{seen}"
    );
    service.calls(10, 0, 0);
    assert_eq!(
        service.watch.active()[0].sentence,
        format!(
            "Over since 00:00 UTC, 30 s after the alert opened; the alert closes if it stays so. Seen last: {seen}"
        )
    );
    // It is kept as it was seen.
    let mut memory = Memory::default();
    service.watch.remember(&mut memory);
    assert_eq!(memory.active[0].sentence, seen);
    // It comes back.
    service.lane().misconfigured = 2;
    service.seconds(40, |_| {});
    assert_eq!(service.rules().len(), 1);
    assert!(!service.watch.active()[0].sentence.starts_with("Over"));
    service.calls(60, 0, 0);
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::Misconfigured)]);
    let sentence = service.sentence();
    let over = "Over since 00:01 UTC, 80 s after the alert opened. Seen last: The server";
    assert!(sentence.starts_with(over), "{sentence}");
    // A process that does not find it again does not know when it ended.
    let mut service = Service::new();
    service.watch = Watch::with_memory(RuleSettings::default(), &memory);
    service.seconds(1, |_| {});
    assert_eq!(service.watch.active()[0].sentence, seen);
    service.seconds(120, |_| {});
    let closed = format!("Over: it was not found again after the restart. Seen last: {seen}");
    assert_eq!(service.sentence(), closed);
}

#[test]
fn one_model_that_a_backend_refuses_does_not_make_the_backend_misconfigured() {
    let mut service = Service::new();
    service.calls(60, 0, 0);
    service.seconds(300, |sample| {
        let (second, lane) = (sample.at.as_secs(), &mut sample.lanes[0]);
        lane.misconfigured += 1;
        lane.succeeded += 10 * u64::from(second.is_multiple_of(5));
    });
    assert_eq!(service.changes, []);
    // A key that was revoked: no call succeeds any more.
    service.seconds(31, |sample| sample.lanes[0].misconfigured += 1);
    assert_eq!(service.rules(), [(OPENED, Rule::Misconfigured)]);
}

#[test]
fn a_lane_that_somebody_lets_in_again_is_not_on_trial() {
    let mut service = Service::new();
    service.lane().closed = Some(format!("{}. It fails", crate::TAKEN_OUT).into());
    service.seconds(10, |_| {});
    service.watch.let_in("gpu");
    service.seconds(1, |_| {});
    service.lane().closed = None;
    service.seconds(3, |_| {});
    assert_eq!(service.changes[1..], [(13, CLOSED, Rule::LaneClosed)]);
}
