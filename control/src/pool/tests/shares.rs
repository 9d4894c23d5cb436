//! Shares of tenants and the cost of their calls.

use super::*;

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
