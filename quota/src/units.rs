//! Amounts of the five things that limits count.

use serde::{Deserialize, Serialize};

use crate::{Amount, Estimate, Limits};

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Calls of a limit per minute.
    Requests,
    /// Tokens of a limit per minute.
    TokensPerMinute,
    /// Calls at once.
    AtOnce,
    /// Tokens of budgets.
    Tokens,
    /// Money of budgets, in billionths.
    Money,
}

impl Kind {
    /// All kinds, in the order in which limits are checked.
    pub const ALL: [Self; 5] = [
        Self::Tokens,
        Self::Money,
        Self::AtOnce,
        Self::Requests,
        Self::TokensPerMinute,
    ];

    /// Returns `true` if the units come back with time.
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Requests | Self::TokensPerMinute)
    }

    /// Returns `true` if `limits` has a limit of this kind.
    pub fn is_limited(self, limits: &Limits) -> bool {
        match self {
            Self::Requests => limits.requests_per_minute.is_some(),
            Self::TokensPerMinute => limits.tokens_per_minute.is_some(),
            Self::AtOnce => limits.requests_at_once.is_some(),
            Self::Tokens => limits.budgets.iter().any(|budget| budget.tokens.is_some()),
            Self::Money => limits.budgets.iter().any(|budget| budget.money.is_some()),
        }
    }
}

/// An amount of each kind. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units([i64; 5]);

impl Units {
    /// Returns what a call needs at most.
    pub fn of_call(estimate: &Estimate) -> Self {
        let mut units = Self::default();
        units.set(Kind::Requests, 1);
        units.set(Kind::AtOnce, 1);
        units.set(Kind::TokensPerMinute, whole(estimate.tokens));
        units.set(Kind::Tokens, whole(estimate.tokens));
        units.set(Kind::Money, whole(estimate.money.nano()));
        units
    }

    /// Returns what budgets lose by what was used.
    pub fn of_used(used: Amount) -> Self {
        let mut units = Self::default();
        units.set(Kind::Tokens, whole(used.tokens));
        units.set(Kind::Money, whole(used.money.nano()));
        units
    }

    /// Returns the amount of a kind.
    pub fn get(&self, kind: Kind) -> i64 {
        self.0.get(kind as usize).copied().unwrap_or(0)
    }

    /// Replaces the amount of a kind.
    pub fn set(&mut self, kind: Kind, amount: i64) {
        if let Some(place) = self.0.get_mut(kind as usize) {
            *place = amount;
        }
    }

    /// Adds to the amount of a kind; `amount` may be negative.
    pub fn add(&mut self, kind: Kind, amount: i64) {
        self.set(kind, self.get(kind).saturating_add(amount));
    }

    /// Returns the sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, i64::saturating_add)
    }

    /// Returns the difference.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.with(other, i64::saturating_sub)
    }

    /// Returns of each kind the smaller amount.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        self.with(other, std::cmp::min)
    }

    /// Returns of each kind the larger amount.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.with(other, std::cmp::max)
    }

    /// Returns `true` if there is nothing of any kind.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    fn with(self, other: Self, join: impl Fn(i64, i64) -> i64) -> Self {
        let mut joined = self;
        for kind in Kind::ALL {
            joined.set(kind, join(self.get(kind), other.get(kind)));
        }
        joined
    }
}

/// Returns a count as a signed number.
pub(crate) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
