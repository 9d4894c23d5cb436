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
        state: LaneState::Steady,
        ..controller.grant()
    };
    let small = PoolSettings {
        queue_max: 3,
        ..PoolSettings::default()
    };
    Pool::new(&small, grant, at(0.0))
}

fn offer(payload: u32, tenant: u64) -> OfferedCall<u32> {
    OfferedCall {
        payload,
        deadline: at(10.0),
        bytes: 1,
        tokens: 0,
        output_tokens_max: 0,
        tenant,
        priority: 0,
        weight: 1.0,
        refuse_when_cold: false,
        hedge: false,
        kind: crate::Kind::default(),
    }
}

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
fn the_newest_goes_first_under_overload_but_never_before_one_that_came_back() {
    let mut p = pool(Permission::Open);
    p.settings.order = Order::NewestFirst;
    p.settings.queue_max = 100;
    p.grant.concurrency = 1;
    for i in 0..6 {
        p.offer(offer(i, 0), at(0.0)).unwrap();
    }
    let sent = p.next(at(0.0)).unwrap();
    assert_eq!(sent.payload, 0, "nobody has waited yet");
    p.released(sent.attempt, at(3.0));
    let sent = p.next(at(3.0)).unwrap();
    assert_eq!(sent.payload, 5, "the oldest has waited 3 s of 10 s");
    let reset = Outcome::Rate {
        retry_after: None,
        slow_down: false,
    };
    p.offer(offer(6, 0), at(3.0)).unwrap();
    p.ended(sent.attempt, 5, reset, false, at(3.1), &mut || 0.5);
    let sent = p.next(at(3.1)).unwrap();
    assert_eq!(sent.payload, 5, "it had its turn");
    p.released(sent.attempt, at(3.2));
    // A lower priority is served in order, whatever the load.
    for i in 10..12 {
        let batch = OfferedCall {
            priority: 1,
            ..offer(i, 0)
        };
        p.offer(batch, at(3.2)).unwrap();
    }
    p.grant.concurrency = 100;
    let order: Vec<u32> = std::iter::from_fn(|| p.next(at(3.3)))
        .map(|sent| sent.payload)
        .collect();
    assert_eq!(order.iter().filter(|i| **i < 10).count(), 5);
    let batch: Vec<&u32> = order.iter().filter(|i| **i >= 10).collect();
    assert_eq!(batch, [&10, &11]);
}

#[test]
fn a_trial_of_more_load_is_made_by_the_lowest_band() {
    let mut p = pool(Permission::Open);
    p.grant.trial_above = Some(1);
    for (i, priority) in [(0, 0), (1, 0), (2, 1)] {
        let banded = OfferedCall {
            priority,
            ..offer(i, 0)
        };
        p.offer(banded, at(0.0)).unwrap();
    }
    assert_eq!(p.next(at(0.0)).unwrap().payload, 0, "within what is proved");
    assert_eq!(p.next(at(0.0)).unwrap().payload, 2);
}

#[test]
fn a_larger_share_is_served_that_much_more() {
    let mut p = pool(Permission::Open);
    p.settings.queue_max = 100;
    let mut taken = [0, 0];
    for number in 0..40 {
        for (tenant, weight) in [(0, 3.0), (1, 1.0)] {
            let offered = OfferedCall {
                weight,
                deadline: at(100.0),
                ..offer(number, tenant)
            };
            p.offer(offered, at(0.0)).unwrap();
        }
    }
    let served = Outcome::Success { tokens: None };
    for _ in 0..40 {
        let sent = p.next(at(0.0)).unwrap();
        let tenant = p.running[&sent.attempt].meta.tenant;
        taken[usize::try_from(tenant).unwrap()] += 1;
        let (attempt, call) = (sent.attempt, sent.payload);
        p.ended(attempt, call, served, false, at(0.0), &mut || 0.5);
    }
    assert_eq!(taken, [30, 10]);
}

#[test]
fn a_tenant_is_charged_what_its_calls_cost_in_the_end() {
    let mut p = pool(Permission::Open);
    p.settings.queue_max = 100;
    p.grant.concurrency = 1;
    let mut served = [0_u32; 2];
    for i in 0..40 {
        for tenant in 0..2 {
            let bounded = OfferedCall {
                tokens: 1000,
                output_tokens_max: 900,
                ..offer(i, tenant)
            };
            p.offer(bounded, at(0.0)).unwrap();
        }
    }
    // The answers of tenant 0 take their whole bound, those of tenant 1 a ninth of it.
    for _ in 0..40 {
        let sent = p.next(at(0.0)).unwrap();
        let tenant = p.running[&sent.attempt].meta.tenant;
        served[usize::try_from(tenant).unwrap()] += 1;
        let tokens = Some(if tenant == 0 { 900 } else { 100 });
        let done = Outcome::Success { tokens };
        let payload = sent.payload;
        p.ended(sent.attempt, payload, done, false, at(0.0), &mut || 0.5);
    }
    assert!(served[1] >= 4 * served[0], "{served:?}");
}

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

proptest::proptest! {
    #[test]
    fn the_token_bucket_ends_up_charged_with_what_calls_cost(
        calls in proptest::collection::vec((0..500_u32, 0..500_u32, 0..600_u32, 0..4_u8), 1..60),
    ) {
        let mut p = pool(Permission::Open);
        p.settings.queue_max = 100;
        let bucket = crate::BucketGrant { rate: 0.0, burst: 1e6, level_max: None };
        p.set_grant(Grant { tokens: Some(bucket), concurrency: 100, ..p.grant() }, at(0.0));
        let mut left = 1e6;
        for (number, &(prompt, bound, output, how)) in (0..).zip(&calls) {
            let tokens = prompt + bound;
            let bounded = OfferedCall { tokens, output_tokens_max: bound, ..offer(number, 0) };
            p.offer(bounded, at(0.0)).unwrap();
            let sent = p.next(at(0.0)).unwrap();
            let reserved = p.running[&sent.attempt].meta.tokens;
            proptest::prop_assert!((prompt..=tokens).contains(&reserved));
            let outcome = match how {
                0 => Outcome::Client,
                1 => Outcome::Success { tokens: None },
                _ => Outcome::Success { tokens: Some(output) },
            };
            p.ended(sent.attempt, number, outcome, false, at(0.0), &mut || 0.5);
            // A reserve that is no guess is not settled; a failed call may have cost all that was reserved.
            let known = how > 1 && reserved > prompt;
            left -= f64::from(if known { prompt + output } else { reserved });
        }
        p.set_grant(Grant { tokens: Some(bucket), ..p.grant() }, at(0.0));
        proptest::prop_assert!((p.tokens.level() - left).abs() < 1e-6);
    }
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
fn a_call_of_a_tenant_with_few_calls_is_not_behind_another_tenants_backlog() {
    let mut queue = Queue::new(1000);
    let entry = |id: u64, tenant: u64, priority: u8| Entry {
        id: CallId(id),
        priority,
        tenant,
        tokens: 10,
        weight: 1.0,
        returned: false,
    };
    for id in 0..50 {
        queue.push(entry(id, 0, 1));
    }
    for id in 50..53 {
        queue.push(entry(id, 1, 1));
    }
    queue.push(entry(53, 2, 0));
    assert_eq!(queue.ahead(CallId(52)), Some(1 + 2 + 2));
    assert_eq!(queue.ahead(CallId(49)), Some(1 + 49 + 3));
    assert_eq!(queue.ahead(CallId(53)), Some(0));
    assert_eq!(queue.ahead(CallId(99)), None);
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
