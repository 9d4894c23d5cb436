//! One account: a key, or a group of keys and groups.

use std::time::Duration;

use serde::Serialize;

use crate::{
    Beyond, Budget, Day, Kind, Limits, Money, Period, Units,
    bucket::Bucket,
    leased::{Lack, Leased},
};

mod shared;

/// What calls have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Calls that were admitted and have ended.
    pub calls: u64,
    /// Tokens of input and output.
    pub tokens: u64,
    /// Their cost, in units of the currency.
    pub money: Money,
}

impl Amount {
    /// Returns the sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            tokens: self.tokens.saturating_add(other.tokens),
            money: self.money.saturating_add(other.money),
        }
    }

    /// Returns the difference, or zero where `other` is larger.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(other.calls),
            tokens: self.tokens.saturating_sub(other.tokens),
            money: self.money.saturating_sub(other.money),
        }
    }
}

/// What a call may use at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Tokens of input and output.
    pub tokens: u64,
    /// Their cost, in units of the currency.
    pub money: Money,
}

impl Estimate {
    /// Returns `true` for a call that uses neither tokens nor money, because it is answered without a backend.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The limit that a call would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The calls per minute.
    RequestsPerMinute,
    /// The tokens per minute.
    TokensPerMinute,
    /// The calls at once.
    AtOnce,
    /// A budget in tokens.
    Tokens(Period),
    /// A budget in money.
    Money(Period),
}

impl Exceeded {
    /// Returns `true` if it is a budget, for which waiting is of no use.
    pub fn is_budget(self) -> bool {
        matches!(self, Self::Tokens(_) | Self::Money(_))
    }
}

/// What is left of a limit per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The limit.
    pub limit: u64,
    /// What can be used now.
    pub remaining: u64,
    /// The time until all of it can be used again.
    pub full_in: Duration,
}

/// What is left of the limits per minute of an account and the groups above it: of each kind the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Calls.
    pub requests: Option<Left>,
    /// Tokens.
    pub tokens: Option<Left>,
}

impl Left {
    /// Returns what is left of a bucket, and of a block that was taken from it.
    fn of(bucket: &Bucket, block: i64) -> Self {
        let block = u64::try_from(block).unwrap_or(0);
        Self {
            limit: bucket.limit(),
            remaining: bucket.left().saturating_add(block).min(bucket.limit()),
            full_in: bucket.full_in(),
        }
    }
}

/// The reason why a call cannot be admitted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacks {
    /// The block of a shared account is too small.
    Block,
    /// The call would exceed a limit; with the time after which it would not, if that is known.
    Limit(Exceeded, Option<Duration>),
}

impl Room {
    /// Takes what another account leaves, where it is less.
    pub(crate) fn narrow(&mut self, other: Self) {
        for (own, other) in [
            (&mut self.requests, other.requests),
            (&mut self.tokens, other.tokens),
        ] {
            let is_less = |other: &Left| own.is_none_or(|own| other.remaining < own.remaining);
            if let Some(other) = other.filter(is_less) {
                *own = Some(other);
            }
        }
    }
}

/// One budget at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetView {
    /// The budget.
    #[serde(flatten)]
    pub budget: Budget,
    /// What calls that have ended have used.
    pub used: Amount,
    /// The part of the budget that is used or reserved, in thousandths; of tokens or money the larger one.
    pub used_permille: u64,
    /// When the next period begins, in seconds since 1970.
    pub resets_at: u64,
}

/// One account at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountView {
    /// Calls that have not ended.
    pub running: u32,
    /// What these may use at most.
    pub reserved: Estimate,
    /// What calls that have ended today have used.
    pub today: Amount,
    /// The same of this month.
    pub month: Amount,
    /// The budgets.
    pub budgets: Vec<BudgetView>,
}

/// The state of one account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    limits: Limits,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    pub(crate) running: u32,
    reserved: Estimate,
    /// The day of `today`.
    day: Day,
    today: Amount,
    month: Amount,
    /// The part of a shared account that this gateway holds. The buckets are then those of the store, without all blocks.
    leased: Option<Leased>,
    /// `true` once it is closed: it is removed with its last call.
    pub(crate) is_closed: bool,
}

impl Account {
    pub(crate) fn new(limits: Limits, is_shared: bool, now: u64) -> Self {
        Self {
            requests: limits
                .requests_per_minute
                .map(|limit| Bucket::new(limit.into(), now)),
            tokens: limits
                .tokens_per_minute
                .map(|limit| Bucket::new(limit, now)),
            limits,
            running: 0,
            reserved: Estimate::default(),
            day: Day::of(now / 1000),
            today: Amount::default(),
            month: Amount::default(),
            leased: is_shared.then(Leased::default),
            is_closed: false,
        }
    }

    /// Replaces the limits. What was used still counts.
    pub(crate) fn set_limits(&mut self, limits: Limits, now: u64) {
        if limits.requests_per_minute != self.limits.requests_per_minute {
            let limit = limits.requests_per_minute;
            self.requests = limit.map(|limit| Bucket::new(limit.into(), now));
        }
        if limits.tokens_per_minute != self.limits.tokens_per_minute {
            let limit = limits.tokens_per_minute;
            self.tokens = limit.map(|limit| Bucket::new(limit, now));
        }
        self.limits = limits;
    }

    /// Adds what was used on a day of this or an earlier process.
    pub(crate) fn add_past(&mut self, day: Day, used: Amount) {
        if day == self.day {
            self.today = self.today.plus(used);
        }
        if day.start(Period::Month) == self.day.start(Period::Month) {
            self.month = self.month.plus(used);
        }
    }

    /// Moves to the current day. A clock that was set back changes nothing.
    pub(crate) fn roll(&mut self, now: u64) -> Day {
        let day = Day::of(now / 1000);
        if day > self.day {
            self.today = Amount::default();
            if day.start(Period::Month) > self.day.start(Period::Month) {
                self.month = Amount::default();
            }
            self.day = day;
            if let Some(leased) = &mut self.leased {
                leased.begin_day(&self.limits, self.today, self.month);
            }
        }
        for bucket in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            bucket.refill(now);
        }
        if let Some(leased) = &mut self.leased {
            leased.refill(now);
        }
        self.day
    }

    fn used(&self, period: Period) -> Amount {
        match period {
            Period::Day => self.today,
            Period::Month => self.month,
        }
    }

    /// Returns what keeps a call from being admitted; a block that is too small is wanted larger.
    pub(crate) fn lacks(&mut self, estimate: &Estimate, beyond: Beyond, now: u64) -> Option<Lacks> {
        let Some(mut leased) = self.leased.take() else {
            let (exceeded, wait) = self.refuses(estimate)?;
            return Some(Lacks::Limit(exceeded, wait));
        };
        let known = self.known();
        let lack = leased.lacks(estimate, &known, beyond, now);
        let lacks = lack.map(|lack| match lack {
            Lack::Block => Lacks::Block,
            Lack::Limit(kind) => {
                let wait = leased.wait_for(kind, estimate, &known);
                Lacks::Limit(self.exceeded(kind, estimate), wait)
            }
        });
        self.leased = Some(leased);
        lacks
    }

    /// Returns the limit that a call would exceed, and the time after which it would not, if that is known.
    fn refuses(&self, estimate: &Estimate) -> Option<(Exceeded, Option<Duration>)> {
        // A call that uses nothing is not refused because others have used up the budgets.
        let budgets = self
            .limits
            .budgets
            .iter()
            .filter(|_| !estimate.is_nothing());
        for budget in budgets {
            let used = self.used(budget.per);
            let tokens = used.tokens.saturating_add(self.reserved.tokens);
            let tokens = tokens.saturating_add(estimate.tokens);
            if budget.tokens.is_some_and(|limit| tokens > limit) {
                return Some((Exceeded::Tokens(budget.per), None));
            }
            let money = used.money.saturating_add(self.reserved.money);
            let money = money.saturating_add(estimate.money);
            if budget.money.is_some_and(|limit| money > limit) {
                return Some((Exceeded::Money(budget.per), None));
            }
        }
        let at_once = self.limits.requests_at_once;
        if at_once.is_some_and(|limit| self.running >= limit) {
            return Some((Exceeded::AtOnce, None));
        }
        let wait = |bucket: Option<Bucket>, units| bucket.and_then(|b| b.wait_for(units));
        if let Some(wait) = wait(self.requests, 1) {
            return Some((Exceeded::RequestsPerMinute, Some(wait)));
        }
        if estimate.is_nothing() {
            return None;
        }
        let wait = wait(self.tokens, estimate.tokens)?;
        Some((Exceeded::TokensPerMinute, Some(wait)))
    }

    /// Returns what is left of the limits per minute, as of the last roll.
    pub(crate) fn room(&self) -> Room {
        let left = |bucket: Option<Bucket>, kind| {
            let leased = self.leased.as_ref();
            let block = leased.map_or(0, |leased| leased.room(kind, &Units::default()));
            bucket.map(|bucket| Left::of(&bucket, block))
        };
        Room {
            requests: left(self.requests, Kind::Requests),
            tokens: left(self.tokens, Kind::TokensPerMinute),
        }
    }

    pub(crate) fn reserve(&mut self, estimate: &Estimate, now: u64) {
        self.running = self.running.saturating_add(1);
        self.reserved.tokens = self.reserved.tokens.saturating_add(estimate.tokens);
        self.reserved.money = self.reserved.money.saturating_add(estimate.money);
        if let Some(leased) = &mut self.leased {
            leased.reserve(estimate, self.running, now);
            return;
        }
        if let Some(bucket) = &mut self.requests {
            bucket.take(1);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(estimate.tokens);
        }
    }

    pub(crate) fn settle(&mut self, estimate: &Estimate, used: Amount) {
        self.running = self.running.saturating_sub(1);
        self.reserved.tokens = self.reserved.tokens.saturating_sub(estimate.tokens);
        self.reserved.money = self.reserved.money.saturating_sub(estimate.money);
        if let Some(leased) = &mut self.leased {
            leased.settle(estimate, used, self.day);
        } else if let Some(bucket) = &mut self.tokens {
            bucket.give_back(estimate.tokens.saturating_sub(used.tokens));
            bucket.take(used.tokens.saturating_sub(estimate.tokens));
        }
        self.today = self.today.plus(used);
        self.month = self.month.plus(used);
    }

    /// Adds what was used beside the calls that were reserved.
    pub(crate) fn charge(&mut self, used: Amount) {
        if let Some(leased) = &mut self.leased {
            leased.settle(&Estimate::default(), used, self.day);
        } else if let Some(bucket) = &mut self.tokens {
            bucket.take(used.tokens);
        }
        self.today = self.today.plus(used);
        self.month = self.month.plus(used);
    }

    pub(crate) fn has_budget(&self) -> bool {
        !self.limits.budgets.is_empty()
    }

    pub(crate) fn view(&self) -> AccountView {
        let budgets = self.limits.budgets.iter().map(|budget| {
            let used = self.used(budget.per);
            let tokens = used.tokens.saturating_add(self.reserved.tokens);
            let money = used.money.saturating_add(self.reserved.money);
            let tokens = budget.tokens.map(|limit| permille(tokens, limit));
            let money = budget
                .money
                .map(|limit| permille(money.nano(), limit.nano()));
            BudgetView {
                budget: *budget,
                used,
                used_permille: tokens.max(money).unwrap_or(0),
                resets_at: self.day.end(budget.per).unix_seconds(),
            }
        });
        AccountView {
            running: self.running,
            reserved: self.reserved,
            today: self.today,
            month: self.month,
            budgets: budgets.collect(),
        }
    }
}

/// Returns `part` of `whole` in thousandths; 1000 of nothing.
fn permille(part: u64, whole: u64) -> u64 {
    let permille = (u128::from(part) * 1000).checked_div(u128::from(whole));
    permille.map_or(1000, |permille| u64::try_from(permille).unwrap_or(u64::MAX))
}
