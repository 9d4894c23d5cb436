//! The simulated model as a pure state machine: it receives arrivals and departures and determines, with seeded
//! randomness, the result of each call. It never sleeps, reads a clock or does I/O, so the in-process backend, the
//! HTTP server and a run in virtual time show the same model.

use std::time::Duration;

use kebne_control::{BucketHint, Timestamp};

use crate::simulate::{Fault, Profile};

/// A model that loads, warms up, slows down beyond its capacity, and is unloaded when idle.
#[derive(Debug)]
pub struct Model {
    profile: Profile,
    chance: fastrand::Rng,
    state: ModelState,
    in_flight: u32,
    /// The number of requests that the rate limit still grants, and the time at which it was computed.
    granted: f64,
    granted_at: Timestamp,
    arrived: u64,
    accepted: u64,
}

/// The state of the model.
#[derive(Clone, Copy, Debug)]
enum ModelState {
    Asleep,
    Loading { ready_at: Timestamp },
    Awake { since: Timestamp, last: Timestamp },
}

/// The state of the model as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Status {
    /// Time until it is ready: `None` when asleep, zero when ready.
    pub ready_in: Option<Duration>,
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls served at full speed now; zero unless ready.
    pub capacity: f64,
    /// The number of calls that arrived so far, including refused ones.
    pub arrived: u64,
    /// The number of calls that were accepted so far.
    pub accepted: u64,
}

/// The result of a call's arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// The model is loading. This call may have started the loading.
    Loading {
        /// The reported time left.
        estimated: Duration,
        /// The true time at which it will be ready, for a call that is held.
        ready_at: Timestamp,
    },
    /// Too many calls are in flight.
    Refused,
    /// Too many requests came in a short time.
    Limited {
        /// Time until the next request is granted.
        retry_after: Duration,
    },
    /// Accepted. [`Model::leave`] must be called once when the call has ended.
    Accepted(Work),
}

/// The course of an accepted call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Time to the first token, or to the failure.
    pub first_token: Duration,
    /// Time per token after the first.
    pub token_time: Duration,
    /// The ending of the call.
    pub ending: WorkEnding,
}

impl Work {
    /// Returns the number of tokens after which the answer breaks, or `None` if it does not. The first token is always
    /// sent.
    pub fn broken_after(&self, fault: Option<Fault>, tokens: usize) -> Option<usize> {
        match fault {
            Some(Fault::HalfStream | Fault::Stall | Fault::ErrorEvent) => Some((tokens / 2).max(1)),
            Some(Fault::NoDone) => Some(tokens),
            _ if self.ending == WorkEnding::Broken => Some((tokens / 2).max(1)),
            _ => None,
        }
    }
}

/// The ending of an accepted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkEnding {
    /// The answer is complete.
    Complete,
    /// The call ends with status 500 when the first token is due.
    Failed,
    /// The answer is cut after half of the tokens.
    Broken,
}

/// The burst of the rate limit, in seconds of its rate. Real limits of "60 per minute" are often enforced as one per
/// second.
const BURST_SECONDS: f64 = 1.0;

impl Model {
    /// Creates a model that is asleep, or ready if its profile has no cold start.
    pub fn new(profile: Profile, now: Timestamp) -> Self {
        let state = if profile.cold_start.is_zero() {
            ModelState::Awake {
                since: now,
                last: now,
            }
        } else {
            ModelState::Asleep
        };
        Self {
            chance: fastrand::Rng::with_seed(profile.seed),
            state,
            in_flight: 0,
            granted: burst(&profile),
            granted_at: now,
            arrived: 0,
            accepted: 0,
            profile,
        }
    }

    /// Returns the profile of the model.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Determines the result of a call that arrives now, and whether a fault of the profile applies to it.
    pub fn arrive(&mut self, now: Timestamp) -> (Decision, Option<Fault>) {
        self.arrived += 1;
        let fault = self.draw_fault();
        (self.decide(now), fault)
    }

    /// Determines again the result of a call that was held until the model was ready. It is not counted as another
    /// arrival.
    pub fn held(&mut self, now: Timestamp) -> Decision {
        self.decide(now)
    }

    /// Records that an accepted call has ended.
    pub fn leave(&mut self, now: Timestamp) {
        debug_assert!(self.in_flight > 0, "a call that never arrived has ended");
        self.in_flight = self.in_flight.saturating_sub(1);
        if let ModelState::Awake { last, .. } = &mut self.state {
            *last = now;
        }
    }

    /// Unloads the model. Returns `false` if it has no cold start.
    pub fn fall_asleep(&mut self) -> bool {
        if self.profile.cold_start.is_zero() {
            return false;
        }
        self.state = ModelState::Asleep;
        true
    }

    /// Returns the state of the model as seen from outside.
    pub fn status(&mut self, now: Timestamp) -> Status {
        self.advance(now);
        let ready_in = match self.state {
            ModelState::Asleep => None,
            ModelState::Loading { ready_at } => Some(ready_at.since(now)),
            ModelState::Awake { .. } => Some(Duration::ZERO),
        };
        Status {
            ready_in,
            in_flight: self.in_flight,
            capacity: self.capacity(now),
            arrived: self.arrived,
            accepted: self.accepted,
        }
    }

    /// Returns the rate limit's state for the headers; `None` if there is no limit.
    pub fn quota(&mut self, now: Timestamp) -> Option<BucketHint> {
        if self.profile.requests_per_minute == 0 {
            return None;
        }
        self.earn(now);
        let missing = burst(&self.profile) - self.granted;
        Some(BucketHint {
            limit: f64::from(self.profile.requests_per_minute),
            remaining: self.granted.floor(),
            reset: Duration::try_from_secs_f64(missing / self.rate()).ok(),
            window: Some(Duration::from_mins(1)),
        })
    }

    fn decide(&mut self, now: Timestamp) -> Decision {
        self.advance(now);
        if let Some(ready_at) = self.wake(now) {
            let rest = ready_at.since(now);
            return Decision::Loading {
                estimated: self.profile.cold_estimate.unwrap_or(rest),
                ready_at,
            };
        }
        if let Some(retry_after) = self.over_rate(now) {
            return Decision::Limited { retry_after };
        }
        let capacity = self.capacity(now);
        let load = f64::from(self.in_flight) + 1.0;
        if load > (capacity * self.profile.refuse_above).floor().max(1.0) {
            return Decision::Refused;
        }
        self.in_flight += 1;
        self.accepted += 1;
        if let ModelState::Awake { last, .. } = &mut self.state {
            *last = now;
        }
        Decision::Accepted(self.work((load / capacity).max(1.0)))
    }

    /// Applies the changes that depend on time only: ready after loading, asleep after the idle time.
    fn advance(&mut self, now: Timestamp) {
        if let ModelState::Loading { ready_at } = self.state
            && now >= ready_at
        {
            self.state = ModelState::Awake {
                since: ready_at,
                last: ready_at,
            };
        }
        if let ModelState::Awake { last, .. } = self.state
            && self.in_flight == 0
            && !self.profile.cold_start.is_zero()
            && self
                .profile
                .idle_after
                .is_some_and(|idle| now.since(last) >= idle)
        {
            self.state = ModelState::Asleep;
        }
    }

    /// Starts to load if asleep. Returns the time at which the model will be ready, or `None` if it is ready.
    fn wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        match self.state {
            ModelState::Awake { .. } => None,
            ModelState::Loading { ready_at } => Some(ready_at),
            ModelState::Asleep => {
                let factor = self.spread(self.profile.cold_start_spread);
                let ready_at = now.after(scaled(self.profile.cold_start, factor));
                self.state = ModelState::Loading { ready_at };
                Some(ready_at)
            }
        }
    }

    /// Charges the rate limit, or returns the time until it grants the next request.
    fn over_rate(&mut self, now: Timestamp) -> Option<Duration> {
        if self.profile.requests_per_minute == 0 {
            return None;
        }
        self.earn(now);
        if self.granted >= 1.0 {
            self.granted -= 1.0;
            return None;
        }
        let seconds = (1.0 - self.granted) / self.rate();
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    /// Adds the requests that the rate limit granted since the last call.
    fn earn(&mut self, now: Timestamp) {
        let earned = now.since(self.granted_at).as_secs_f64() * self.rate();
        self.granted = (self.granted + earned).min(burst(&self.profile));
        self.granted_at = now;
    }

    /// Returns the requests granted per second.
    fn rate(&self) -> f64 {
        f64::from(self.profile.requests_per_minute) / 60.0
    }

    /// Returns the number of calls that are served at full speed now.
    fn capacity(&self, now: Timestamp) -> f64 {
        let ModelState::Awake { since, .. } = self.state else {
            return 0.0;
        };
        let (start, full) = (self.profile.capacity_start, self.profile.capacity);
        let growth = self.profile.capacity_growth.as_secs_f64();
        let grown = if growth > 0.0 && !self.profile.cold_start.is_zero() {
            (now.since(since).as_secs_f64() / growth).min(1.0)
        } else {
            1.0
        };
        f64::from(start) + (f64::from(full) - f64::from(start)) * grown
    }

    /// Draws the random numbers of one call. Their number is constant, so that those of the n-th call depend only on
    /// n.
    fn work(&mut self, slowdown: f64) -> Work {
        let factor = self.spread(self.profile.latency_spread);
        let slow = self.chance.f64() < self.profile.slow_share;
        let ending_draw = self.chance.f64();
        let latency = if slow {
            self.profile.slow_latency
        } else {
            self.profile.latency
        };
        let ending = if ending_draw < self.profile.failure_share {
            WorkEnding::Failed
        } else if ending_draw < self.profile.failure_share + self.profile.break_share {
            WorkEnding::Broken
        } else {
            WorkEnding::Complete
        };
        Work {
            first_token: scaled(latency, factor * slowdown),
            token_time: scaled(self.profile.token_time, slowdown),
            ending,
        }
    }

    fn draw_fault(&mut self) -> Option<Fault> {
        let fault = self.profile.fault?;
        (self.chance.f64() < self.profile.fault_share).then_some(fault)
    }

    /// Draws a factor uniform in `1 ± width`.
    fn spread(&mut self, width: f64) -> f64 {
        1.0 + width * (2.0 * self.chance.f64() - 1.0)
    }
}

/// Returns the burst of the rate limit; at least one request.
fn burst(profile: &Profile) -> f64 {
    (f64::from(profile.requests_per_minute) / 60.0 * BURST_SECONDS).max(1.0)
}

/// Multiplies a duration. A product beyond the range of a duration becomes the longest duration.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;
