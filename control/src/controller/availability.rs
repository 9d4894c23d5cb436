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

/// The longest load that no answer has reported. A longer time without the backend is an outage.
const UNREPORTED_MAX: Duration = Duration::from_mins(5);

/// A load whose end was not observed within this time, or within half of the time for which it was observed, is not learned:
/// nobody asked meanwhile, so it is not known when it ended.
const UNOBSERVED_MAX: Duration = Duration::from_secs(5);

/// A load that takes longer than this factor of what was announced or learned, and this time more, ends at an unknown time.
const OVERDUE: (u32, Duration) = (2, Duration::from_secs(5));

/// What the answer of a backend that does not serve shows about a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadSign {
    /// The backend reports that it loads.
    Reported,
    /// Something answers in its place. The backend loads if the call has woken it.
    Possible,
    /// Nothing is there.
    None,
}

/// An episode in which the backend loads, or is not there though it is not known to be broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold {
    /// Its first answer.
    pub(super) since: Timestamp,
    /// The first and the last answer that showed the present load; `None` while nothing shows one.
    pub(super) load: Option<(Timestamp, Timestamp)>,
    /// `true` if the backend itself reported the present load.
    pub(super) reported: bool,
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
    /// The backend loads or is not there; one probe at a time is sent, at `next_probe`.
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

impl Cold {
    /// Begins an episode with its first answer, to a call that may have woken the backend.
    fn new(sign: LoadSign, now: Timestamp) -> Self {
        Self {
            since: now,
            load: (sign != LoadSign::None).then_some((now, now)),
            reported: false,
            next_probe: now,
            promised: None,
            broke_promise: false,
        }
    }

    /// Notes one more answer.
    fn observe(&mut self, sign: LoadSign, announced: Option<Duration>, now: Timestamp) {
        match sign {
            LoadSign::Reported => {
                let (first, _) = self.load.unwrap_or((now, now));
                self.load = Some((first, now));
                self.reported = true;
            }
            LoadSign::Possible => self.load = self.load.map(|(first, _)| (first, now)),
            // A server that is gone has stopped loading.
            LoadSign::None => (self.load, self.reported) = (None, false),
        }
        let promise = announced.map(|left| now.after(left));
        let first = self.promised.or(promise);
        self.promised = first;
        // An announced time that moves is a constant, not an estimate, and is not used again.
        let slipped = promise
            .zip(first)
            .is_some_and(|(new, old)| new > old.after(SLACK));
        self.broke_promise |= slipped;
        let trusted = announced.filter(|_| !self.broke_promise);
        self.next_probe = now.after(LoadTimes::next_probe(now.since(self.since), trusted));
    }

    /// Returns how long the load took that has ended at `now`, when a call sent at `sent` was served; `None` if there was none,
    /// or its end was not observed.
    fn load_time(&self, sent: Timestamp, now: Timestamp) -> Option<Duration> {
        let (first, last) = self.load?;
        let unobserved = UNOBSERVED_MAX.max(last.since(first) / 2);
        let took = now.since(first);
        let is_load = self.reported || took <= UNREPORTED_MAX;
        (is_load && sent.since(last) <= unobserved).then_some(took)
    }

    /// Returns when the backend is expected to serve: as announced, or as long after the begin of the load as loads usually take.
    fn ready(&self, load_times: &LoadTimes, now: Timestamp) -> Option<Timestamp> {
        let in_time = |begin: Timestamp, takes: Duration| {
            let most = takes.saturating_mul(OVERDUE.0).saturating_add(OVERDUE.1);
            (now.since(begin) <= most).then(|| begin.after(takes))
        };
        let promised = self.promised.filter(|_| !self.broke_promise);
        let promised = promised.and_then(|at| in_time(self.since, at.since(self.since)));
        let learned = || {
            let (first, _) = self.load?;
            in_time(first, load_times.expected()?)
        };
        let ready = promised.or_else(learned);
        ready.map(|at| at.max(self.next_probe))
    }
}

impl Controller {
    /// Notes an answer of a backend that loads, or is not there. `announced` is the time after which it is said to serve.
    pub(super) fn away(
        &mut self,
        flight: Flight,
        sign: LoadSign,
        announced: Option<Duration>,
        now: Timestamp,
    ) {
        // An answer to a call that was sent before the backend was ready is outdated.
        let running = matches!(self.availability, Availability::Running);
        if running && flight.sent < self.ready_since {
            return;
        }
        let is_known_awake = running || matches!(self.availability, Availability::Broken { .. });
        if is_known_awake && sign != LoadSign::Reported {
            // It did not fall asleep, so it is not woken either.
            self.move_phase(flight, Signal::Fault, now);
            return;
        }
        // While other calls are served, or until several calls in a row got such an answer, only one replica loads, not the lane.
        self.loading_in_row = self.loading_in_row.saturating_add(1);
        if running && (self.serves_others(now) || self.loading_in_row < LOADING_MIN) {
            return;
        }
        self.failures_in_row = 0;
        if running {
            self.memory = Some(self.limit.proved());
        }
        let mut episode = match self.availability {
            Availability::Cold(episode) => episode,
            _ => Cold::new(sign, now),
        };
        episode.observe(sign, announced, now);
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
                self.start(flight, now);
            }
            Availability::Idle if self.failures_in_row >= 2 => self.trip(now),
            // A backend that fails has stopped loading.
            Availability::Cold(_) if flight.probe && signal == Signal::Fault => self.trip(now),
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

    fn start(&mut self, flight: Flight, now: Timestamp) {
        if let Availability::Cold(episode) = self.availability
            && let Some(took) = episode.load_time(flight.sent, now)
        {
            self.load_times.record(took);
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
        let silent = silent && !self.kept_awake();
        if matches!(self.availability, Availability::Running) && self.flights.is_empty() && silent {
            self.memory = Some(self.limit.proved());
            self.availability = Availability::Idle;
        }
    }

    pub(super) fn permission(&self, now: Timestamp) -> Permission {
        self.wake_permission(self.own_permission(now))
    }

    fn own_permission(&self, now: Timestamp) -> Permission {
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
            Availability::Idle if self.wakes_elsewhere() => LaneState::Cold,
            Availability::Idle => LaneState::Idle,
            Availability::Cold(_) => LaneState::Cold,
            Availability::Running if self.limit.warming() => LaneState::Ramp,
            Availability::Running => LaneState::Steady,
            Availability::Broken { .. } => LaneState::Open,
        }
    }

    /// Returns when the backend is expected to serve; `None` if it serves or nothing shows when it will.
    pub(super) fn ready_eta(&self, now: Timestamp) -> Option<Timestamp> {
        match self.availability {
            Availability::Cold(episode) if !self.wakes_elsewhere() => {
                episode.ready(&self.load_times, now)
            }
            Availability::Idle | Availability::Cold(_) => self.ready_elsewhere(),
            Availability::Running | Availability::Broken { .. } => None,
        }
    }
}
