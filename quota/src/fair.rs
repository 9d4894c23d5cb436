//! The fair part of an account that a gateway uses while the store cannot be asked.

use std::time::Duration;

use crate::{Kind, Limits, Units, bucket::Bucket};

/// A part of a limit per minute, and the same as if nothing had been used of it. The difference is what was used, as far as it still
/// matters: what has come back in the meantime is in both.
#[derive(Clone, Copy, Debug)]
struct Part {
    left: Bucket,
    untouched: Bucket,
}

/// What one gateway may use until the store answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fair {
    requests: Option<Part>,
    tokens: Option<Part>,
    /// Calls at once.
    at_once: i64,
    /// What is left of budgets.
    budgets: Units,
}

impl Fair {
    /// Divides what is `free` by the number of gateways, and adds what a gateway holds of its `own`.
    pub(crate) fn new(
        buckets: [Option<Bucket>; 2],
        own: Units,
        free: Units,
        gateways: u32,
        now: u64,
    ) -> Self {
        let part = |bucket: Option<Bucket>, kind: Kind| {
            bucket.map(|mut bucket| {
                bucket.refill(now);
                let left = bucket.part(gateways, own.get(kind));
                Part {
                    left,
                    untouched: left,
                }
            })
        };
        let [requests, tokens] = buckets;
        let mut budgets = Units::default();
        for kind in [Kind::Tokens, Kind::Money, Kind::AtOnce] {
            let part = free.get(kind) / i64::from(gateways);
            budgets.set(kind, own.get(kind).saturating_add(part));
        }
        Self {
            requests: part(requests, Kind::Requests),
            tokens: part(tokens, Kind::TokensPerMinute),
            at_once: budgets.get(Kind::AtOnce),
            budgets,
        }
    }

    /// Allows an equal part of the calls at once, and at least one.
    pub(crate) fn share_at_once(&mut self, limits: &Limits, gateways: u32) {
        let part = limits.requests_at_once.unwrap_or(u32::MAX) / gateways;
        self.at_once = i64::from(part.max(1));
    }

    fn part(&mut self, kind: Kind) -> Option<&mut Part> {
        match kind {
            Kind::Requests => self.requests.as_mut(),
            Kind::TokensPerMinute => self.tokens.as_mut(),
            _ => None,
        }
    }

    pub(crate) fn refill(&mut self, now: u64) {
        for part in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            part.left.refill(now);
            part.untouched.refill(now);
        }
    }

    /// Returns `true` if there is room for a call.
    pub(crate) fn has(&self, kind: Kind, needed: i64, running: i64) -> bool {
        match kind {
            Kind::Requests | Kind::TokensPerMinute => self.wait_for(kind, needed).is_none(),
            Kind::AtOnce => running < self.at_once,
            Kind::Tokens | Kind::Money => needed <= self.budgets.get(kind),
        }
    }

    /// Returns the time until units of a limit per minute can be taken; `None` if they can be taken now.
    pub(crate) fn wait_for(&self, kind: Kind, needed: i64) -> Option<Duration> {
        let part = self.of(kind)?;
        part.left.wait_for(needed.max(0).unsigned_abs())
    }

    fn of(&self, kind: Kind) -> Option<&Part> {
        match kind {
            Kind::Requests => self.requests.as_ref(),
            Kind::TokensPerMinute => self.tokens.as_ref(),
            _ => None,
        }
    }

    /// Takes units; gives them back if they are negative.
    pub(crate) fn take(&mut self, kind: Kind, units: i64) {
        if !kind.is_rate() {
            self.budgets.add(kind, units.saturating_neg());
        } else if let Some(part) = self.part(kind) {
            if units >= 0 {
                part.left.take(units.unsigned_abs());
            } else {
                part.left.give_back(units.unsigned_abs());
            }
        }
    }

    /// Replaces what is left of a budget.
    pub(crate) fn allow(&mut self, kind: Kind, units: i64) {
        self.budgets.set(kind, units);
    }

    /// Returns what was used of a limit per minute and has not come back.
    pub(crate) fn taken(&self, kind: Kind) -> i64 {
        self.of(kind).map_or(0, |part| {
            let untouched = part.untouched.whole_units();
            untouched.saturating_sub(part.left.whole_units())
        })
    }
}
