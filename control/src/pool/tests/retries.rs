//! Calls that come back: refusals, retries and what pays for them.

use super::*;

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
    let done = Outcome::Success { tokens: None };
    p.ended(served.attempt, 1, done, false, at(1.5), &mut || 0.0);
    assert!(p.next(at(1.5)).is_none(), "half a retry was earned");
    p.offer(offer(2, 0), at(1.5)).unwrap();
    let served = p.next(at(1.5)).unwrap();
    p.ended(served.attempt, 2, done, false, at(2.0), &mut || 0.0);
    let again = p.next(at(2.0)).unwrap();
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
fn a_retry_is_made_when_successes_should_have_paid_for_it_though_none_came() {
    let mut p = pool(Permission::Open);
    p.retries = 0.4;
    p.grant.retry_ratio = 0.2;
    p.grant.delivered_rate = Some(1.0);
    p.offer(offer(0, 0), at(0.0)).unwrap();
    let failed = p.next(at(0.0)).unwrap();
    let after = p.ended(
        failed.attempt,
        0,
        Outcome::Fault,
        false,
        at(0.5),
        &mut || 0.0,
    );
    let due = at(0.5 + 0.6 / 0.2);
    assert!(
        matches!(after, AfterAttempt::Retry { at: paid, .. } if paid == due),
        "{after:?}"
    );
    assert_eq!(p.next_wakeup(at(0.5)), Some(due));
    assert!(p.next(at(3.4)).is_none());
    let again = p.next(due).unwrap();
    assert_eq!((again.payload, again.number), (0, 2));
    assert!(
        p.retries.abs() < 1e-9,
        "it took what there was: {}",
        p.retries
    );
}

#[test]
fn five_fifths_of_a_retry_are_one() {
    let mut p = pool(Permission::Open);
    p.retries = 0.0;
    p.grant.retry_ratio = 0.2;
    p.settings.queue_max = 10;
    for payload in 0..5 {
        p.offer(offer(payload, 0), at(0.0)).unwrap();
        let sent = p.next(at(0.0)).unwrap();
        let done = Outcome::Success { tokens: None };
        p.ended(sent.attempt, payload, done, false, at(0.0), &mut || 0.0);
    }
    p.offer(offer(5, 0), at(0.0)).unwrap();
    let failed = p.next(at(0.0)).unwrap();
    let after = p.ended(
        failed.attempt,
        5,
        Outcome::Fault,
        false,
        at(0.0),
        &mut || 0.0,
    );
    assert!(
        matches!(after, AfterAttempt::Retry { at: soon, .. } if soon < at(1.0)),
        "{after:?}"
    );
}

#[test]
fn a_backend_that_asks_for_no_pause_is_not_called_without_end() {
    let mut p = pool(Permission::Open);
    p.offer(offer(0, 0), at(0.0)).unwrap();
    let (mut now, mut attempts) = (at(0.0), 0);
    while now < at(8.0) {
        if let Some(sent) = p.next(now) {
            attempts += 1;
            let asked = Outcome::Rate {
                retry_after: Some(Duration::ZERO),
                slow_down: false,
            };
            p.ended(sent.attempt, 0, asked, false, now, &mut || 0.5);
        }
        now = now.after(Duration::from_millis(1));
    }
    assert!((5..=15).contains(&attempts), "{attempts} attempts in 8 s");
}

#[test]
fn a_raised_timeout_takes_at_most_half_of_the_time_left() {
    let mut p = pool(Permission::Open);
    p.grant.attempt_timeout_base = Duration::from_secs(2);
    p.grant.attempt_timeout = Duration::from_secs(6);
    let timeout = |left| p.timeout(false, Duration::from_secs(left)).as_secs();
    assert_eq!([60, 12, 8, 3, 1].map(timeout), [6, 6, 4, 2, 1]);
}

#[test]
fn a_retry_that_is_due_is_not_asked_for_again_while_nobody_can_take_it() {
    let mut p = pool(Permission::Open);
    let patient = |payload| OfferedCall {
        deadline: at(60.0),
        ..offer(payload, 0)
    };
    for payload in 0..2 {
        p.offer(patient(payload), at(0.0)).unwrap();
    }
    let failed = p.next(at(0.0)).unwrap();
    p.next(at(0.0)).unwrap();
    let after = p.ended(
        failed.attempt,
        0,
        Outcome::Fault,
        false,
        at(1.0),
        &mut || 0.5,
    );
    let AfterAttempt::Retry { at: due, .. } = after else {
        panic!("{after:?}");
    };
    let full = Grant {
        concurrency: 1,
        ..p.grant()
    };
    p.set_grant(full, at(1.0));
    assert_eq!(p.next_wakeup(at(1.0)), Some(due));
    assert!(p.expire(due).is_empty());
    assert_eq!(
        p.next_wakeup(due),
        Some(at(59.85)),
        "an attempt's end is next, or the deadline"
    );
}
