//! An account that is shared with other gateways: what the ledger does with the part that this one holds.

use crate::{
    Ask, Estimate, Exceeded, Grant, Kind, Period, Terms, Units,
    account::Account,
    leased::{Known, Leased},
    units::whole,
};

impl Account {
    pub(super) fn known(&self) -> Known<'_> {
        let mut busy = Units::default();
        busy.set(Kind::AtOnce, self.running.into());
        busy.set(Kind::Tokens, whole(self.reserved.tokens));
        busy.set(Kind::Money, whole(self.reserved.money.nano()));
        Known {
            limits: &self.limits,
            requests: self.requests,
            tokens: self.tokens,
            busy,
            today: self.today,
            month: self.month,
        }
    }

    /// Returns the limit of a kind; of several budgets the one that has the least left.
    pub(super) fn exceeded(&self, kind: Kind, estimate: &Estimate) -> Exceeded {
        let of_budgets = || {
            let budgets = self.limits.budgets.iter();
            let of_kind = budgets.filter(|budget| match kind {
                Kind::Money => budget.money.is_some(),
                _ => budget.tokens.is_some(),
            });
            let least = of_kind.min_by_key(|budget| {
                let used = self.used(budget.per);
                match kind {
                    Kind::Money => {
                        let left = budget.money.unwrap_or_default().saturating_sub(used.money);
                        left.saturating_sub(estimate.money).nano()
                    }
                    _ => budget.tokens.unwrap_or(0).saturating_sub(used.tokens),
                }
            });
            least.map_or_else(Period::default, |budget| budget.per)
        };
        match kind {
            Kind::Requests => Exceeded::RequestsPerMinute,
            Kind::TokensPerMinute => Exceeded::TokensPerMinute,
            Kind::AtOnce => Exceeded::AtOnce,
            Kind::Tokens => Exceeded::Tokens(of_budgets()),
            Kind::Money => Exceeded::Money(of_budgets()),
        }
    }

    /// Returns `true` if nothing is left of a closed account.
    pub(crate) fn is_over(&self) -> bool {
        let is_settled = self.leased.as_ref().is_none_or(Leased::is_settled);
        self.is_closed && self.running == 0 && is_settled
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.leased.is_some()
    }

    /// Returns `true` if the store has never granted anything of a shared account.
    pub(crate) fn is_unknown(&self) -> bool {
        self.leased.as_ref().is_some_and(Leased::is_unknown)
    }

    /// Returns `true` while a fair part of a shared account is used, because the store does not answer.
    pub(crate) fn is_fair(&self) -> bool {
        self.leased.as_ref().is_some_and(Leased::is_fair)
    }

    /// Returns `true` if there is nothing to report of a shared account, and nothing to give back.
    pub(crate) fn is_settled(&self) -> bool {
        self.running == 0 && self.leased.as_ref().is_none_or(Leased::is_settled)
    }

    /// Returns `true` if the store of a shared account should be asked now.
    pub(crate) fn is_due(&self, terms: Terms, now: u64) -> bool {
        let known = self.known();
        let leased = self.leased.as_ref();
        leased.is_some_and(|leased| leased.is_due(&known, terms, now))
    }

    /// Returns the next request to the store of a shared account.
    pub(crate) fn ask(&mut self, leaves: bool, now: u64) -> Option<Ask> {
        let mut leased = self.leased.take()?;
        let leaves = leaves || self.is_closed && self.running == 0;
        let ask = leased.ask(&self.known(), leaves, now);
        self.leased = Some(leased);
        Some(ask)
    }

    /// Takes what the store has granted. The sums are those of the store and what is not reported yet.
    pub(crate) fn grant(&mut self, grant: &Grant, now: u64) {
        let Some(leased) = &mut self.leased else {
            return;
        };
        if !leased.grant(grant, now) {
            return;
        }
        (self.requests, self.tokens) = (grant.requests, grant.tokens);
        let sums = grant.sums;
        (self.day, self.today, self.month) = (sums.day, sums.today, sums.month);
        let unreported: Vec<_> = leased.unreported().collect();
        for (day, used) in unreported {
            self.add_past(day.min(sums.day), used);
        }
    }

    /// Has the store of a shared account asked at the next round if it was not asked for `age` milliseconds. Returns `true` if it will be.
    pub(crate) fn refresh(&mut self, age: u64, now: u64) -> bool {
        let leased = self.leased.as_mut();
        leased.is_some_and(|leased| leased.refresh(age, now))
    }
}
