//! How fast: the request and token rates, absent until there is evidence, and the pauses asked for.
//!
//! Headers give the rate outright (`0.985 * limit / window`). A refusal with a clock gives a pause and
//! `r = min(0.93 r, 0.95 A)`, where `A` is the rate accepted of late. After 8 s without refusal the
//! rate grows by 1 % per second while it binds.

use std::collections::VecDeque;
use std::time::Duration;

use crate::num::real;
use crate::{BucketGrant, BucketHint, Chance, QuotaHints, Timestamp};

/// Acceptances remembered for the accepted rate.
const ACCEPTED_KEPT: usize = 1024;
/// Part of a quota that is used, so that clocks that differ do not meet the edge.
const MARGIN: f64 = 0.985;
/// Least time that an accepted rate is measured over: below it one burst looks like a rate.
const MEASURED_MIN: Duration = Duration::from_secs(1);
/// Quiet time before the rate grows.
const QUIET: Duration = Duration::from_secs(8);

/// The rates of one lane.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// The request bucket.
    pub(crate) requests: Option<BucketGrant>,
    /// The token bucket.
    pub(crate) tokens: Option<BucketGrant>,
    accepted: VecDeque<Timestamp>,
    last_refusal: Timestamp,
    last_growth: Timestamp,
    by_header: bool,
}

impl Rate {
    /// Takes the rate over from an earlier life.
    pub(crate) fn remember(&mut self, requests: Option<f64>) {
        self.requests = requests.map(bucket);
    }

    /// Notes a call that the backend took.
    pub(crate) fn accepted(&mut self, now: Timestamp, binding: bool) {
        if self.accepted.len() >= ACCEPTED_KEPT {
            self.accepted.pop_front();
        }
        self.accepted.push_back(now);
        if self.by_header || now.since(self.last_refusal) < QUIET {
            self.last_growth = now;
            return;
        }
        let elapsed = now.since(self.last_growth).as_secs_f64().min(1.0);
        self.last_growth = now;
        if let Some(grant) = self.requests.as_mut().filter(|_| binding) {
            *grant = bucket(grant.rate * (1.0 + 0.01 * elapsed));
        }
    }

    /// Takes what the headers say.
    pub(crate) fn hints(&mut self, hints: &QuotaHints) {
        if let Some(hint) = &hints.requests {
            self.requests = Some(from_hint(hint));
            self.by_header = true;
        }
        if let Some(hint) = &hints.tokens {
            self.tokens = Some(from_hint(hint));
        }
    }

    /// Notes a refusal with a clock; returns until when to pause.
    pub(crate) fn refused(
        &mut self,
        asked: Duration,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Timestamp {
        let window = (asked * 5).max(Duration::from_secs(5));
        // One cut per burst of refusals: those already on the wire say nothing new.
        if !self.by_header && now.since(self.last_refusal) > Duration::from_secs(1) {
            let accepted = 0.95 * self.accepted_rate(window, now);
            let rate = self
                .requests
                .map_or(accepted, |old| accepted.min(0.93 * old.rate));
            self.requests = Some(bucket(rate.max(0.02)));
        }
        self.last_refusal = now;
        now.after(asked.mul_f64(1.0 + 0.1 * chance.unit()))
    }

    /// Returns the calls accepted per second within `window`, or since the first one where that is shorter: a
    /// silence before the traffic says nothing of what is granted.
    fn accepted_rate(&self, window: Duration, now: Timestamp) -> f64 {
        let recent = self.accepted.iter().rev();
        let recent: Vec<_> = recent.take_while(|at| now.since(**at) <= window).collect();
        let known = match recent.last() {
            // Older ones are known: the window is full.
            Some(_) if recent.len() < self.accepted.len() => window,
            Some(first) => now.since(**first).max(MEASURED_MIN),
            None => window,
        };
        real(recent.len().max(1)) / known.as_secs_f64()
    }
}

fn bucket(rate: f64) -> BucketGrant {
    BucketGrant {
        rate,
        burst: (0.3 * rate).max(1.0),
        level_max: None,
    }
}

fn from_hint(hint: &BucketHint) -> BucketGrant {
    let window = hint.window.as_secs_f64().max(1.0);
    let rate = (MARGIN * hint.limit / window).max(0.001);
    BucketGrant {
        rate,
        burst: (0.1 * hint.limit).max(1.0),
        level_max: Some(hint.remaining),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    #[test]
    fn a_rate_is_measured_over_the_time_that_there_was_traffic() {
        let mut rate = Rate::default();
        for call in 0..60 {
            rate.accepted(at(100.0 + f64::from(call) / 30.0), true);
        }
        rate.refused(Duration::from_secs(1), at(102.0), &mut || 0.0);
        let learned = rate.requests.unwrap().rate;
        assert!((28.0..30.0).contains(&learned), "{learned}");
    }
}
