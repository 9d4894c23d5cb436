//! The states that determine whether calls may be sent at all: idle, cold, running, broken.

use std::time::Duration;

use super::{Controller, Flight};
use crate::limit::Signal;
use crate::{LaneState, LoadTimes, Permission, Timestamp};

/// The largest difference between two announced times that count as the same.
const SLACK: Duration = Duration::from_secs(2);

/// Loading answers in a row, without another answer in between, that come from the lane and not from one replica.
const LOADING_MIN: u32 = 3;

/// The number of answers that the latency known before an interruption counts for.
const RECALLED: u32 = 4;

/// An episode of loading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold {
    /// The first loading answer.
    pub(super) since: Timestamp,
    /// The time of the next probe.
    pub(super) next_probe: Timestamp,
    /// The time at which the backend first announced to be ready.
    pub(super) promised: Option<Timestamp>,
    /// `true` if a later announcement was for a later time.
    pub(super) broke_promise: bool,
}

/// Whether calls may be sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Availability {
    /// There were no calls for so long that the backend may sleep; one call is sent first.
    Idle,
    /// The backend is known to load; one probe at a time is sent, at `next_probe`.
    Cold(Cold),
    /// Serving at the limit.
    Running,
    /// The backend fails; one probe per backoff is sent.
    Broken {
        /// The time of the next probe.
        next_probe: Timestamp,
        /// The wait after it, if it fails.
        backoff: Duration,
    },
}

impl Controller {
    /// Notes a loading answer.
    pub(super) fn cold(&mut self, flight: Flight, estimated: Option<Duration>, now: Timestamp) {
        // An answer to a call that was sent before the backend was ready is outdated. While other calls are served, or
        // until several calls in a row got such an answer, only one replica loads, not the lane.
        let running = matches!(self.availability, Availability::Running);
        self.loading_in_row = self.loading_in_row.saturating_add(1);
        let one_of_several = self.serves_others(now) || self.loading_in_row < LOADING_MIN;
        if running && (flight.sent < self.ready_since || one_of_several) {
            return;
        }
        self.failures_in_row = 0;
        let mut episode = if let Availability::Cold(episode) = self.availability {
            episode
        } else {
            if matches!(self.availability, Availability::Running) {
                self.memory = Some(self.limit.proved());
            }
            Cold {
                since: now,
                next_probe: now,
                promised: None,
                broke_promise: false,
            }
        };
        let promise = estimated.map(|left| now.after(left));
        let first = episode.promised.or(promise);
        episode.promised = first;
        // An announced time that moves is a constant, not an estimate, and is not used again.
        let slipped = promise
            .zip(first)
            .is_some_and(|(new, old)| new > old.after(SLACK));
        episode.broke_promise |= slipped;
        let trusted = estimated.filter(|_| !episode.broke_promise);
        let elapsed = now.since(episode.since);
        episode.next_probe = now.after(LoadTimes::next_probe(elapsed, trusted));
        self.availability = Availability::Cold(episode);
    }

    /// Returns `true` if calls were served a moment ago.
    fn serves_others(&self, now: Timestamp) -> bool {
        let usual = self.log_mean.map_or(0.0, f64::exp);
        let lately = crate::num::seconds((2.0 * usual).clamp(1.0, 10.0));
        !self.flights.is_empty() && now.since(self.last_served) < lately
    }

    /// Moves between the phases on an answer that is not about loading or quotas.
    pub(super) fn move_phase(&mut self, flight: Flight, signal: Signal, now: Timestamp) {
        let alive = matches!(signal, Signal::Served | Signal::Refused);
        if alive {
            self.failures_in_row = 0;
            self.loading_in_row = 0;
        } else {
            self.failures_in_row = self.failures_in_row.saturating_add(1);
        }
        let failed = if alive { 0.0 } else { 1.0 };
        if matches!(self.availability, Availability::Running) {
            self.fault_rate += 0.02 * (failed - self.fault_rate);
        }
        match self.availability {
            Availability::Idle | Availability::Cold(_) | Availability::Broken { .. } if alive => {
                self.start(now);
            }
            Availability::Idle if self.failures_in_row >= 2 => self.trip(now),
            Availability::Cold(mut episode) if flight.probe => {
                let elapsed = now.since(episode.since);
                episode.next_probe = now.after(LoadTimes::next_probe(elapsed, None));
                self.availability = Availability::Cold(episode);
            }
            Availability::Broken { backoff, .. } if flight.probe => {
                let doubled = (backoff * 2).min(self.settings.breaker_backoff_max);
                self.availability = Availability::Broken {
                    next_probe: now.after(backoff),
                    backoff: doubled,
                };
            }
            Availability::Running if self.mostly_fails(now) => self.trip(now),
            _ => {}
        }
    }

    /// Returns `true` if the failures in a row are too many for the known fault rate: `p0^k < 1e-6`. As many calls may
    /// be out whose answers are not due yet: then the failures are only the soonest endings of many.
    fn mostly_fails(&self, now: Timestamp) -> bool {
        let p0 = self.fault_rate.clamp(0.05, 0.7);
        let failed = f64::from(self.failures_in_row);
        let usual = crate::num::seconds(self.log_mean.map_or(0.0, f64::exp));
        let is_early = |flight: &&Flight| now.since(flight.sent) < usual;
        failed * p0.ln() < (1e-6_f64).ln()
            && failed > crate::num::real(self.flights.values().filter(is_early).count())
    }

    /// Ends the pause before the next probe.
    pub(super) fn probe_now(&mut self, now: Timestamp) {
        match &mut self.availability {
            Availability::Cold(Cold { next_probe, .. })
            | Availability::Broken { next_probe, .. } => *next_probe = now.min(*next_probe),
            Availability::Idle | Availability::Running => {}
        }
    }

    fn trip(&mut self, now: Timestamp) {
        if matches!(self.availability, Availability::Running) {
            self.memory = Some(0.7 * self.limit.proved());
        }
        // The failures that opened the breaker are an outage, not the backend's usual fault rate.
        self.fault_rate = self.fault_rate.min(0.3);
        let first = self.settings.breaker_backoff;
        let backoff = (first * 2).min(self.settings.breaker_backoff_max);
        self.availability = Availability::Broken {
            next_probe: now.after(first),
            backoff,
        };
    }

    fn start(&mut self, now: Timestamp) {
        if let Availability::Cold(episode) = self.availability {
            self.load_times.record(now.since(episode.since));
        }
        self.limit.restart(self.memory, now);
        // What was learned before the interruption may no longer hold.
        self.answers = self.answers.min(RECALLED);
        self.failures_in_row = 0;
        self.ready_since = now;
        self.availability = Availability::Running;
    }

    /// Becomes idle after a time without calls, because the backend may be asleep.
    pub(super) fn fall_idle(&mut self, now: Timestamp) {
        let silent = now.since(self.last_activity) >= self.settings.idle;
        if matches!(self.availability, Availability::Running) && self.flights.is_empty() && silent {
            self.memory = Some(self.limit.proved());
            self.availability = Availability::Idle;
        }
    }

    pub(super) fn permission(&self, now: Timestamp) -> Permission {
        if now < self.quota_until {
            return if now < self.quota_ask {
                // The renewal was not announced, so no call waits for it.
                let until = if self.quota_is_dated {
                    self.quota_until
                } else {
                    Timestamp::MAX
                };
                Permission::Closed { until }
            } else {
                Permission::SingleFlight {
                    not_before: self.quota_ask,
                }
            };
        }
        if let Some(until) = self.pause(now) {
            return Permission::Paused { until };
        }
        match self.availability {
            Availability::Running => match self.limit.asks_at() {
                Some(not_before) => Permission::SingleFlight { not_before },
                None => Permission::Open,
            },
            Availability::Idle => Permission::SingleFlight {
                not_before: Timestamp::ZERO,
            },
            Availability::Cold(Cold { next_probe, .. })
            | Availability::Broken { next_probe, .. } => Permission::SingleFlight {
                not_before: next_probe,
            },
        }
    }

    /// Returns the end of the pause that the backend requested, or of the window that its headers report as used up.
    fn pause(&self, now: Timestamp) -> Option<Timestamp> {
        let quota = self.rate.used_up(now).into_iter();
        quota
            .chain(Some(self.paused_until))
            .filter(|until| now < *until)
            .max()
    }

    pub(super) fn state(&self, now: Timestamp) -> LaneState {
        if now < self.quota_until {
            LaneState::Quota
        } else if self.pause(now).is_some() {
            LaneState::Paused
        } else {
            self.state_behind_pauses()
        }
    }

    /// Returns the state without a pause or a used-up quota, which hide it.
    pub(super) fn state_behind_pauses(&self) -> LaneState {
        let probing = self
            .flights
            .values()
            .next_back()
            .is_some_and(|flight| flight.probe);
        match self.availability {
            Availability::Idle | Availability::Cold(_) if probing => LaneState::Probe,
            Availability::Idle => LaneState::Idle,
            Availability::Cold(_) => LaneState::Cold,
            Availability::Running if self.limit.warming() => LaneState::Ramp,
            Availability::Running => LaneState::Steady,
            Availability::Broken { .. } => LaneState::Open,
        }
    }

    pub(super) fn ready_eta(&self) -> Option<Timestamp> {
        match self.availability {
            Availability::Cold(episode) => {
                let promised = episode.promised.filter(|_| !episode.broke_promise);
                let learned = self
                    .load_times
                    .expected()
                    .map(|took| episode.since.after(took));
                promised.or(learned).map(|at| at.max(episode.next_probe))
            }
            Availability::Broken { next_probe, .. } => Some(next_probe),
            Availability::Idle | Availability::Running => None,
        }
    }
}
