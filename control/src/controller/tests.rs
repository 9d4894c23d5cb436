use super::*;
use crate::{OfferedCall, Pool, PoolSettings, QuotaHints};

mod cold_starts;
mod outages;
mod pauses;
mod restarts;
mod shared;

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
