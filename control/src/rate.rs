//! The request and token rates, which do not exist without evidence, and the requested pauses.
//!
//! Quotas in headers are used directly, see [`header`]. Without headers only refusals measure the rate, and two of
//! them are needed: the provider's bucket is empty at each, so the calls accepted in between are the rate times the
//! time. With `A` calls accepted in `t` seconds, which include the requested pause without calls:
//!
//! ```text
//! a refusal alone : a pause, and no rate; a known rate falls by 5 %
//! nothing accepted: a pause, and no change of the rate: the backend is shut
//! the next one    : r = max(A / t, 0.6 A / (t - pause)), since a penalty's silence is not a rate
//! r was known     : r = clamp(A / sqrt(t (t - pause)), min(sqrt(r0 r), 0.95 r), 0.99 r), confirmed;
//!                   r0 is what the last refusal left
//! within 4 s      : r = clamp(A / t, 0.5 r, 0.8 r)
//! growth          : 4 % per second until confirmed; 15 % per second back to the best rate of the last two minutes;
//!                   else 1 % per second after a quiet time of 8 s, doubled by each refusal up to 2 min
//! ```
//!
//! A rate grows whether it binds or not, up to twice the best measured one, and beyond that while calls wait for it. A
//! provider's explicit `slow_down` also bounds the growth, see [`slow_down`].

use std::time::Duration;

use crate::{BucketGrant, Chance, QuotaHints, Timestamp};

mod header;
mod slow_down;
use header::HeaderQuota;
pub(crate) use slow_down::SlowDownCeiling;

/// Shortest and longest quiet time before a confirmed rate grows, in seconds.
const QUIET: (f64, f64) = (8.0, 120.0);
/// Quiet time before the rate returns to the best one, in seconds.
const QUIET_BELOW: f64 = 3.0;
/// Time between refusals below which the rate is far too high, in seconds.
const SOON: f64 = 4.0;
/// Time between refusals above which they measure the lane's own demand, in seconds.
const APART: f64 = 60.0;
/// The time for which the best rate is remembered.
const BEST_KEPT: Duration = Duration::from_mins(2);
/// Share of the best rate below which the rate is still returning to it.
const BELOW: f64 = 0.9;
/// Refusals within this time count as one.
const BURST: Duration = Duration::from_secs(1);
/// Share of the rate that remains after a refusal that measures nothing.
const LESS: f64 = 0.95;
/// Share of the calls accepted outside the pause that is used for a first rate.
const OPEN_PART: f64 = 0.6;
/// The lowest rate, per second.
const RATE_MIN: f64 = 0.02;
/// Time constant of the accepted rate, in seconds.
const MEMORY: f64 = 5.0;

/// The rates of one lane.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// The measured request rate, not limited by a request to slow down.
    measured: Option<f64>,
    confirmed: bool,
    /// The rate that the last refusal left.
    settled: f64,
    requests: Option<HeaderQuota>,
    tokens: Option<HeaderQuota>,
    /// Calls accepted since `counted_from`.
    count: f64,
    /// The time of the last refusal before which a call was accepted.
    counted_from: Option<Timestamp>,
    /// The requested pauses since `counted_from`, in seconds.
    silent: f64,
    /// Calls accepted per second, with exponential forgetting.
    accepted: f64,
    accepted_at: Timestamp,
    accepted_first: Timestamp,
    last_refusal: Option<Timestamp>,
    /// The pause that the last refusal requested, in seconds.
    pause: f64,
    last_growth: Timestamp,
    growing_since: Option<Timestamp>,
    quiet: f64,
    best: f64,
    best_at: Timestamp,
    slow_down: Option<SlowDownCeiling>,
    /// The part of the reported quotas that this lane has, if other gateways use them too.
    part: Option<f64>,
}

impl Rate {
    /// Sets the rate of an earlier controller, which must be confirmed again.
    pub(crate) fn remember(&mut self, rate: Option<f64>, slow_down: Option<SlowDownCeiling>) {
        self.measured = rate.map(|rate| rate.max(RATE_MIN));
        self.settled = rate.unwrap_or(0.0);
        self.best = self.settled;
        self.slow_down = slow_down;
    }

    /// Returns the measured rate, per second.
    pub(crate) fn measured(&self) -> Option<f64> {
        self.measured
    }

    /// Returns the request bucket in force.
    pub(crate) fn requests(&self, now: Timestamp) -> Option<BucketGrant> {
        let reported = self.requests.as_ref();
        let reported = reported.map(|quota| self.part_of(quota.grant(now)));
        let grant = BucketGrant::tighter(reported, self.measured.map(bucket));
        let Some(ceiling) = self.ceiling(now) else {
            return grant;
        };
        let below = bucket(ceiling);
        Some(match grant {
            Some(grant) if grant.rate <= ceiling => grant,
            Some(grant) => BucketGrant {
                burst: grant.burst.min(below.burst),
                level_max: grant.level_max,
                ..below
            },
            None => below,
        })
    }

    /// Returns the token bucket in force.
    pub(crate) fn tokens(&self, now: Timestamp) -> Option<BucketGrant> {
        let reported = self.tokens.as_ref();
        reported.map(|quota| self.part_of(quota.grant(now)))
    }

    /// Sets the part of the reported quotas that this lane has; a measured rate is its own already.
    pub(crate) fn set_part(&mut self, part: Option<f64>) {
        self.part = part;
    }

    fn part_of(&self, grant: BucketGrant) -> BucketGrant {
        let Some(part) = self.part else { return grant };
        BucketGrant {
            rate: part * grant.rate,
            burst: (part * grant.burst).max(1.0),
            level_max: grant.level_max.map(|most| part * most),
        }
    }

    /// Returns the end of the time for which the headers report a quota as used up, or `None`.
    pub(crate) fn used_up(&self, now: Timestamp) -> Option<Timestamp> {
        let quotas = [&self.requests, &self.tokens].into_iter().flatten();
        quotas.filter_map(|quota| quota.used_up(now)).max()
    }

    /// Returns the highest rate that the provider's last request to slow down allows now.
    pub(crate) fn ceiling(&self, now: Timestamp) -> Option<f64> {
        self.slow_down?.ceiling(now)
    }

    /// Notes a call that was sent.
    pub(crate) fn dispatched(&mut self, tokens: u32, now: Timestamp) {
        if let Some(quota) = &mut self.requests {
            quota.spend(1.0, now);
        }
        if let Some(quota) = &mut self.tokens {
            quota.spend(f64::from(tokens), now);
        }
    }

    /// Handles the headers of an answer, which describe the time when the call was sent.
    pub(crate) fn hints(&mut self, hints: &QuotaHints, sent: Timestamp) {
        let pairs = [
            (&mut self.requests, &hints.requests),
            (&mut self.tokens, &hints.tokens),
        ];
        for (quota, hint) in pairs {
            match (&mut *quota, hint) {
                (Some(known), Some(hint)) => {
                    known.learn(hint, sent);
                    quota.take_if(|quota| quota.is_endless());
                }
                (None, Some(hint)) => *quota = HeaderQuota::new(hint, sent),
                (_, None) => {
                    quota.take_if(|quota| quota.is_abandoned(sent));
                }
            }
        }
    }

    /// Returns the accepted rate at a time before the last call was accepted.
    fn accepted_before(&self, then: Timestamp) -> f64 {
        let later = self.accepted_at.since(then).as_secs_f64();
        let known = then.since(self.accepted_first).as_secs_f64();
        self.accepted * (later / MEMORY).exp() / (1.0 - (-known / MEMORY).exp()).max(0.1)
    }

    fn accepted_now(&self, now: Timestamp) -> f64 {
        let known = now.since(self.accepted_first).as_secs_f64();
        self.faded(now) / (1.0 - (-known / MEMORY).exp()).max(0.1)
    }

    fn faded(&self, now: Timestamp) -> f64 {
        self.accepted * (-now.since(self.accepted_at).as_secs_f64() / MEMORY).exp()
    }

    /// Notes a call that the backend accepted. `binding` is `true` if calls have waited for the rate or the limit
    /// since the last one.
    pub(crate) fn accepted(&mut self, now: Timestamp, binding: bool) {
        if self.accepted <= 0.0 {
            self.accepted_first = now;
        }
        self.accepted = self.faded(now) + 1.0 / MEMORY;
        self.accepted_at = now;
        self.count += 1.0;
        let elapsed = now.since(self.last_growth).as_secs_f64().min(1.0);
        self.last_growth = now;
        let Some(rate) = self.measured else { return };
        let below = now.since(self.best_at) < BEST_KEPT && rate < BELOW * self.best;
        let wait = match (below, self.confirmed) {
            (true, _) => QUIET_BELOW,
            (false, true) => self.quiet,
            (false, false) => 0.0,
        };
        let quiet = self.last_refusal.map(|at| now.since(at).as_secs_f64());
        if quiet.is_some_and(|quiet| quiet < wait + self.pause) {
            self.growing_since = None;
            return;
        }
        let since = *self.growing_since.get_or_insert(now);
        let pace = match (below, self.confirmed) {
            (true, _) => 0.15,
            (false, true) => 0.01 + 0.001 * now.since(since).as_secs_f64(),
            (false, false) => 0.04,
        };
        let asked = self.slow_down.filter(|asked| asked.ceiling(now).is_some());
        let pace = asked.map_or(pace, |asked| pace.min(asked.pace()));
        let most = match (below, binding) {
            // The rate has returned to an earlier one; the present one is not known yet.
            (true, _) => {
                self.confirmed = false;
                self.best
            }
            (false, true) => f64::INFINITY,
            (false, false) => (2.0 * self.best).max(rate),
        };
        let ceiling = self.ceiling(now).unwrap_or(f64::INFINITY).max(rate);
        self.measured = Some((rate * (1.0 + pace * elapsed)).min(most).min(ceiling));
    }

    /// Notes a refusal with a retry time. Returns the end of the pause. With `slow_down` the quota itself grows by
    /// half in the given time, and the rate follows it.
    pub(crate) fn refused(
        &mut self,
        asked: Duration,
        slow_down: Option<Duration>,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Timestamp {
        let used_up = self.used_up(now);
        // One cut per burst of refusals: those already on their way are outdated.
        if used_up.is_none() && self.is_news(now) {
            self.measure(asked.as_secs_f64(), now);
        } else {
            self.move_count(now);
        }
        if let Some(period) = slow_down
            && self.slow_down.is_none_or(|asked| asked.age(now) > BURST)
        {
            let taken = LESS * self.accepted_now(now);
            let left = self.measured.unwrap_or(taken);
            self.slow_down = Some(SlowDownCeiling::new(left.max(RATE_MIN), now, period));
            self.quiet = self.quiet.min(slow_down::quiet_max(period).max(QUIET.0));
        }
        self.last_refusal = Some(now);
        // `Retry-After` has whole seconds; the headers are more precise.
        let finer = used_up.filter(|end| {
            let early = now.after(asked).since(*end);
            *end <= now.after(asked) && early <= Duration::from_secs(1)
        });
        finer.unwrap_or_else(|| now.after(asked.mul_f64(1.0 + 0.1 * chance.unit())))
    }

    /// Notes that the backend refused everything between two points in time, without a retry time.
    pub(crate) fn penalty(&mut self, from: Timestamp, to: Timestamp) {
        if self.is_news(from) {
            let pause = to.since(from);
            let accepted = OPEN_PART * self.accepted_before(from);
            if pause > BURST && self.measured.is_none() && accepted > 0.0 {
                let rate = accepted.max(RATE_MIN);
                self.measured = Some(rate);
                self.settled = rate;
                self.best = self.best.max(rate);
                self.confirmed = false;
            }
            self.measure(pause.as_secs_f64(), from);
        } else {
            self.move_count(from);
        }
        self.last_refusal = Some(from);
    }

    fn is_news(&self, now: Timestamp) -> bool {
        self.last_refusal.is_none_or(|at| now.since(at) > BURST)
    }

    /// Moves the start of the count to a refusal that belongs to the same burst.
    fn move_count(&mut self, now: Timestamp) {
        if self.counted_from == self.last_refusal {
            self.counted_from = Some(now);
        }
    }

    fn measure(&mut self, pause: f64, now: Timestamp) {
        self.pause = pause;
        self.growing_since = None;
        if self.count <= 0.0 && self.counted_from.is_some() {
            // A backend that accepts nothing is shut: the time until it accepts again is a pause, not a rate.
            self.silent += pause;
            return;
        }
        let silent = std::mem::replace(&mut self.silent, pause);
        let count = std::mem::take(&mut self.count);
        let from = self.counted_from.replace(now);
        let elapsed = from.map(|at| now.since(at).as_secs_f64());
        let Some(elapsed) = elapsed.filter(|elapsed| *elapsed < APART) else {
            self.measured = self.measured.map(|rate| (LESS * rate).max(RATE_MIN));
            return;
        };
        let open = (elapsed - silent).max(1.0);
        let taken = count / elapsed.max(0.1);
        let rate = match self.measured {
            None => {
                self.confirmed = false;
                taken.max(OPEN_PART * count / open)
            }
            Some(old) if elapsed - silent < SOON => taken.clamp(0.5 * old, 0.8 * old),
            Some(old) => {
                self.quiet = if self.confirmed {
                    (2.0 * self.quiet).clamp(QUIET.0, QUIET.1)
                } else {
                    QUIET.0
                };
                self.confirmed = true;
                // The amount refilled during the pause is not known.
                let between = count / (elapsed * open).sqrt();
                let rate = between.clamp((self.settled * old).sqrt().min(0.95 * old), 0.99 * old);
                if old >= 0.95 * self.best || now.since(self.best_at) > BEST_KEPT {
                    self.best = rate;
                }
                if rate >= BELOW * self.best {
                    self.best_at = now;
                }
                rate
            }
        };
        self.measured = Some(rate.max(RATE_MIN));
        self.settled = rate.max(RATE_MIN);
        self.best = self.best.max(rate);
    }
}

fn bucket(rate: f64) -> BucketGrant {
    BucketGrant {
        rate,
        burst: (0.3 * rate).max(1.0),
        level_max: None,
    }
}

#[cfg(test)]
mod tests;
