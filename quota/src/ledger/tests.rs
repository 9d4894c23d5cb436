//! Budgets and limits, one by one and under random calls.

use proptest::prelude::*;

use super::*;
use crate::{Budget, Money, Period};

/// 15 March 2026, noon.
const NOON: u64 = 1_773_576_000_000;
const HOUR: u64 = 3_600_000;

fn tokens(tokens: u64) -> Estimate {
    Estimate {
        tokens,
        money: Money::ZERO,
    }
}

fn used(tokens: u64) -> Amount {
    Amount {
        calls: 1,
        tokens,
        money: Money::from_nano(tokens * 3),
    }
}

fn budget(tokens: u64, per: Period) -> Limits {
    Limits {
        budgets: vec![Budget {
            tokens: Some(tokens),
            money: None,
            per,
        }],
        ..Limits::default()
    }
}

#[test]
fn what_is_charged_beside_a_call_counts_in_its_accounts() {
    let mut ledger = Ledger::default();
    let (key, group) = (
        ledger.open(Limits::default(), NOON),
        ledger.open(budget(100, Period::Month), NOON),
    );
    let path = [key, group];
    ledger.reserve(&path, &tokens(60), NOON).unwrap();
    let beside = Amount {
        calls: 0,
        ..used(30)
    };
    assert!(ledger.charge(&path, beside, NOON));
    assert_eq!(ledger.refusal(&path, &tokens(10), NOON), None);
    let refusal = ledger.refusal(&path, &tokens(11), NOON).unwrap();
    assert_eq!(refusal.account, group);
    let view = ledger.view(key, NOON).unwrap();
    assert_eq!(
        (view.running, view.today.tokens, view.today.calls),
        (1, 30, 0)
    );
    let unwritten: u64 = ledger
        .unwritten()
        .values()
        .map(|amount| amount.tokens)
        .sum();
    assert_eq!(unwritten, 60);
}

#[test]
fn a_call_that_uses_nothing_is_not_refused_by_what_others_have_used() {
    let mut ledger = Ledger::default();
    let limits = Limits {
        tokens_per_minute: Some(10),
        requests_per_minute: Some(2),
        ..budget(100, Period::Month)
    };
    let path = [ledger.open(limits, NOON)];
    ledger.reserve(&path, &tokens(10), NOON).unwrap();
    ledger.settle(&path, &tokens(10), used(500), NOON);
    assert!(ledger.refusal(&path, &tokens(1), NOON).is_some());
    ledger.reserve(&path, &Estimate::default(), NOON).unwrap();
    // It counts as a call nevertheless.
    let refusal = ledger.refusal(&path, &Estimate::default(), NOON);
    assert_eq!(
        refusal.unwrap().exceeded,
        crate::Exceeded::RequestsPerMinute
    );
}

#[test]
fn a_reservation_counts_until_the_real_usage_takes_its_place() {
    let mut ledger = Ledger::default();
    let key = ledger.open(budget(100, Period::Day), NOON);
    let path = [key];
    ledger.reserve(&path, &tokens(60), NOON).unwrap();
    let refusal = ledger.reserve(&path, &tokens(60), NOON).unwrap_err();
    assert_eq!(
        (refusal.account, refusal.exceeded),
        (key, Exceeded::Tokens(Period::Day))
    );
    assert_eq!(refusal.retry_after, None);
    ledger.settle(&path, &tokens(60), used(10), NOON);
    ledger.reserve(&path, &tokens(60), NOON).unwrap();
    let view = ledger.view(key, NOON).unwrap();
    assert_eq!(
        (view.running, view.today.tokens, view.reserved.tokens),
        (1, 10, 60)
    );
    assert_eq!(view.budgets[0].used_permille, 700);
}

#[test]
fn a_budget_of_money_counts_money() {
    let mut ledger = Ledger::default();
    let limits = Limits {
        budgets: vec![Budget {
            tokens: None,
            money: Some(Money::from_nano(100)),
            per: Period::Month,
        }],
        ..Limits::default()
    };
    let key = ledger.open(limits, NOON);
    let cost = |nano| Estimate {
        tokens: 1_000_000,
        money: Money::from_nano(nano),
    };
    ledger.reserve(&[key], &cost(100), NOON).unwrap();
    let refusal = ledger.reserve(&[key], &cost(1), NOON).unwrap_err();
    assert_eq!(refusal.exceeded, Exceeded::Money(Period::Month));
}

#[test]
fn a_group_bounds_its_keys_together_and_a_refusal_reserves_nothing() {
    let mut ledger = Ledger::default();
    let group = ledger.open(budget(100, Period::Month), NOON);
    let (ann, bob) = (
        ledger.open(Limits::default(), NOON),
        ledger.open(Limits::default(), NOON),
    );
    ledger.reserve(&[ann, group], &tokens(70), NOON).unwrap();
    let refusal = ledger
        .reserve(&[bob, group], &tokens(70), NOON)
        .unwrap_err();
    assert_eq!(refusal.account, group);
    let view = ledger.view(bob, NOON).unwrap();
    assert_eq!((view.running, view.reserved), (0, Estimate::default()));
    ledger.reserve(&[bob, group], &tokens(30), NOON).unwrap();
}

#[test]
fn days_and_months_begin_anew_and_a_clock_that_is_set_back_does_not_refund() {
    let mut ledger = Ledger::default();
    let limits = Limits {
        budgets: [
            budget(10, Period::Day).budgets,
            budget(15, Period::Month).budgets,
        ]
        .concat(),
        ..Limits::default()
    };
    let key = ledger.open(limits, NOON);
    let mut call = |now: u64| {
        let result = ledger.reserve(&[key], &tokens(10), now);
        if result.is_ok() {
            ledger.settle(&[key], &tokens(10), used(10), now);
        }
        result.map_err(|refusal| refusal.exceeded)
    };
    assert_eq!(call(NOON), Ok(()));
    assert_eq!(call(NOON), Err(Exceeded::Tokens(Period::Day)));
    assert_eq!(call(NOON + 12 * HOUR), Err(Exceeded::Tokens(Period::Month)));
    assert_eq!(call(NOON), Err(Exceeded::Tokens(Period::Month)));
    assert_eq!(call(NOON + 31 * 24 * HOUR), Ok(()));
}

#[test]
fn requests_and_tokens_per_minute_and_at_once_are_bounded() {
    let mut ledger = Ledger::default();
    let limits = Limits {
        requests_per_minute: Some(2),
        tokens_per_minute: Some(600),
        requests_at_once: Some(1),
        budgets: Vec::new(),
    };
    let key = ledger.open(limits, NOON);
    ledger.reserve(&[key], &tokens(600), NOON).unwrap();
    let refusal = |ledger: &mut Ledger, now| {
        let refusal = ledger.reserve(&[key], &tokens(300), now).unwrap_err();
        (refusal.exceeded, refusal.retry_after)
    };
    assert_eq!(refusal(&mut ledger, NOON), (Exceeded::AtOnce, None));
    ledger.settle(&[key], &tokens(600), used(500), NOON);
    let wait = Some(Duration::from_secs(20));
    assert_eq!(
        refusal(&mut ledger, NOON),
        (Exceeded::TokensPerMinute, wait)
    );
    ledger.reserve(&[key], &tokens(10), NOON).unwrap();
    ledger.settle(&[key], &tokens(10), used(10), NOON);
    let wait = Some(Duration::from_secs(30));
    assert_eq!(
        refusal(&mut ledger, NOON),
        (Exceeded::RequestsPerMinute, wait)
    );
}

#[test]
fn what_an_earlier_process_wrote_down_counts() {
    let mut ledger = Ledger::default();
    let key = ledger.open(budget(100, Period::Month), NOON);
    let today = Day::of(NOON / 1000);
    ledger.add_past(key, today, used(30));
    ledger.add_past(key, Day(today.0 - 14), used(40));
    ledger.add_past(key, Day(today.0 - 15), used(1000));
    let view = ledger.view(key, NOON).unwrap();
    assert_eq!((view.today.tokens, view.month.tokens), (30, 70));
    assert!(ledger.unwritten().is_empty());
}

#[test]
fn a_closed_account_keeps_its_groups_right_until_its_last_call_has_ended() {
    let mut ledger = Ledger::default();
    let group = ledger.open(budget(100, Period::Month), NOON);
    let key = ledger.open(Limits::default(), NOON);
    ledger.reserve(&[key, group], &tokens(60), NOON).unwrap();
    ledger.close(key);
    ledger.settle(&[key, group], &tokens(60), used(50), NOON);
    assert_eq!(ledger.view(key, NOON), None);
    assert_eq!(ledger.view(group, NOON).unwrap().month.tokens, 50);
    assert_eq!(ledger.unwritten().len(), 2);
}

/// One step of a random history: a call of one of three keys, its estimate, the share of it that is used, the number of calls that end
/// before, and the time that passes.
type Step = (usize, u64, u64, usize, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0_usize..3, 0_u64..200, 0_u64..=100, 0_usize..4, 0_u64..HOUR);
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn no_budget_is_overspent_and_nothing_leaks(steps in steps(), fails_writing in any::<bool>()) {
        let limits = [400, 700, 1000].map(|limit| budget(limit, Period::Day));
        let mut ledger = Ledger::default();
        let organisation = ledger.open(limits[2].clone(), NOON);
        let team = ledger.open(limits[1].clone(), NOON);
        let keys = [0, 1, 2].map(|_| ledger.open(limits[0].clone(), NOON));
        let path = |key: usize| match key {
            0 | 1 => vec![keys[key], team, organisation],
            _ => vec![keys[key], organisation],
        };
        let all = [keys[0], keys[1], keys[2], team, organisation];
        let bounds = [400, 400, 400, 700, 1000];
        let (mut now, mut running) = (NOON, Vec::new());
        let mut written = BTreeMap::new();
        let mut total = 0;
        for (key, estimate, share, ends, passes) in steps {
            now += passes;
            for _ in 0..ends {
                if running.is_empty() { break; }
                let (key, estimate, share): (usize, u64, u64) = running.remove(0);
                let real = estimate * share / 100;
                total += real;
                ledger.settle(&path(key), &tokens(estimate), used(real), now);
            }
            let before: Vec<_> = all.iter().map(|id| ledger.view(*id, now)).collect();
            if ledger.reserve(&path(key), &tokens(estimate), now).is_ok() {
                running.push((key, estimate, share));
            } else {
                let after: Vec<_> = all.iter().map(|id| ledger.view(*id, now)).collect();
                prop_assert_eq!(before, after);
            }
            for (id, bound) in all.iter().zip(bounds) {
                let view = ledger.view(*id, now).unwrap();
                // On a new day, calls of the day before may still run.
                prop_assert!(view.today.tokens <= bound, "{:?}", view);
            }
            let batch = ledger.unwritten();
            if !fails_writing {
                ledger.written(&batch);
                for (at, amount) in batch {
                    let sum: &mut Amount = written.entry(at).or_default();
                    *sum = sum.plus(amount);
                }
            }
        }
        for (key, estimate, share) in running {
            total += estimate * share / 100;
            ledger.settle(&path(key), &tokens(estimate), used(estimate * share / 100), now);
        }
        for id in all {
            let view = ledger.view(id, now).unwrap();
            prop_assert_eq!((view.running, view.reserved), (0, Estimate::default()));
        }
        for (at, amount) in ledger.unwritten() {
            let sum: &mut Amount = written.entry(at).or_default();
            *sum = sum.plus(amount);
        }
        let of_organisation = written.iter().filter(|((id, _), _)| *id == organisation);
        let of_organisation: u64 = of_organisation.map(|(_, amount)| amount.tokens).sum();
        prop_assert_eq!(of_organisation, total);
        let of_keys = written.iter().filter(|((id, _), _)| keys.contains(id));
        let of_keys: u64 = of_keys.map(|(_, amount)| amount.tokens).sum();
        prop_assert_eq!(of_keys, total);
    }
}
