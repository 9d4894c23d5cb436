//! Refusals without a clock that cannot come from a limit on concurrency.
//!
//! A concurrency limit never refuses below what it serves. A refused call is contradicted when a call sent
//! up to three seconds after it, with a third more in flight, is served; or when it was refused at half of
//! what was served of the calls sent in the four to eight seconds before it, which a capacity that went away does for
//! eight seconds at most. Four contradictions (one per second) over more than eight seconds are a rate: it is what was
//! accepted between the first and the last of them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Timestamp;
use crate::num::real;

/// How long after the refused call the contradicting one may be sent.
const NEAR: Duration = Duration::from_secs(3);
/// Refusals watched at once, and contradictions kept.
const KEPT: usize = 16;
/// Contradictions that make a rate.
const NEEDED: usize = 4;
/// Least and most time that they may take.
const SPAN: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(40));
/// Least time between two contradictions that both count.
const APART: Duration = Duration::from_secs(1);
/// Length of the spells whose most served level is remembered; two of them are no longer than contradictions take.
const SPELL: Duration = Duration::from_secs(4);
/// After a rate that was disproved no other is looked for.
const RESPITE: Duration = Duration::from_mins(5);

/// The refusals that may betray a rate.
#[derive(Debug, Default)]
pub(crate) struct Contradictions {
    /// Refused calls not yet contradicted: when sent, and in flight with them.
    open: VecDeque<(Timestamp, u32)>,
    /// When contradicted calls were sent, and how many had been accepted by then.
    proved: VecDeque<(Timestamp, u64)>,
    accepted: u64,
    not_before: Timestamp,
    /// Most in flight with a call that was served, of those sent in this spell and in the one before.
    served_most: (u32, u32),
    spell_from: Timestamp,
}

impl Contradictions {
    /// Notes a refusal without a clock; returns the rate that the refusals betray, per second.
    pub(crate) fn refused(
        &mut self,
        sent: Timestamp,
        in_flight: u32,
        now: Timestamp,
    ) -> Option<f64> {
        if self.open.len() >= KEPT {
            self.open.pop_front();
        }
        self.open.push_back((sent, in_flight));
        self.spell(sent);
        let most = self.served_most.0.max(self.served_most.1);
        if in_flight.saturating_mul(2) <= most {
            return self.contradicted(now);
        }
        None
    }

    /// Notes a call that was served; returns the rate that the refusals betray, per second.
    pub(crate) fn served(
        &mut self,
        sent: Timestamp,
        in_flight: u32,
        now: Timestamp,
    ) -> Option<f64> {
        self.accepted += 1;
        self.spell(sent);
        if sent >= self.spell_from {
            self.served_most.0 = self.served_most.0.max(in_flight);
        } else if sent.after(SPELL) >= self.spell_from {
            self.served_most.1 = self.served_most.1.max(in_flight);
        }
        self.open
            .retain(|open| now.since(open.0) < Duration::from_mins(1));
        let before = self.open.len();
        self.open.retain(|open| {
            let later = sent > open.0 && sent.since(open.0) <= NEAR;
            !(later && in_flight.saturating_mul(3) >= open.1.saturating_mul(4))
        });
        if before == self.open.len() {
            return None;
        }
        self.contradicted(now)
    }

    /// Begins a new spell when a call was sent after the end of this one.
    fn spell(&mut self, sent: Timestamp) {
        let over = sent.since(self.spell_from);
        if over >= SPELL {
            let last = if over < SPELL * 2 {
                self.served_most.0
            } else {
                0
            };
            self.served_most = (0, last);
            self.spell_from = sent;
        }
    }

    fn contradicted(&mut self, now: Timestamp) -> Option<f64> {
        let newest = self.proved.back().map(|newest| newest.0);
        if now < self.not_before || newest.is_some_and(|at| now.since(at) < APART) {
            return None;
        }
        if self.proved.len() >= KEPT {
            self.proved.pop_front();
        }
        self.proved.push_back((now, self.accepted));
        while self
            .proved
            .front()
            .is_some_and(|first| now.since(first.0) > SPAN.1)
        {
            self.proved.pop_front();
        }
        let first = *self.proved.front()?;
        let span = now.since(first.0);
        if self.proved.len() < NEEDED || span < SPAN.0 {
            return None;
        }
        self.proved.clear();
        let count = usize::try_from(self.accepted - first.1).unwrap_or(0);
        Some(real(count) / span.as_secs_f64())
    }

    /// Looks for no rate for a while, because one was disproved.
    pub(crate) fn rest(&mut self, now: Timestamp) {
        self.proved.clear();
        self.open.clear();
        self.not_before = now.after(RESPITE);
    }
}
