use super::*;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

fn pool(permission: Permission) -> Pool<u32> {
    let settings = crate::ControllerSettings::default();
    let controller = crate::Controller::new(&settings, None, at(0.0));
    let grant = Grant {
        permission,
        concurrency: 2,
        state: LaneState::Ready,
        ..controller.grant()
    };
    let small = PoolSettings {
        queue_max: 3,
        ..PoolSettings::default()
    };
    Pool::new(&small, grant, at(0.0))
}

fn offer(payload: u32, tenant: u64) -> Offer<u32> {
    Offer {
        payload,
        deadline: at(10.0),
        bytes: 1,
        tokens: 0,
        tenant,
        priority: 0,
        refuse_when_cold: false,
    }
}

#[test]
fn no_more_than_the_limit_is_in_flight() {
    let mut p = pool(Permission::Open);
    for i in 0..3 {
        p.offer(offer(i, 0), at(0.0)).unwrap();
    }
    assert_eq!(p.next(at(0.0)).unwrap().in_flight, 1);
    assert_eq!(p.next(at(0.0)).unwrap().in_flight, 2);
    assert!(p.next(at(0.0)).is_none());
}

#[test]
fn a_refused_call_returns_to_the_head_and_uses_no_attempt() {
    let mut p = pool(Permission::Open);
    p.offer(offer(0, 0), at(0.0)).unwrap();
    p.offer(offer(1, 0), at(0.0)).unwrap();
    let first = p.next(at(0.0)).unwrap();
    let after = p.ended(
        first.attempt,
        0,
        Outcome::Limit,
        false,
        at(1.0),
        &mut || 0.5,
    );
    assert!(matches!(after, AfterAttempt::Held(call) if call == first.call));
    let again = p.next(at(1.0375)).unwrap();
    assert_eq!((again.payload, again.number), (0, 1));
}

#[test]
fn a_call_refused_again_and_again_is_held_longer_and_keeps_its_slot() {
    let mut p = pool(Permission::Open);
    for i in 0..3 {
        p.offer(offer(i, 0), at(0.0)).unwrap();
    }
    let first = p.next(at(0.0)).unwrap();
    let mut now = at(0.0);
    let mut waits = Vec::new();
    let mut refused = p.next(now).unwrap();
    for _ in 0..8 {
        p.ended(refused.attempt, 1, Outcome::Limit, false, now, &mut || 1.0);
        assert!(p.next(now).is_none(), "the third call took its slot");
        let due = p.next_wakeup(now).unwrap();
        waits.push(due.since(now).as_millis());
        now = due;
        refused = p.next(now).unwrap();
        assert_eq!((refused.payload, refused.number), (1, 1));
    }
    assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    let served = Outcome::Success { tokens: None };
    p.ended(first.attempt, 0, served, false, now, &mut || 0.5);
    assert_eq!(p.next(now).unwrap().payload, 2);
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
fn the_longest_queue_sheds_first_and_every_call_ends_once() {
    let mut p = pool(Permission::Paused { until: at(9.0) });
    for i in 0..3 {
        p.offer(offer(i, 7), at(0.0)).unwrap();
    }
    assert_eq!(
        p.offer(offer(3, 7), at(0.0)).unwrap_err().1.reason,
        RefusalReason::QueueFull
    );
    p.offer(offer(4, 8), at(0.0)).unwrap();
    let shed = p.expire(at(0.0));
    assert_eq!(shed[0].0, 2);
    let left: Vec<u32> = p
        .expire(at(10.0))
        .into_iter()
        .map(|(payload, _)| payload)
        .collect();
    assert_eq!((left, p.queued(), p.in_flight()), (vec![0, 1, 4], 0, 0));
}

#[test]
fn retries_spend_the_budget_and_then_end() {
    let mut p = pool(Permission::Open);
    p.retries = 1.0;
    p.offer(offer(0, 0), at(0.0)).unwrap();
    let first = p.next(at(0.0)).unwrap();
    let after = p.ended(
        first.attempt,
        0,
        Outcome::Fault,
        false,
        at(0.0),
        &mut || 0.0,
    );
    assert!(matches!(after, AfterAttempt::Retry { .. }));
    let second = p.next(at(1.0)).unwrap();
    let end = p.ended(
        second.attempt,
        0,
        Outcome::Fault,
        false,
        at(1.0),
        &mut || 0.0,
    );
    assert!(matches!(
        end,
        AfterAttempt::Exhausted(0, Exhaustion::Budget)
    ));
}

#[test]
fn a_probe_is_the_call_that_can_wait_longest() {
    let mut p = pool(Permission::SingleFlight {
        not_before: at(0.0),
    });
    for (payload, deadline) in [(0, 1.0), (1, 9.0), (2, 5.0)] {
        let patient = Offer {
            deadline: at(deadline),
            ..offer(payload, 0)
        };
        p.offer(patient, at(0.0)).unwrap();
    }
    assert_eq!(p.next(at(0.0)).unwrap().payload, 1);
    assert!(p.next(at(0.0)).is_none());
}

#[test]
fn a_retry_that_the_budget_cannot_pay_waits_for_successes_or_ends() {
    let mut p = pool(Permission::Open);
    p.retries = 0.0;
    p.grant.retry_ratio = 0.5;
    p.grant.delivered_rate = Some(1.0);
    p.offer(offer(0, 0), at(0.0)).unwrap();
    p.offer(offer(1, 0), at(0.0)).unwrap();
    let failed = p.next(at(0.0)).unwrap();
    let served = p.next(at(0.0)).unwrap();
    let after = p.ended(
        failed.attempt,
        0,
        Outcome::Fault,
        false,
        at(1.0),
        &mut || 0.0,
    );
    assert!(matches!(after, AfterAttempt::Retry { at: paid, .. } if paid == at(3.0)));
    assert!(p.next(at(5.0)).is_none(), "nothing was earned");
    let done = Outcome::Success { tokens: None };
    p.ended(served.attempt, 1, done, false, at(5.0), &mut || 0.0);
    assert!(p.next(at(5.0)).is_none(), "half a retry was earned");
    p.offer(offer(2, 0), at(5.0)).unwrap();
    let served = p.next(at(5.0)).unwrap();
    p.ended(served.attempt, 2, done, false, at(6.0), &mut || 0.0);
    let again = p.next(at(6.0)).unwrap();
    assert_eq!((again.payload, again.number), (0, 2));
    // Where nothing is delivered, nothing will be earned.
    p.grant.delivered_rate = None;
    let after = p.ended(
        again.attempt,
        0,
        Outcome::Fault,
        false,
        at(6.5),
        &mut || 0.0,
    );
    assert!(matches!(
        after,
        AfterAttempt::Exhausted(0, Exhaustion::Budget)
    ));
}

#[test]
fn a_raised_timeout_takes_at_most_half_of_the_time_left() {
    let mut p = pool(Permission::Open);
    p.grant.attempt_timeout_base = Duration::from_secs(2);
    p.grant.attempt_timeout = Duration::from_secs(6);
    let timeout = |left| p.timeout(Duration::from_secs(left)).as_secs();
    assert_eq!([60, 12, 8, 3, 1].map(timeout), [6, 6, 4, 2, 1]);
}
