use super::*;
use crate::{AfterAttempt, BucketGrant, Dispatch, Grant, PoolSettings};

const SERVED: Outcome = Outcome::Success { tokens: None };

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

fn grant() -> Grant {
    let settings = crate::ControllerSettings::default();
    Grant {
        permission: Permission::Open,
        concurrency: 4,
        service_time_high: Duration::from_secs(2),
        ..crate::Controller::new(&settings, None, at(0.0)).grant()
    }
}

fn offer(payload: u32, now: f64) -> OfferedCall<u32> {
    OfferedCall {
        payload,
        deadline: at(now + 30.0),
        bytes: 1,
        tokens: 100,
        output_tokens_max: 0,
        tenant: 0,
        priority: 0,
        weight: 1.0,
        refuse_when_cold: false,
        hedge: true,
        kind: crate::Kind::default(),
    }
}

fn end(pool: &mut Pool<u32>, attempt: AttemptId, how: Outcome, now: f64) -> AfterAttempt<u32> {
    pool.ended(attempt, 7, how, false, at(now), &mut || 0.5)
}

/// A pool that has seen two hundred answers of one second each; its clock stands at 1000 s.
fn taught() -> Pool<u32> {
    let settings = PoolSettings {
        hedge_ratio: 0.1,
        ..PoolSettings::default()
    };
    let mut pool = Pool::new(&settings, grant(), at(0.0));
    for number in 0..200_u32 {
        let now = 5.0 * f64::from(number);
        pool.offer(offer(number, now), at(now)).unwrap();
        let sent = pool.next(at(now)).unwrap();
        assert!(pool.hedge(at(now)).is_none());
        end(&mut pool, sent.attempt, SERVED, now + 1.0);
    }
    pool
}

/// Sends one call at 1000 s.
fn send(pool: &mut Pool<u32>, offer: OfferedCall<u32>) -> Dispatch<u32> {
    pool.offer(offer, at(1000.0)).unwrap();
    pool.next(at(1000.0)).unwrap()
}

fn call() -> OfferedCall<u32> {
    offer(7, 1000.0)
}

#[test]
fn a_late_attempt_is_doubled_once_when_its_time_has_come() {
    let mut pool = taught();
    let first = send(&mut pool, call());
    let due = pool.next_wakeup(at(1000.0)).unwrap();
    let late = due.since(at(1000.0)).as_secs_f64();
    assert!((0.95..1.1).contains(&late), "{late}");
    assert!(pool.hedge(at(1000.9)).is_none());
    let hedge = pool.hedge(due).unwrap();
    assert_eq!(hedge.doubles, first.attempt);
    assert_eq!(
        (hedge.dispatch.call, hedge.dispatch.number),
        (first.call, 2)
    );
    assert_eq!((pool.in_flight(), hedge.dispatch.in_flight), (2, 2));
    assert!(pool.hedge(at(1020.0)).is_none(), "once per call");
}

#[test]
fn the_first_success_decides_whatever_the_other_does_then() {
    for other in [SERVED, Outcome::Fault, Outcome::Limit, Outcome::Cancelled] {
        for hedge_wins in [true, false] {
            let mut pool = taught();
            let first = send(&mut pool, call());
            let hedge = pool.hedge(at(1002.0)).unwrap();
            let (winner, loser) = if hedge_wins {
                (hedge.dispatch.attempt, first.attempt)
            } else {
                (first.attempt, hedge.dispatch.attempt)
            };
            let before = pool.report(at(1002.0)).retry_budget;
            let after = end(&mut pool, winner, SERVED, 1003.0);
            assert!(matches!(after, AfterAttempt::Done(7)), "{after:?}");
            let after = end(&mut pool, loser, other, 1003.1);
            assert!(
                matches!(after, AfterAttempt::Doubled),
                "{other:?} {after:?}"
            );
            let report = pool.report(at(1003.1));
            assert_eq!((report.queued, report.in_flight), (0, 0));
            assert_eq!(
                (report.hedges_sent, report.hedges_won),
                (1, u64::from(hedge_wins))
            );
            let earned = report.retry_budget - before;
            assert!(
                (earned - 0.2).abs() < 1e-9,
                "one success, one income: {earned}"
            );
        }
    }
}

#[test]
fn a_failed_attempt_leaves_the_call_to_the_other_and_both_are_counted() {
    let mut pool = taught();
    let first = send(&mut pool, call());
    let hedge = pool.hedge(at(1002.0)).unwrap();
    let after = end(&mut pool, first.attempt, Outcome::Fault, 1003.0);
    assert!(matches!(after, AfterAttempt::Doubled));
    let after = end(&mut pool, hedge.dispatch.attempt, Outcome::Fault, 1004.0);
    let AfterAttempt::Retry { at, .. } = after else {
        panic!("{after:?}");
    };
    assert_eq!(pool.next(at).unwrap().number, 3);
    assert!(pool.hedge(at.after(Duration::from_secs(9))).is_none());
}

#[test]
fn a_refusal_of_either_uses_no_attempt_and_holds_nothing() {
    for first_refused in [true, false] {
        let mut pool = taught();
        let first = send(&mut pool, call());
        let hedge = pool.hedge(at(1002.0)).unwrap();
        let mut pair = [first.attempt, hedge.dispatch.attempt];
        if !first_refused {
            pair.reverse();
        }
        let after = end(&mut pool, pair[0], Outcome::Limit, 1002.1);
        assert!(matches!(after, AfterAttempt::Doubled));
        assert_eq!(pool.report(at(1002.1)).held, 0);
        let after = end(&mut pool, pair[1], Outcome::Fault, 1003.0);
        let AfterAttempt::Retry { at, .. } = after else {
            panic!("{after:?}");
        };
        assert_eq!(pool.next(at).unwrap().number, 2);
    }
}

#[test]
fn a_begun_answer_is_not_doubled() {
    let mut pool = taught();
    let first = send(&mut pool, call());
    pool.first_part(first.attempt, at(1000.5));
    assert!(pool.hedge(at(1020.0)).is_none());
}

#[test]
fn only_short_calls_of_the_first_band_that_change_nothing_are_doubled() {
    let changing = OfferedCall {
        hedge: false,
        ..call()
    };
    let batch = OfferedCall {
        priority: 1,
        ..call()
    };
    let long = OfferedCall {
        tokens: 2001,
        ..call()
    };
    for offer in [changing, batch, long] {
        let mut pool = taught();
        send(&mut pool, offer);
        assert!(pool.hedge(at(1010.0)).is_none());
    }
}

#[test]
fn nothing_is_doubled_while_a_call_waits_or_no_slot_is_free() {
    let mut pool = taught();
    let narrow = |concurrency| Grant {
        concurrency,
        ..grant()
    };
    send(&mut pool, call());
    pool.set_grant(narrow(1), at(1000.0));
    assert!(pool.hedge(at(1005.0)).is_none(), "no slot is free");
    assert!(pool.hedge_due(at(1005.0)).is_none());
    pool.set_grant(narrow(2), at(1005.0));
    let waits = pool.offer(call(), at(1005.0)).unwrap();
    assert!(pool.hedge(at(1005.0)).is_none(), "a call waits");
    pool.cancel(waits, at(1005.0)).unwrap();
    let probing = Grant {
        trial_above: Some(1),
        ..narrow(2)
    };
    pool.set_grant(probing, at(1005.0));
    assert!(pool.hedge(at(1005.0)).is_none(), "the law tries more load");
    let until = at(1009.0);
    let paused = Grant {
        permission: Permission::Paused { until },
        ..narrow(2)
    };
    pool.set_grant(paused, at(1005.0));
    assert!(
        pool.hedge(at(1005.0)).is_none(),
        "the backend wants a pause"
    );
    let slow = BucketGrant {
        rate: 0.1,
        burst: 1.0,
        level_max: Some(0.0),
    };
    let limited = Grant {
        requests: Some(slow),
        ..narrow(2)
    };
    pool.set_grant(limited, at(1005.0));
    assert!(pool.hedge(at(1005.0)).is_none(), "the rate is used up");
    pool.set_grant(narrow(2), at(1005.0));
    assert!(pool.hedge(at(1005.0)).is_some());
}

#[test]
fn a_hedge_costs_a_retry_and_a_part_of_its_own_budget() {
    let mut pool = taught();
    pool.set_grant(
        Grant {
            concurrency: 20,
            ..grant()
        },
        at(1000.0),
    );
    let before = pool.report(at(1000.0)).retry_budget;
    for _ in 0..8 {
        send(&mut pool, call());
    }
    let sent = std::iter::from_fn(|| pool.hedge(at(1005.0))).count();
    assert_eq!(sent, 3, "as many as were saved up");
    let after = pool.report(at(1005.0)).retry_budget;
    assert!((before - after - 3.0).abs() < 1e-9);
    pool.hedging.budget = 3.0;
    pool.retries = 0.5;
    assert!(
        pool.hedge(at(1005.0)).is_none(),
        "the lane's retries are spent"
    );
}

#[test]
fn a_call_at_its_brink_or_at_its_last_attempt_is_not_doubled() {
    let mut pool = taught();
    send(&mut pool, call());
    assert!(pool.hedge(at(1029.0)).is_none(), "it is too late");
    assert_eq!(pool.hedge_due(at(1029.0)), None, "and not asked again");
    pool.settings.attempts_max = 1;
    send(&mut pool, call());
    assert!(pool.hedge(at(1005.0)).is_none());
}

#[test]
fn without_the_setting_nothing_is_learned_or_sent() {
    let mut pool = Pool::new(&PoolSettings::default(), grant(), at(0.0));
    for number in 0..100 {
        let now = 5.0 * f64::from(number);
        pool.offer(offer(0, now), at(now)).unwrap();
        let sent = pool.next(at(now)).unwrap();
        end(&mut pool, sent.attempt, SERVED, now + 1.0);
    }
    send(&mut pool, call());
    assert!(pool.hedge(at(1010.0)).is_none());
    assert_eq!(pool.report(at(1010.0)).hedge_after, None);
}

#[test]
fn a_caller_that_leaves_takes_both_attempts_along() {
    let mut pool = taught();
    let first = send(&mut pool, call());
    let hedge = pool.hedge(at(1002.0)).unwrap();
    pool.released(first.attempt, at(1003.0));
    let after = end(&mut pool, hedge.dispatch.attempt, Outcome::Fault, 1003.0);
    assert!(matches!(after, AfterAttempt::Doubled));
    assert_eq!((pool.in_flight(), pool.queued()), (0, 0));
}

#[test]
fn what_a_hedge_overtakes_counts_as_late() {
    let mut pool = taught();
    let before = pool.hedge_after().unwrap();
    for _ in 0..3 {
        let first = send(&mut pool, call());
        let hedge = pool.hedge(at(1002.0)).unwrap();
        end(&mut pool, hedge.dispatch.attempt, SERVED, 1002.5);
        end(&mut pool, first.attempt, Outcome::Cancelled, 1002.5);
    }
    assert!(pool.hedge_after().unwrap() > before);
}

#[test]
fn an_outage_does_not_teach_how_long_answers_take() {
    let mut pool = taught();
    let before = pool.hedge_after().unwrap();
    for number in 0..100_u32 {
        let now = 1000.0 + 60.0 * f64::from(number);
        pool.offer(offer(number, now), at(now)).unwrap();
        let sent = pool.next(at(now)).unwrap();
        end(&mut pool, sent.attempt, Outcome::Timeout, now + 29.9);
    }
    let after = pool.hedge_after().unwrap();
    assert!(after < before.mul_f64(1.2), "{before:?} became {after:?}");
}
