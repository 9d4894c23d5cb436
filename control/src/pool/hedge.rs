//! A second attempt for a call whose first one is late.
//!
//! Owns when a hedge is due, what it costs, and which of two attempts decides. Hedges shorten a tail that comes from
//! single attempts, such as one slow replica or one lost packet, and not from the calls themselves. A hedge is sent only
//! while no call waits and a slot is free, after the time within which all attempts but the share that may be hedged
//! answer, and at most once per call. It is paid from the retry budget besides its own. Source: Dean and Barroso, "The
//! Tail at Scale" (2013), hedged requests.

use std::collections::BTreeSet;
use std::time::Duration;

use super::quantile::Quantile;
use super::{
    AttemptId, Hedge, OfferedCall, Other, Outcome, Permission, Pool, Running, Timestamp, seconds,
};

/// The number of attempts that must be known before the time of late ones is used.
const SEEN_MIN: usize = 50;
/// The largest number of hedges that can be saved up.
const CAP: f64 = 3.0;

/// From so many timeouts in a row on, the backend is gone, and they do not show how long answers take.
const GONE: u32 = 3;

/// The times of attempts, and the budget of hedges.
#[derive(Debug)]
pub(super) struct Hedging {
    ratio: f64,
    /// Seconds until the first part of an answer.
    answer: Quantile,
    /// Attempts that may be doubled, the oldest first.
    open: BTreeSet<(Timestamp, AttemptId)>,
    budget: f64,
    timeouts_in_row: u32,
    pub(super) sent: u64,
    pub(super) won: u64,
}

impl Hedging {
    /// Creates an empty state that allows `ratio` hedges per success.
    pub(super) fn new(ratio: f64) -> Self {
        Self {
            ratio,
            answer: Quantile::new(1.0 - ratio, SEEN_MIN),
            open: BTreeSet::new(),
            budget: 0.0,
            timeouts_in_row: 0,
            sent: 0,
            won: 0,
        }
    }

    /// Returns `true` if hedges are allowed.
    pub(super) fn is_on(&self) -> bool {
        self.ratio > 0.0
    }

    /// Notes an attempt that may be doubled when it is late.
    pub(super) fn may_be_late(&mut self, sent: Timestamp, attempt: AttemptId) {
        self.open.insert((sent, attempt));
    }

    /// Forgets an attempt that answers, or has ended.
    pub(super) fn is_decided(&mut self, sent: Timestamp, attempt: AttemptId) {
        self.open.remove(&(sent, attempt));
    }

    /// Notes that a call was served, by a hedge or not.
    pub(super) fn served(&mut self, hedge: bool) {
        self.won += u64::from(hedge);
        self.budget = (self.budget + self.ratio).min(CAP);
    }
}

impl<T> Pool<T> {
    /// Returns `true` if a call may be hedged: it changes nothing, has the first priority, and is short.
    pub(super) fn may_be_hedged<U>(&self, offer: &OfferedCall<U>) -> bool {
        self.hedging.is_on()
            && offer.hedge
            && offer.priority == 0
            && offer.tokens <= self.settings.hedge_tokens_max
    }

    /// Notes that the first part of an answer has arrived. The attempt is then no longer late.
    pub fn first_part(&mut self, attempt: AttemptId, now: Timestamp) {
        let Some(running) = self.running.get_mut(&attempt) else {
            return;
        };
        if !running.begun {
            running.begun = true;
            let running = *running;
            self.hedging.is_decided(running.sent, attempt);
            self.answers(&running, now);
        }
    }

    /// Hedges the oldest late attempt if no call waits and a slot is free.
    pub fn hedge(&mut self, now: Timestamp) -> Option<Hedge> {
        while self.hedge_due(now).is_some_and(|due| due <= now) {
            let (_, doubles) = self.hedging.open.pop_first()?;
            let Some(first) = self.running.get(&doubles).copied() else {
                continue;
            };
            let left = first.meta.deadline.since(now);
            if left < self.margin(&first.meta) || first.meta.attempts >= self.settings.attempts_max
            {
                continue;
            }
            return Some(self.double(doubles, first, now));
        }
        None
    }

    fn double(&mut self, doubles: AttemptId, mut first: Running, now: Timestamp) -> Hedge {
        let attempt = self.number_attempt();
        first.meta.hedge = false;
        first.other = Other::Runs(attempt);
        self.running.insert(doubles, first);
        let mut second = Running {
            sent: now,
            hedge: true,
            other: Other::Runs(doubles),
            ..first
        };
        second.meta.attempts += 1;
        self.retries -= 1.0;
        self.hedging.budget -= 1.0;
        self.hedging.sent += 1;
        let dispatch = self.start(attempt, second, now);
        Hedge { doubles, dispatch }
    }

    /// Returns when the next hedge is due, or `None` while none is allowed.
    pub fn hedge_due(&self, now: Timestamp) -> Option<Timestamp> {
        let after = self.hedge_after()?;
        let (sent, _) = self.hedging.open.first()?;
        let level = self.grant.trial_above.unwrap_or(u32::MAX);
        let free = self.in_flight() < self.grant.concurrency.min(level) && self.calls.is_empty();
        let paid = self.retries >= 1.0 && self.hedging.budget >= 1.0 && !self.closed;
        if !free || !paid || self.grant.permission != Permission::Open {
            return None;
        }
        Some(sent.after(after).max(self.refilled(now)))
    }

    /// Returns the time after which an attempt is late.
    pub(super) fn hedge_after(&self) -> Option<Duration> {
        self.hedging.answer.value().map(seconds)
    }

    /// Returns `true` if an attempt that ended decides about its call. It does when it is the only one, or when it is
    /// `last`: then the other one no longer counts. A refusal uses no attempt, whichever of the two it meets.
    pub(super) fn decides(&mut self, ended: &Running, last: bool, refused: bool) -> bool {
        let other = match ended.other {
            Other::None => return true,
            Other::Decided => return false,
            Other::Runs(other) => self.running.get_mut(&other),
        };
        let Some(other) = other else { return true };
        other.other = if last { Other::Decided } else { Other::None };
        let made = other.meta.attempts.max(ended.meta.attempts);
        other.meta.attempts = made - u32::from(refused);
        last
    }

    /// Learns from an attempt's end how long answers take.
    pub(super) fn learn_lateness(&mut self, ended: &Running, outcome: Outcome, now: Timestamp) {
        match outcome {
            Outcome::Success { .. } if !ended.begun => self.answers(ended, now),
            // It takes longer than that, and was late already: that is all the quantile asks.
            Outcome::Timeout if !ended.begun && !ended.hedge => {
                self.hedging.timeouts_in_row += 1;
                if self.hedging.timeouts_in_row < GONE {
                    self.took(ended, now);
                }
            }
            _ => {}
        }
    }

    /// Records that an attempt answers. The attempt that it overtook takes longer than observed.
    fn answers(&mut self, running: &Running, now: Timestamp) {
        self.hedging.timeouts_in_row = 0;
        self.took(running, now);
        let Other::Runs(first) = running.other else {
            return;
        };
        let first = self.running.get(&first).copied();
        if let Some(first) = first.filter(|first| running.hedge && !first.begun) {
            self.took(&first, now);
        }
    }

    fn took(&mut self, running: &Running, now: Timestamp) {
        if self.hedging.ratio > 0.0 {
            let took = now.since(running.sent).as_secs_f64().max(1e-6);
            self.hedging.answer.observe(took);
        }
    }
}

#[cfg(test)]
mod tests;
