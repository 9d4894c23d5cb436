//! When a call is refused, and when it waits.

use super::*;

#[test]
fn a_used_up_quota_refuses_only_those_who_cannot_wait_for_its_renewal() {
    let mut p = pool(Permission::Closed { until: at(8.0) });
    p.offer(offer(0, 0), at(0.0)).unwrap();
    assert!(p.next(at(7.9)).is_none());
    let short = OfferedCall {
        deadline: at(7.0),
        ..offer(1, 0)
    };
    let (_, refusal) = p.offer(short, at(0.0)).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::Quota);
    assert_eq!(p.next(at(8.0)).unwrap().payload, 0);
}

#[test]
fn calls_that_wait_when_a_quota_is_used_up_are_refused_at_once_if_it_outlasts_them() {
    let mut p = pool(Permission::Paused { until: at(1.0) });
    p.offer(offer(0, 0), at(0.0)).unwrap();
    let patient = OfferedCall {
        deadline: at(900.0),
        ..offer(1, 0)
    };
    p.offer(patient, at(0.0)).unwrap();
    let closed = |until| Grant {
        permission: Permission::Closed { until },
        ..pool(Permission::Open).grant()
    };
    p.set_grant(closed(at(600.0)), at(0.5));
    let refused = p.expire(at(0.5));
    let reasons: Vec<_> = refused.iter().map(|(id, why)| (*id, why.reason)).collect();
    assert_eq!(reasons, [(0, RefusalReason::Quota)]);
    // Of a quota whose renewal nobody has announced, no hint is given.
    p.set_grant(closed(Timestamp::MAX), at(0.6));
    let refused = p.expire(at(0.6));
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, 1);
    assert_eq!(refused[0].1.retry_after, None);
    assert_eq!(p.next(at(700.0)).map(|sent| sent.payload), None);
}

#[test]
fn no_one_is_sent_away_for_a_dip_that_may_end_in_time() {
    let mut p = pool(Permission::Open);
    p.settings.queue_max = 1000;
    let delivers = |p: &mut Pool<u32>, rate: f64, now: f64| {
        let delivered_rate = Some(rate);
        let grant = Grant {
            delivered_rate,
            ..p.grant()
        };
        p.set_grant(grant, at(now));
    };
    delivers(&mut p, 20.0, 0.0);
    delivers(&mut p, 1.0, 10.0);
    let from = |now: f64, p: &mut Pool<u32>| {
        let in_time = || OfferedCall {
            deadline: at(now + 10.0),
            ..offer(0, 0)
        };
        let mut taken = 0;
        while p.offer(in_time(), at(now)).is_ok() {
            taken += 1;
        }
        taken
    };
    // Twice what was delivered would serve 400 in 10 s, twice what is delivered now serves 20.
    let before = from(10.0, &mut p);
    assert!((390..=410).contains(&before), "{before}");
    p.expire(at(500.0));
    delivers(&mut p, 1.0, 499.0);
    delivers(&mut p, 1.0, 500.0);
    let now = from(500.0, &mut p);
    assert!((18..=22).contains(&now), "{now}");
}

#[test]
fn a_call_below_the_deadline_margin_waits_and_lets_others_go_first() {
    let mut p = pool(Permission::Open);
    let grant = Grant {
        service_time_high: Duration::from_secs(6),
        service_time: Duration::from_secs(1),
        concurrency: 1,
        ..p.grant()
    };
    p.set_grant(grant, at(0.0));
    p.offer(offer(0, 0), at(0.0)).unwrap();
    let late = OfferedCall {
        deadline: at(16.0),
        ..offer(1, 0)
    };
    p.offer(late, at(6.0)).unwrap();
    let first = p.next(at(6.0)).unwrap();
    assert_eq!(first.payload, 1, "it has more time");
    let served = Outcome::Success { tokens: None };
    p.ended(first.attempt, 1, served, false, at(7.0), &mut || 0.5);
    assert!(p.expire(at(7.0)).is_empty());
    assert_eq!(p.next_wakeup(at(7.0)), Some(at(7.0)));
    assert_eq!(p.next(at(7.0)).unwrap().payload, 0, "a slot is free");
    p.offer(offer(2, 0), at(7.0)).unwrap();
    assert!(p.expire(at(9.5)).is_empty());
    let refused = p.expire(at(9.86));
    assert_eq!(refused.len(), 1, "refused before its deadline");
}

#[test]
fn a_probe_that_the_rate_forbids_is_asked_for_when_the_rate_allows_it() {
    let permission = Permission::SingleFlight {
        not_before: at(0.0),
    };
    let mut p = pool(permission);
    let slow = crate::BucketGrant {
        rate: 0.5,
        burst: 1.0,
        level_max: Some(0.0),
    };
    let limited = Grant {
        requests: Some(slow),
        ..p.grant()
    };
    p.set_grant(limited, at(0.0));
    p.offer(offer(0, 0), at(0.0)).unwrap();
    assert!(p.next(at(0.0)).is_none());
    let due = p.next_wakeup(at(0.0)).unwrap();
    let wait = due.since(at(0.0)).as_secs_f64();
    assert!((1.9..2.1).contains(&wait), "{wait}");
    assert!(p.next(due).is_some());
}

#[test]
fn a_call_that_stepped_aside_has_its_place_again_when_the_margin_shrinks() {
    let mut p = pool(Permission::Open);
    let with = |p: &mut Pool<u32>, service_time_high: u64, now: f64| {
        let grant = Grant {
            concurrency: 1,
            service_time_high: Duration::from_secs(service_time_high),
            ..p.grant()
        };
        p.set_grant(grant, at(now));
    };
    let patient = |payload| OfferedCall {
        deadline: at(30.0),
        ..offer(payload, 0)
    };
    with(&mut p, 6, 0.0);
    p.offer(patient(0), at(0.0)).unwrap();
    let first = p.next(at(0.0)).unwrap();
    p.offer(offer(1, 0), at(0.0)).unwrap();
    p.offer(patient(2), at(0.0)).unwrap();
    p.released(first.attempt, at(5.0));
    // Five seconds are left to the call 1, less than the margin of six.
    let second = p.next(at(5.0)).unwrap();
    assert_eq!(second.payload, 2);
    p.offer(patient(3), at(5.0)).unwrap();
    with(&mut p, 1, 5.0);
    p.released(second.attempt, at(5.0));
    assert_eq!(p.next(at(5.0)).unwrap().payload, 1);
}

/// Offers `count` calls at once to a lane that serves as many calls per second as its limit, and returns when and why calls
/// were refused.
fn overload(count: u32, states: impl Fn(f64) -> (LaneState, u32)) -> Vec<(f64, RefusalReason)> {
    let grant = pool(Permission::Open).grant();
    let mut p = Pool::new(&PoolSettings::default(), grant, at(0.0));
    for payload in 0..count {
        p.offer(offer(payload, 0), at(0.0)).unwrap();
    }
    let mut refused = Vec::new();
    let mut out = Vec::new();
    for tenth in 0..100_u32 {
        let now = f64::from(tenth) / 10.0;
        let (state, concurrency) = states(now);
        let grant = Grant {
            concurrency,
            state,
            ..p.grant()
        };
        p.set_grant(grant, at(now));
        if tenth % 10 == 0 {
            for (attempt, payload) in out.drain(..) {
                let served = Outcome::Success { tokens: None };
                p.ended(attempt, payload, served, false, at(now), &mut || 0.5);
            }
        }
        while let Some(sent) = p.next(at(now)) {
            out.push((sent.attempt, sent.payload));
        }
        let wakeup = p.next_wakeup(at(now));
        assert!(p.queued() == 0 || wakeup.is_some_and(|wakeup| wakeup <= at(9.9)));
        let expired = p.expire(at(now)).into_iter();
        refused.extend(expired.map(|(_, refusal)| (now, refusal.reason)));
    }
    refused
}

#[test]
fn calls_that_will_not_be_reached_are_refused_in_the_middle_of_their_time() {
    let refused = overload(60, |_| (LaneState::Steady, 2));
    // Twenty are served; a few more than the rate reaches are kept.
    assert!((38..=40).contains(&refused.len()), "{refused:?}");
    let (middle, late): (Vec<_>, Vec<_>) = refused
        .into_iter()
        .partition(|(time, _): &(f64, RefusalReason)| *time < 5.0);
    assert!(middle.len() >= 34 && late.len() <= 4, "{middle:?} {late:?}");
    let reason = RefusalReason::WaitTooLong;
    assert!(middle.iter().all(|(_, why)| *why == reason));
    assert!(
        overload(20, |_| (LaneState::Steady, 2)).len() <= 1,
        "no overload"
    );
}

#[test]
fn nothing_is_sure_of_a_lane_that_did_not_serve_all_the_time() {
    let paused = |now: f64| match now {
        0.0..2.0 => (LaneState::Paused, 2),
        _ => (LaneState::Steady, 2),
    };
    let refused = overload(60, paused);
    assert!(refused.iter().all(|(time, _)| *time > 9.0), "{refused:?}");
}

#[test]
fn nothing_is_sure_of_a_lane_whose_limit_has_just_grown() {
    let growing = |now: f64| match now {
        0.0..4.0 => (LaneState::Steady, 2),
        _ => (LaneState::Steady, 8),
    };
    // 8 calls in four seconds, and 8 per second from then on.
    let refused = overload(60, growing);
    assert!(refused.iter().all(|(time, _)| *time > 9.0), "{refused:?}");
    assert!(refused.len() <= 12, "{refused:?}");
}

#[test]
fn a_failed_call_below_the_deadline_margin_waits_and_is_refused_in_time() {
    let mut p = pool(Permission::Open);
    let slow = Grant {
        service_time_high: Duration::from_secs(8),
        service_time: Duration::from_secs(7),
        ..p.grant()
    };
    p.set_grant(slow, at(0.0));
    p.offer(offer(0, 0), at(0.0)).unwrap();
    let first = p.next(at(0.0)).unwrap();
    let other = OfferedCall {
        deadline: at(60.0),
        ..offer(1, 0)
    };
    p.offer(other, at(0.0)).unwrap();
    p.next(at(0.0)).unwrap();
    let after = p.ended(
        first.attempt,
        0,
        Outcome::Timeout,
        false,
        at(5.0),
        &mut || 0.5,
    );
    assert!(matches!(after, AfterAttempt::Retry { .. }), "{after:?}");
    assert!(p.next(at(6.0)).is_none(), "it has too little time left");
    let refused = p.expire(at(9.85));
    let reasons: Vec<_> = refused.iter().map(|(_, refusal)| refusal.reason).collect();
    assert_eq!(reasons, [RefusalReason::QueueTimeout]);
}

#[test]
fn a_call_is_sent_while_nothing_is_in_flight_however_little_time_it_has() {
    let mut p = pool(Permission::Open);
    let slow = Grant {
        service_time_high: Duration::from_secs(30),
        service_time: Duration::from_secs(20),
        concurrency: 2,
        ..p.grant()
    };
    p.set_grant(slow, at(0.0));
    p.offer(offer(0, 0), at(0.0)).unwrap();
    let first = p.next(at(0.0)).unwrap();
    p.offer(offer(1, 0), at(0.0)).unwrap();
    assert!(p.next(at(8.0)).is_none(), "one is in flight");
    assert!(!p.is_idle_though_calls_wait(at(8.0)));
    p.released(first.attempt, at(8.0));
    assert!(p.is_idle_though_calls_wait(at(8.0)));
    assert_eq!(p.next_wakeup(at(8.0)), Some(at(8.0)));
    assert!(p.next(at(8.0)).is_some(), "nothing is in flight");
}
