//! Probes, and backends that do not serve.

use super::*;

#[test]
fn a_probe_is_given_the_time_to_load_unless_the_backend_is_broken() {
    let patient = |until: f64| OfferedCall {
        deadline: at(until),
        ..offer(0, 0)
    };
    for (state, expected) in [
        (LaneState::Idle, 120.0),
        (LaneState::Cold, 120.0),
        (LaneState::Open, 60.0),
    ] {
        let mut p = pool(Permission::SingleFlight {
            not_before: at(0.0),
        });
        p.set_grant(Grant { state, ..p.grant() }, at(0.0));
        p.offer(patient(600.0), at(0.0)).unwrap();
        let sent = p.next(at(0.0)).unwrap();
        assert_eq!(sent.timeout, Duration::from_secs_f64(expected), "{state:?}");
        let mut p = pool(Permission::SingleFlight {
            not_before: at(0.0),
        });
        p.set_grant(Grant { state, ..p.grant() }, at(0.0));
        p.offer(patient(30.0), at(0.0)).unwrap();
        let sent = p.next(at(0.0)).unwrap();
        assert_eq!(
            sent.timeout,
            Duration::from_secs(30),
            "its caller waits no longer"
        );
    }
}

#[test]
fn one_probe_at_a_time_under_a_single_flight_grant() {
    let mut p = pool(Permission::SingleFlight {
        not_before: at(2.0),
    });
    p.offer(offer(0, 0), at(0.0)).unwrap();
    p.offer(offer(1, 0), at(0.0)).unwrap();
    assert!(p.next(at(1.0)).is_none());
    assert!(p.next(at(2.0)).unwrap().probe);
    assert!(p.next(at(2.0)).is_none());
}

#[test]
fn without_a_queue_one_call_still_wakes_the_backend() {
    let mut p = pool(Permission::SingleFlight {
        not_before: at(2.0),
    });
    p.settings.queue_max = 0;
    assert!(p.offer(offer(0, 0), at(1.0)).is_err(), "it is not time yet");
    p.offer(offer(1, 0), at(2.0)).unwrap();
    assert!(p.offer(offer(2, 0), at(2.0)).is_err(), "one is enough");
    assert!(p.next(at(2.0)).unwrap().probe);
    assert!(p.offer(offer(3, 0), at(2.0)).is_err(), "nobody may wait");
}

#[test]
fn a_probe_is_the_call_that_can_wait_longest() {
    let mut p = pool(Permission::SingleFlight {
        not_before: at(0.0),
    });
    for (payload, deadline) in [(0, 1.0), (1, 9.0), (2, 5.0)] {
        let patient = OfferedCall {
            deadline: at(deadline),
            ..offer(payload, 0)
        };
        p.offer(patient, at(0.0)).unwrap();
    }
    assert_eq!(p.next(at(0.0)).unwrap().payload, 1);
    assert!(p.next(at(0.0)).is_none());
}

#[test]
fn a_pause_that_is_over_is_waited_for_no_more_while_an_attempt_runs() {
    let mut p = pool(Permission::Open);
    p.offer(offer(0, 0), at(0.0)).unwrap();
    p.next(at(0.0)).unwrap();
    let until = at(1.0);
    let paused = Grant {
        permission: Permission::Paused { until },
        ..p.grant()
    };
    p.set_grant(paused, at(0.0));
    p.offer(offer(1, 0), at(0.0)).unwrap();
    assert_eq!(p.next_wakeup(at(0.5)), Some(until));
    assert!(p.next(until).is_none(), "one call is safe, and one runs");
    assert_eq!(p.next_wakeup(until), Some(at(9.85)), "its deadline is next");
}

/// A pool in front of a backend that does not serve.
fn cold_pool(state: LaneState, ready_eta: Option<Timestamp>) -> Pool<u32> {
    let mut p = pool(Permission::SingleFlight {
        not_before: at(1000.0),
    });
    let grant = Grant {
        ready_eta,
        state,
        ..p.grant()
    };
    p.set_grant(grant, at(0.0));
    p
}

#[test]
fn a_wait_for_a_backend_that_does_not_say_when_it_will_serve_is_bounded() {
    let patient = |deadline: f64| OfferedCall {
        deadline: at(deadline),
        ..offer(0, 0)
    };
    let mut p = cold_pool(LaneState::Cold, None);
    p.offer(patient(3600.0), at(0.0)).unwrap();
    p.offer(patient(3600.0), at(10.0)).unwrap();
    assert_eq!(p.next_wakeup(at(10.0)), Some(at(300.0)));
    assert!(p.expire(at(299.0)).is_empty());
    let expired = p.expire(at(300.0));
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].1.reason, RefusalReason::Cold);
    assert_eq!(p.queued(), 1);
    // One that says when it will be ready is waited for.
    let mut p = cold_pool(LaneState::Cold, Some(at(900.0)));
    p.offer(patient(3600.0), at(0.0)).unwrap();
    assert!(p.expire(at(1200.0)).is_empty());
    let mut p = cold_pool(LaneState::Steady, None);
    p.offer(patient(3600.0), at(0.0)).unwrap();
    assert!(p.expire(at(1200.0)).is_empty());
}

#[test]
fn a_call_that_does_not_wait_for_a_cold_backend_is_refused_when_it_turns_out_to_be_one() {
    let mut p = pool(Permission::SingleFlight {
        not_before: at(0.0),
    });
    p.grant.state = LaneState::Idle;
    let mut impatient = offer(1, 0);
    impatient.refuse_when_cold = true;
    p.offer(impatient.clone(), at(0.0)).unwrap();
    let sent = p.next(at(0.0)).unwrap();
    p.offer(
        OfferedCall {
            payload: 2,
            ..impatient
        },
        at(0.5),
    )
    .unwrap();
    p.offer(offer(3, 0), at(0.5)).unwrap();
    let cold = Outcome::Cold { estimated: None };
    let after = p.ended(sent.attempt, 1, cold, false, at(1.0), &mut || 0.5);
    assert!(
        matches!(
            after,
            AfterAttempt::Exhausted(1, Exhaustion::Refused(RefusalReason::Cold))
        ),
        "{after:?}"
    );
    // So are those that waited behind it.
    let grant = Grant {
        state: LaneState::Cold,
        ..p.grant()
    };
    p.set_grant(grant, at(1.0));
    let refused: Vec<_> = p
        .expire(at(1.0))
        .into_iter()
        .map(|(payload, refusal)| (payload, refusal.reason))
        .collect();
    assert_eq!(refused, [(2, RefusalReason::Cold)]);
    assert_eq!(p.queued(), 1);
}

#[test]
fn one_caller_is_admitted_to_ask_whatever_time_a_loading_backend_announced() {
    let mut p = cold_pool(LaneState::Cold, Some(at(30.0)));
    let probe_at = |p: &mut Pool<u32>, not_before: f64, now: f64| {
        let permission = Permission::SingleFlight {
            not_before: at(not_before),
        };
        let grant = Grant {
            permission,
            ..p.grant()
        };
        p.set_grant(grant, at(now));
    };
    let until = |deadline: f64| OfferedCall {
        deadline: at(deadline),
        ..offer(0, 0)
    };
    probe_at(&mut p, 2.0, 0.0);
    let refused = p.offer(until(2.0), at(0.0)).unwrap_err();
    assert_eq!(
        refused.1.reason,
        RefusalReason::Cold,
        "it leaves before the probe"
    );
    p.offer(until(5.0), at(0.0)).unwrap();
    let refused = p.offer(until(5.0), at(0.1)).unwrap_err();
    assert_eq!(refused.1.reason, RefusalReason::Cold, "one is enough");
    // The same while its probe is out, and when it waits for the next one.
    let sent = p.next(at(2.0)).unwrap();
    assert!(sent.probe);
    assert!(p.offer(until(7.0), at(2.05)).is_err());
    let cold = Outcome::Cold {
        estimated: Some(Duration::from_secs(28)),
    };
    let after = p.ended(sent.attempt, 0, cold, false, at(2.1), &mut || 0.5);
    assert!(matches!(after, AfterAttempt::Held(_)), "{after:?}");
    probe_at(&mut p, 4.1, 2.1);
    assert!(p.offer(until(7.0), at(2.2)).is_err());
    // It would leave before the probe after that: the next caller asks.
    probe_at(&mut p, 6.1, 4.1);
    p.offer(until(9.0), at(4.2)).unwrap();
    assert_eq!(p.expire(at(5.0)).len(), 1);
    assert!(p.next(at(6.1)).unwrap().probe);
}
