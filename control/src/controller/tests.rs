use super::*;
use crate::{OfferedCall, Pool, PoolSettings, QuotaHints};

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

fn call(c: &mut Controller, id: u64, outcome: Outcome, now: f64) {
    let mut chance = || 0.5;
    let attempt = AttemptId(id);
    let probe = c.grant().permission != Permission::Open;
    let sent = Message::Dispatched {
        attempt,
        in_flight: 2,
        tokens: 0,
        probe,
        kind: Kind::default(),
    };
    c.step(sent, at(now), &mut chance);
    let ended = Message::Ended {
        attempt,
        span: Span::until(at(now + 0.1)),
        outcome,
        quota: QuotaHints::default(),
    };
    c.step(ended, at(now + 0.1), &mut chance);
}

/// Sends a call that is served after `takes` seconds.
fn took(c: &mut Controller, id: u64, takes: f64, now: f64) {
    let attempt = AttemptId(id);
    let sent = Message::Dispatched {
        attempt,
        in_flight: 1,
        tokens: 0,
        probe: false,
        kind: Kind::default(),
    };
    c.step(sent, at(now), &mut || 0.5);
    let served = Message::Ended {
        attempt,
        span: Span::until(at(now + takes)),
        outcome: OK,
        quota: QuotaHints::default(),
    };
    c.step(served, at(now + takes), &mut || 0.5);
}

const OK: Outcome = Outcome::Success { tokens: None };

#[test]
fn limit_grows_with_successes_only_while_calls_wait() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    call(&mut c, 1, OK, 1.0);
    assert_eq!(c.grant().concurrency, 2);
    c.step(Message::Demand { queued: 5 }, at(2.0), &mut || 0.5);
    call(&mut c, 2, OK, 2.0);
    assert_eq!(c.grant().concurrency, 3);
}

#[test]
fn loading_holds_back_and_its_time_is_learned() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let cold = Outcome::Cold {
        estimated: Some(Duration::from_secs(20)),
    };
    call(&mut c, 0, cold, 0.0);
    assert_eq!(c.grant().state, LaneState::Cold);
    assert_eq!(
        c.grant().permission,
        Permission::SingleFlight {
            not_before: at(2.1)
        }
    );
    call(&mut c, 1, OK, 20.2);
    assert_eq!(c.grant().permission, Permission::Open);
    let learned = c.snapshot(at(21.0)).load_times.quantile(0.5);
    assert_eq!(learned, Some(Duration::from_millis(20_200)));
}

#[test]
fn failures_in_a_row_break_the_lane_and_a_success_mends_it() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    for id in 1..20 {
        call(&mut c, id, Outcome::Fault, 1.0);
    }
    assert_eq!(c.grant().state, LaneState::Open);
    call(&mut c, 20, OK, 9.0);
    assert_eq!(c.grant().permission, Permission::Open);
}

#[test]
fn a_pause_is_obeyed() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    let rate = Outcome::Rate {
        retry_after: Some(Duration::from_secs(5)),
        slow_down: false,
    };
    call(&mut c, 3, rate, 2.0);
    assert!(matches!(c.grant().permission, Permission::Paused { until } if until > at(7.0)));
}

#[test]
fn each_state_has_its_name_and_a_pause_lies_over_it() {
    let settings = ControllerSettings {
        law: crate::Law::Adaptive,
        ..ControllerSettings::default()
    };
    let mut c = Controller::new(&settings, None, at(0.0));
    assert_eq!(c.grant().state, LaneState::Idle);
    let probe = Message::Dispatched {
        attempt: AttemptId(100),
        in_flight: 1,
        tokens: 0,
        probe: true,
        kind: Kind::default(),
    };
    c.step(probe, at(0.0), &mut || 0.5);
    assert_eq!(c.grant().state, LaneState::Probe);
    let cold = Message::Ended {
        attempt: AttemptId(100),
        span: Span::until(at(0.1)),
        outcome: Outcome::Cold { estimated: None },
        quota: QuotaHints::default(),
    };
    c.step(cold, at(0.1), &mut || 0.5);
    assert_eq!(c.grant().state, LaneState::Cold);
    call(&mut c, 1, OK, 5.0);
    assert_eq!(c.grant().state, LaneState::Ramp);
    let rate = Outcome::Rate {
        retry_after: Some(Duration::from_secs(2)),
        slow_down: false,
    };
    call(&mut c, 2, rate, 6.0);
    let report = c.report(at(6.1));
    assert_eq!(
        (report.state, report.behind),
        (LaneState::Paused, LaneState::Ramp)
    );
    c.step(Message::Wakeup, at(9.0), &mut || 0.5);
    assert_eq!(c.grant().state, LaneState::Ramp);
    // Nobody waits: the limit is not what holds callers back, and the ramp is over.
    for id in 3..60 {
        call(&mut c, id, OK, 9.0 + real(id));
    }
    assert_eq!(c.grant().state, LaneState::Steady);
    call(&mut c, 60, Outcome::Quota { reset: None }, 70.0);
    let report = c.report(at(70.2));
    assert_eq!(
        (report.state, report.behind),
        (LaneState::Quota, LaneState::Steady)
    );
    // Its renewal was not announced: no caller can wait for it, but one asks after a minute.
    let unknown = Timestamp::MAX;
    assert_eq!(c.grant().permission, Permission::Closed { until: unknown });
    c.step(Message::Wakeup, at(131.0), &mut || 0.5);
    assert!(matches!(
        c.grant().permission,
        Permission::SingleFlight { .. }
    ));
    c.step(Message::Wakeup, at(700.0), &mut || 0.5);
    assert_eq!(c.grant().state, LaneState::Idle);
    call(&mut c, 61, OK, 701.0);
    for id in 62..100 {
        call(&mut c, id, Outcome::Fault, 702.0 + real(id) / 50.0);
    }
    assert_eq!(c.grant().state, LaneState::Open);
}

#[test]
fn the_time_that_a_probe_was_held_is_no_service_time() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let unknown = c.grant().service_time_high;
    let probe = Message::Dispatched {
        attempt: AttemptId(0),
        in_flight: 1,
        tokens: 0,
        probe: true,
        kind: Kind::default(),
    };
    c.step(probe, at(0.0), &mut || 0.5);
    let served = Message::Ended {
        attempt: AttemptId(0),
        span: Span::until(at(90.0)),
        outcome: OK,
        quota: QuotaHints::default(),
    };
    c.step(served, at(90.0), &mut || 0.5);
    let later = c.step(Message::Wakeup, at(90.0), &mut || 0.5);
    assert!(later.is_empty(), "{later:?}");
    assert_eq!(
        c.grant().service_time_high.max(unknown),
        Duration::from_secs(12)
    );
    call(&mut c, 1, OK, 90.0);
    assert!(c.grant().service_time_high < Duration::from_secs(1));
    // What agrees with what is known is learned from a probe too.
    let answers = c.answers;
    call(&mut c, 2, OK, 130.0);
    assert_eq!(c.answers, answers + 1);
}

#[test]
fn slow_first_calls_after_a_cold_start_are_not_the_usual_time_for_long() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    let mut now = 1.0;
    // The first four calls take 3 s, the others 1.3 s.
    for id in 1..13 {
        let takes = if id < 5 { 3.0 } else { 1.3 };
        took(&mut c, id, takes, now);
        now += 4.0;
    }
    let usual = c.make_grant(at(now)).service_time.as_secs_f64();
    assert!(usual < 3.6, "{usual} s");
}

/// Sends `count` streams of half a second, as many at once as the limit allows, whose first part takes `first` seconds.
fn streams(c: &mut Controller, count: u64, first: f64, from: f64) -> f64 {
    let mut now = from;
    let mut sent = 0;
    while sent < count {
        let at_once = u64::from(c.grant().concurrency);
        for id in sent..sent + at_once {
            let dispatched = Message::Dispatched {
                attempt: AttemptId(id),
                in_flight: u32::try_from(id - sent + 1).unwrap(),
                tokens: 0,
                probe: c.grant().permission != Permission::Open,
                kind: Kind::default(),
            };
            c.step(dispatched, at(now), &mut || 0.5);
        }
        for id in sent..sent + at_once {
            let attempt = AttemptId(id);
            let span = Span::until(at(now + first));
            c.step(Message::FirstPart { attempt, span }, span.at, &mut || 0.5);
        }
        for id in sent..sent + at_once {
            let ended = Message::Ended {
                attempt: AttemptId(id),
                span: Span::until(at(now + 0.5)),
                outcome: OK,
                quota: QuotaHints::default(),
            };
            c.step(ended, at(now + 0.5), &mut || 0.5);
            // The answers come one after the other.
            now += 0.002;
        }
        sent += at_once;
        now += 0.51;
    }
    now
}

#[test]
fn first_parts_that_come_late_do_not_lower_the_limit_of_streams_that_take_as_long_as_before() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    c.step(Message::Demand { queued: 50 }, at(0.0), &mut || 0.5);
    let now = streams(&mut c, 1000, 0.001, 0.0);
    let before = c.limit.proved();
    assert!(before >= 60.0, "{before}");
    let mut lowest = f64::INFINITY;
    let mut now = now;
    for _ in 0..40 {
        now = streams(&mut c, 500, 0.05, now);
        lowest = lowest.min(c.limit.proved());
    }
    assert!(lowest >= before, "{lowest} after {before}");
}

#[test]
fn traffic_that_is_expected_wakes_once_and_not_what_serves() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let expect = |c: &mut Controller, now: f64| {
        let effects = c.step(Message::Prewarm, at(now), &mut || 0.5);
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Prewarm))
    };
    assert!(expect(&mut c, 0.0));
    let probe = Message::Dispatched {
        attempt: AttemptId(0),
        in_flight: 1,
        tokens: 0,
        probe: true,
        kind: Kind::default(),
    };
    c.step(probe, at(1.0), &mut || 0.5);
    assert!(!expect(&mut c, 2.0), "a call is on its way");
    let served = Message::Ended {
        attempt: AttemptId(0),
        span: Span::until(at(3.0)),
        outcome: OK,
        quota: QuotaHints::default(),
    };
    c.step(served, at(3.0), &mut || 0.5);
    assert!(c.serves() && !expect(&mut c, 4.0));
    // The silence was not noticed by a wakeup.
    assert!(expect(&mut c, 40.0));
    for id in 1..40 {
        call(&mut c, id, Outcome::Fault, 41.0);
    }
    assert_eq!(c.grant().state, LaneState::Open);
    assert!(
        expect(&mut c, 42.0),
        "a broken backend is probed when its time has come"
    );
}

#[test]
fn a_rate_of_an_earlier_life_grows_without_being_asked_for_more() {
    let learned = Snapshot {
        request_rate: Some(5.0),
        ..Snapshot::default()
    };
    let mut c = Controller::new(&ControllerSettings::default(), Some(&learned), at(100.0));
    let rate = |c: &Controller| c.grant().requests.map(|bucket| bucket.rate);
    assert_eq!(rate(&c), Some(5.0));
    // One caller, one call at a time: nobody ever waits.
    for id in 0..100 {
        call(&mut c, id, OK, 100.0 + real(id) / 2.0);
    }
    assert!(rate(&c).is_some_and(|rate| rate > 9.0), "{:?}", rate(&c));
    assert_eq!(c.snapshot(at(150.0)).request_rate, rate(&c));
}

#[test]
fn one_refusal_with_a_clock_costs_a_lone_caller_the_pause_and_no_more() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    for id in 0..50 {
        call(&mut c, id, OK, real(id) / 5.0);
    }
    let rate = Outcome::Rate {
        retry_after: Some(Duration::from_secs(2)),
        slow_down: false,
    };
    call(&mut c, 50, rate, 10.0);
    assert!(matches!(c.grant().permission, Permission::Paused { until } if until < at(12.4)));
    c.step(Message::Wakeup, at(12.4), &mut || 0.5);
    assert_eq!(c.grant().permission, Permission::Open);
    assert_eq!(c.grant().requests, None);
}

#[test]
fn a_closure_that_cannot_be_is_short_and_a_long_one_is_asked_now_and_then() {
    let years = Duration::from_hours(24 * 365 * 57);
    for (reset, closed) in [(years, 300.0), (Duration::from_hours(24), 86_400.0)] {
        let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
        call(&mut c, 0, OK, 0.0);
        call(&mut c, 1, Outcome::Quota { reset: Some(reset) }, 1.0);
        let Permission::Closed { until } = c.grant().permission else {
            panic!("{:?}", c.grant());
        };
        assert!(
            (until.as_secs_f64() - 1.1 - closed).abs() < 1e-6,
            "{until:?}"
        );
        c.step(Message::Wakeup, at(1000.0), &mut || 0.5);
        assert!(!matches!(c.grant().permission, Permission::Closed { .. }));
        call(&mut c, 2, OK, 1000.0);
        assert_eq!(c.grant().permission, Permission::Open);
    }
}

#[test]
fn a_replica_that_loads_does_not_make_a_lane_cold_that_serves() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    let send = |c: &mut Controller, id: u64, now: f64| {
        let sent = Message::Dispatched {
            attempt: AttemptId(id),
            in_flight: 2,
            tokens: 0,
            probe: false,
            kind: Kind::default(),
        };
        c.step(sent, at(now), &mut || 0.5);
    };
    let loads = Outcome::Cold { estimated: None };
    send(&mut c, 1000, 0.5);
    call(&mut c, 1, loads, 0.6);
    assert_eq!(c.grant().permission, Permission::Open);
    assert!(c.snapshot(at(1.0)).load_times.expected().is_none());
    // Nothing is served any more: the lane is cold.
    call(&mut c, 2, loads, 12.0);
    call(&mut c, 3, loads, 12.5);
    assert_eq!(c.grant().state, LaneState::Cold);
}

#[test]
fn a_replica_that_loads_does_not_make_a_lane_cold_between_two_calls() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let loads = Outcome::Cold { estimated: None };
    call(&mut c, 0, OK, 0.0);
    for id in 1..20 {
        let now = 3.0 * real(id);
        let outcome = if id % 3 == 0 { OK } else { loads };
        call(&mut c, id, outcome, now);
        assert_eq!(c.grant().permission, Permission::Open, "after call {id}");
    }
}

#[test]
fn the_soonest_failures_of_many_calls_do_not_break_a_lane() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let send = |c: &mut Controller, id: u64, now: f64| {
        let sent = Message::Dispatched {
            attempt: AttemptId(id),
            in_flight: 2,
            tokens: 0,
            probe: false,
            kind: Kind::default(),
        };
        c.step(sent, at(now), &mut || 0.5);
    };
    let end = |c: &mut Controller, id: u64, outcome: Outcome, now: f64| {
        let ended = Message::Ended {
            attempt: AttemptId(id),
            span: Span::until(at(now)),
            outcome,
            quota: QuotaHints::default(),
        };
        c.step(ended, at(now), &mut || 0.5);
    };
    call(&mut c, 0, OK, 0.0);
    for id in 1..4 {
        send(&mut c, id, 1.0);
        end(&mut c, id, OK, 6.0);
    }
    // A quarter of forty calls fails at once; the others are due after some seconds.
    for id in 10..50 {
        send(&mut c, id, 10.0);
    }
    for id in 10..20 {
        end(&mut c, id, Outcome::Fault, 10.02);
    }
    assert_eq!(c.grant().permission, Permission::Open);
    // None of them comes: now they are failures of a broken backend.
    for id in 20..26 {
        end(&mut c, id, Outcome::Fault, 20.0);
    }
    assert_eq!(c.grant().state, LaneState::Open);
}

#[test]
fn a_controller_restarted_in_the_midst_of_traffic_goes_on_where_it_was() {
    let settings = ControllerSettings::default();
    let mut c = Controller::new(&settings, None, at(0.0));
    for id in 0..60 {
        call(&mut c, id, OK, real(id) / 5.0);
    }
    assert_eq!(c.grant().state, LaneState::Steady);
    let mut learned = c.snapshot(at(12.0));
    let moment = learned.momentary.as_mut().unwrap();
    moment.level = Some(17.0);
    let again = Controller::new(&settings, Some(&learned), at(13.0));
    let grant = again.grant();
    assert_eq!((grant.state, grant.concurrency), (LaneState::Steady, 17));
    assert_eq!(grant.permission, Permission::Open);
    assert!(
        grant.service_time_high < Duration::from_secs(1),
        "{grant:?}"
    );
    // After a silence in which it may have gone to sleep, it is asked first.
    let later = Controller::new(&settings, Some(&learned), at(60.0));
    assert_eq!(later.grant().state, LaneState::Idle);
    assert_ne!(later.grant().permission, Permission::Open);
}

#[test]
fn a_controller_restarted_within_a_pause_keeps_it() {
    let settings = ControllerSettings::default();
    let pause = Outcome::Rate {
        retry_after: Some(Duration::from_secs(20)),
        slow_down: false,
    };
    let quota = Outcome::Quota {
        reset: Some(Duration::from_mins(10)),
    };
    for (outcome, state, over) in [
        (pause, LaneState::Paused, 45.0),
        (quota, LaneState::Quota, 613.0),
    ] {
        let mut c = Controller::new(&settings, None, at(0.0));
        for id in 0..60 {
            call(&mut c, id, OK, real(id) / 5.0);
        }
        call(&mut c, 60, outcome, 12.0);
        let again = Controller::new(&settings, Some(&c.snapshot(at(12.5))), at(13.0));
        assert_eq!(again.grant().state, state);
        assert_eq!(again.grant().permission, c.grant().permission);
        let mut later = Controller::new(&settings, Some(&c.snapshot(at(12.5))), at(over));
        assert_eq!(later.grant().state, LaneState::Idle, "it was silent");
        call(&mut later, 0, OK, over);
        assert_eq!(later.grant().permission, Permission::Open);
    }
}

#[test]
fn a_plea_to_slow_down_is_no_weaker_after_restarts() {
    let settings = ControllerSettings::default();
    let learned = Snapshot {
        request_rate: Some(10.0),
        rate_ceiling: Some(12.0),
        ..Snapshot::default()
    };
    let mut c = Controller::new(&settings, Some(&learned), at(0.0));
    for second in 1..5 {
        let now = at(f64::from(second));
        c = Controller::new(&settings, Some(&c.snapshot(now)), now);
    }
    assert_eq!(c.snapshot(at(5.0)).rate_ceiling, Some(12.0));
}

#[test]
fn a_backend_that_loads_is_asked_again_within_seconds_whatever_it_promised() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let says = Outcome::Cold {
        estimated: Some(Duration::from_secs(20)),
    };
    let mut now = 0.0;
    for id in 0..20 {
        call(&mut c, id, says, now);
        let Permission::SingleFlight { not_before } = c.grant().permission else {
            panic!("{:?}", c.grant());
        };
        let wait = not_before.as_secs_f64() - now - 0.1;
        assert!((0.49..=2.01).contains(&wait), "{wait} s at {now} s");
        now = not_before.as_secs_f64();
    }
}

#[test]
fn a_call_that_had_too_little_time_does_not_speak_against_the_backend() {
    let settings = ControllerSettings {
        attempt_timeout: Duration::from_secs(10),
        ..ControllerSettings::default()
    };
    let mut c = Controller::new(&settings, None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    for id in 1..12 {
        // Each gives up after 0.1 s, because its caller had no more.
        call(&mut c, id, Outcome::Timeout, real(id));
    }
    assert_ne!(c.grant().state, LaneState::Open);
}

fn real(id: u64) -> f64 {
    crate::num::real(usize::try_from(id).unwrap())
}

#[test]
fn one_sequential_caller_is_at_full_speed_soon_after_a_refusal_with_a_clock() {
    let asked = Duration::from_secs(2);
    let rate = Outcome::Rate {
        retry_after: Some(asked),
        slow_down: false,
    };
    let settings = ControllerSettings::default();
    for restarts in [false, true] {
        let mut c = Controller::new(&settings, None, at(0.0));
        let mut pool = Pool::new(&PoolSettings::default(), c.grant(), at(0.0));
        let (mut now, mut served_after, mut calls) = (0.0, 0_u32, 0_u32);
        while now < 24.0 {
            let offered = OfferedCall {
                payload: (),
                deadline: at(now + 60.0),
                bytes: 1,
                tokens: 0,
                output_tokens_max: 0,
                tenant: 0,
                priority: 0,
                weight: 1.0,
                refuse_when_cold: false,
                hedge: false,
                kind: Kind::default(),
            };
            pool.set_grant(c.grant(), at(now));
            pool.offer(offered, at(now)).unwrap();
            let sent = loop {
                c.step(Message::Wakeup, at(now), &mut || 0.5);
                pool.set_grant(c.grant(), at(now));
                match pool.next(at(now)) {
                    Some(sent) => break sent,
                    None => now += 0.01,
                }
            };
            calls += 1;
            let message = Message::Dispatched {
                attempt: sent.attempt,
                in_flight: sent.in_flight,
                tokens: 0,
                probe: sent.probe,
                kind: sent.kind,
            };
            c.step(message, at(now), &mut || 0.5);
            now += 0.1;
            let outcome = if calls == 100 { rate } else { OK };
            let ended = Message::Ended {
                attempt: sent.attempt,
                span: Span::until(at(now)),
                outcome,
                quota: QuotaHints::default(),
            };
            c.step(ended, at(now), &mut || 0.5);
            pool.set_grant(c.grant(), at(now));
            pool.ended(sent.attempt, (), outcome, false, at(now), &mut || 0.5);
            if outcome == rate {
                pool.cancel(sent.call, at(now));
                if restarts {
                    let learned = c.snapshot(at(now));
                    c = Controller::new(&settings, Some(&learned), at(now));
                }
            }
            served_after += u32::from(outcome == OK && now > 14.0);
        }
        // Refused at 10 s; from twice the pause on, ten calls per second.
        assert!(served_after >= 95, "{served_after} of 100");
    }
}

#[test]
fn a_backend_that_is_known_to_be_there_is_probed_before_it_is_due() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, Outcome::Cold { estimated: None }, 2.0);
    let due = |c: &Controller| match c.grant().permission {
        Permission::SingleFlight { not_before } => not_before,
        other => panic!("{other:?}"),
    };
    assert!(due(&c) > at(2.2), "{:?}", due(&c));
    c.step(Message::IsThere, at(2.2), &mut || 0.5);
    assert_eq!(due(&c), at(2.2));
    // A second hint does not put it off.
    c.step(Message::IsThere, at(4.0), &mut || 0.5);
    assert_eq!(due(&c), at(2.2));
}
