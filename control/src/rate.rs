//! How fast: the request and token rates, absent until there is evidence, and the pauses asked for.
//!
//! Headers give the rate outright (`0.985 * limit / window`). Without them a refusal with a clock is the
//! measure: at each refusal the provider's bucket is empty, so the calls accepted between two refusals are
//! the rate times the time between them. With `A` accepted in `t` seconds:
//!
//! ```text
//! first 5 s of a life : r = 0.95 r, where an earlier life knew r
//! first refusal       : r = 0.95 A / t, t = max(5 s, 5 asked), or all that is known
//! r grew by 30 %      : the same
//! t >= 4 s            : r = min(0.99 r, A / t * (1 - max(0.01, 1 / A)))
//! sooner              : r = clamp(A / t, 0.5 r, 0.8 r)
//! quiet for q seconds : r grows by 1 % per second, and faster the longer it may, while it binds
//! ```
//!
//! `q` is 8 s and doubles with each refusal, up to 2 min: a quota that has been found is not asked for again and
//! again. A provider's explicit `slow_down` bounds the growth besides: `plea` says how. Below 0.9 of the best rate of the last two minutes `q` is 3 to 8 s and the growth 15 % per second: what a
//! foreign client took comes back at once. A refusal without a clock may come from a rate too:
//! `contradiction` says when.

use std::collections::VecDeque;
use std::time::Duration;

use crate::num::{real, seconds};
use crate::{BucketGrant, BucketHint, Chance, QuotaHints, Timestamp};

mod contradiction;
mod plea;
pub(crate) use contradiction::Contradictions;
pub(crate) use plea::Plea;

/// Acceptances remembered for the first estimate.
const ACCEPTED_KEPT: usize = 1024;
/// Part of a quota that is used, so that clocks that differ do not meet the edge.
const MARGIN: f64 = 0.985;
/// Least time that an accepted rate is measured over: below it one burst looks like a rate.
const MEASURED_MIN: Duration = Duration::from_secs(1);
/// Shortest and longest quiet time before the rate grows, in seconds.
const QUIET: (f64, f64) = (8.0, 120.0);
/// The same below a rate that was served before.
const QUIET_BELOW: (f64, f64) = (3.0, 8.0);
/// Time between refusals that makes a measurement, in seconds.
const MEASURED: f64 = 4.0;
/// How long the best rate is remembered.
const BEST_KEPT: Duration = Duration::from_mins(2);
/// Part of the best rate below which the rate is on its way back.
const BELOW: f64 = 0.9;
/// Growth since the last cut after which the average since then is no measure.
const GROWN: f64 = 1.3;
/// Shortest time of such a growth, in seconds: a sooner one only went back to what had been served.
const GROWN_FOR: f64 = 20.0;
/// Time within which refusals are one.
const BURST: Duration = Duration::from_secs(1);
/// Part of what was taken that is left after a first refusal, or a plea.
const OF_TAKEN: f64 = 0.95;
/// The lowest rate, per second.
const RATE_MIN: f64 = 0.02;
/// Refusals that undo a rate that was inferred.
const UNDO: u32 = 3;
/// Part of an inferred rate below which refusals undo it too: they come by chance, and not from a rate.
const UNDO_BELOW: f64 = 0.3;

/// A rate that refusals without a clock betrayed.
#[derive(Clone, Copy, Debug)]
struct Inferred {
    /// At first, per second.
    rate: f64,
    /// Refusals since, each within the quiet time of the last.
    refusals: u32,
}

/// The rates of one lane.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// The request bucket, without what a plea leaves of it.
    requests: Option<BucketGrant>,
    /// The token bucket.
    pub(crate) tokens: Option<BucketGrant>,
    accepted: VecDeque<Timestamp>,
    /// Calls accepted since the last refusal.
    count: f64,
    last_refusal: Timestamp,
    last_growth: Timestamp,
    growing_since: Option<Timestamp>,
    /// Quiet time before the rate grows, and before it goes back to what was served before, in seconds.
    quiet: f64,
    quiet_below: f64,
    /// What the rate was after the last cut.
    at_cut: f64,
    best: f64,
    best_at: Timestamp,
    by_header: bool,
    plea: Option<Plea>,
    /// Until when too little was seen since the start to measure a rate that an earlier life knew.
    unmeasured_until: Timestamp,
    /// None when the rate was not inferred.
    inferred: Option<Inferred>,
}

impl Rate {
    /// Takes over what an earlier life knew.
    ///
    /// A rate that was inferred is one to be questioned still: refusals may disprove it.
    pub(crate) fn remember(
        &mut self,
        requests: Option<f64>,
        inferred: bool,
        plea: Option<Plea>,
        now: Timestamp,
    ) {
        if requests.is_some() {
            self.unmeasured_until = now.after(window(Duration::ZERO));
        }
        self.requests = requests.map(bucket);
        let inferred = requests.filter(|_| inferred);
        self.inferred = inferred.map(|rate| Inferred { rate, refusals: 0 });
        self.plea = plea;
    }

    /// Returns the request bucket in force.
    pub(crate) fn requests(&self, now: Timestamp) -> Option<BucketGrant> {
        let Some(ceiling) = self.ceiling(now) else {
            return self.requests;
        };
        let below = bucket(ceiling);
        Some(match self.requests {
            Some(grant) if grant.rate <= ceiling => grant,
            Some(grant) => BucketGrant {
                burst: grant.burst.min(below.burst),
                level_max: grant.level_max,
                ..below
            },
            None => below,
        })
    }

    /// Returns the highest rate that the provider's last plea allows now.
    pub(crate) fn ceiling(&self, now: Timestamp) -> Option<f64> {
        self.plea?.ceiling(now)
    }

    /// Notes a call that the backend took.
    pub(crate) fn accepted(&mut self, now: Timestamp, binding: bool) {
        if self.accepted.len() >= ACCEPTED_KEPT {
            self.accepted.pop_front();
        }
        self.accepted.push_back(now);
        self.count += 1.0;
        let elapsed = now.since(self.last_growth).as_secs_f64().min(1.0);
        self.last_growth = now;
        let below = self.below(now);
        let ceiling = self.ceiling(now).unwrap_or(f64::INFINITY);
        let wait = if below { self.quiet_below } else { self.quiet };
        let quiet = now.since(self.last_refusal).as_secs_f64() >= wait;
        let known = if below {
            0.98 * self.best
        } else {
            f64::INFINITY
        };
        let plea = self.plea.filter(|plea| plea.ceiling(now).is_some());
        let Some(grant) = self.requests.as_mut() else {
            return;
        };
        if self.by_header || !quiet || !binding {
            self.growing_since = None;
            return;
        }
        let since = now
            .since(*self.growing_since.get_or_insert(now))
            .as_secs_f64();
        let pace = if below { 0.15 } else { 0.01 + 0.001 * since };
        let pace = plea.map_or(pace, |plea| pace.min(plea.pace()));
        let grown = (grant.rate * (1.0 + pace * elapsed)).min(known);
        *grant = bucket(grown.min(ceiling.max(grant.rate)));
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

    fn below(&self, now: Timestamp) -> bool {
        let known = now.since(self.best_at) < BEST_KEPT;
        known
            && self
                .requests
                .is_some_and(|grant| grant.rate < BELOW * self.best)
    }

    /// Notes a refusal with a clock; returns until when to pause. With `slow_down` the quota itself grows, by half in
    /// the time given, and is followed at that pace.
    pub(crate) fn refused(
        &mut self,
        asked: Duration,
        slow_down: Option<Duration>,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Timestamp {
        // One cut per burst of refusals: those already on the wire say nothing new.
        if !self.by_header && now.since(self.last_refusal) > BURST {
            self.cut(asked, now);
        }
        if let Some(period) = slow_down
            && self.plea.is_none_or(|plea| plea.age(now) > BURST)
        {
            self.pleaded(asked, period, now);
        }
        self.last_refusal = now;
        now.after(asked.mul_f64(1.0 + 0.1 * chance.unit()))
    }

    /// Holds the growth back: from what the refusal left, or from what was taken where headers tell another quota.
    fn pleaded(&mut self, asked: Duration, period: Duration, now: Timestamp) {
        let taken = OF_TAKEN * self.accepted_rate(window(asked), now);
        let left = self.requests.map_or(taken, |grant| grant.rate);
        let rate = if self.by_header {
            taken.min(left)
        } else {
            left
        };
        self.plea = Some(Plea::new(rate.max(RATE_MIN), now, period));
        self.quiet = self.quiet.min(plea::quiet_max(period).max(QUIET.0));
    }

    fn cut(&mut self, asked: Duration, now: Timestamp) {
        let elapsed = now.since(self.last_refusal).as_secs_f64();
        let newest = OF_TAKEN * self.accepted_rate(window(asked), now);
        let Some(old) = self.requests.map(|grant| grant.rate) else {
            self.quiet = QUIET.0;
            self.quiet_below = QUIET_BELOW.0;
            self.set(newest);
            return;
        };
        if now < self.unmeasured_until {
            // What was taken before the start is not known: the few calls since then are no measure.
            self.set(OF_TAKEN * old);
            return;
        }
        // A rate that grew much was below the quota for long: then the average says nothing.
        let grown = old > GROWN * self.at_cut && elapsed > GROWN_FOR;
        let measured = if grown {
            newest
        } else {
            self.count / elapsed.max(0.1)
        };
        if elapsed < MEASURED {
            // So soon again: the quota has shrunk, or the best rate was a little less than believed.
            self.best *= 0.98;
            self.set(measured.clamp(0.5 * old, 0.8 * old));
            return;
        }
        let margin = (1.0 / self.count.max(2.0)).max(0.01);
        let disproved = old >= 0.95 * self.best && !grown;
        if measured > self.best || disproved || now.since(self.best_at) > BEST_KEPT {
            self.best = measured;
        }
        if measured >= BELOW * self.best {
            self.best_at = now;
        }
        let rate = (measured * (1.0 - margin)).min(0.99 * old);
        if rate < BELOW * self.best {
            self.quiet_below = (2.0 * self.quiet_below).clamp(QUIET_BELOW.0, QUIET_BELOW.1);
        } else {
            self.quiet_below = QUIET_BELOW.0;
            self.quiet = (2.0 * self.quiet).clamp(QUIET.0, QUIET.1);
        }
        self.set(rate);
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

    fn set(&mut self, rate: f64) {
        self.requests = Some(bucket(rate.max(RATE_MIN)));
        self.at_cut = rate;
        self.count = 0.0;
        self.growing_since = None;
    }

    /// Takes a rate that refusals without a clock have betrayed.
    pub(crate) fn infer(&mut self, rate: f64, now: Timestamp) {
        self.quiet = QUIET.0;
        self.quiet_below = QUIET_BELOW.0;
        let rate = MARGIN * rate;
        self.set(rate);
        self.last_refusal = now;
        self.inferred = Some(Inferred { rate, refusals: 0 });
    }

    /// Says whether a refusal without a clock is one of the inferred rate's.
    pub(crate) fn is_inferred(&self) -> bool {
        self.inferred.is_some()
    }

    /// Counts a refusal of an inferred rate; says whether the rate is disproved by it: refusals that go on
    /// at a slower pace never came from a rate.
    pub(crate) fn disproved(&mut self, now: Timestamp) -> bool {
        let Some(mut inferred) = self.inferred else {
            return false;
        };
        let soon = now.since(self.last_refusal).as_secs_f64() < QUIET.0;
        inferred.refusals = if soon { inferred.refusals + 1 } else { 1 };
        self.inferred = Some(inferred);
        let left = self.requests.map_or(0.0, |grant| grant.rate);
        if inferred.refusals < UNDO && left >= UNDO_BELOW * inferred.rate {
            return false;
        }
        self.inferred = None;
        self.requests = None;
        true
    }

    /// Returns how long one call of the rate takes.
    pub(crate) fn turn(&self) -> Duration {
        self.requests
            .map_or(Duration::ZERO, |grant| seconds(1.0 / grant.rate.max(0.02)))
    }
}

/// Returns the time over which the accepted rate is measured at a refusal.
fn window(asked: Duration) -> Duration {
    (asked * 5).max(Duration::from_secs(5))
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
mod tests;
