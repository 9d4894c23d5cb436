//! The part of a lane's state that can be read without asking an actor.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kebne_control::{Grant, LaneState, Permission, Replica, Timestamp};
use serde::Serialize;

/// The number of bytes of a failure's message that are kept.
const MESSAGE_MAX: usize = 300;
/// The maximum number of different failures that are counted separately; the reasons are few and fixed in the code.
const KINDS_MAX: usize = 64;

/// The last attempt of a lane that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// The outcome's label.
    pub class: &'static str,
    /// The reason code, if the failure has one.
    pub reason: Option<&'static str>,
    /// The backend's status code, if it answered with one.
    pub status: Option<u16>,
    /// A description.
    pub message: String,
    /// The time of the failure.
    #[serde(skip)]
    pub(crate) at: Timestamp,
    /// Milliseconds between the failure and the snapshot.
    pub age_ms: u64,
}

impl LastFailure {
    /// Creates the record of a failure at `at`.
    pub(crate) fn new(
        class: &'static str,
        reason: Option<&'static str>,
        status: Option<u16>,
        message: &str,
        at: Timestamp,
    ) -> Self {
        let end = message.floor_char_boundary(MESSAGE_MAX);
        Self {
            class,
            reason,
            status,
            message: message[..end].to_owned(),
            at,
            age_ms: 0,
        }
    }
}

/// The number of attempts that failed with one class and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    /// The outcome's label.
    pub class: &'static str,
    /// The reason code; empty if the failures have none.
    pub reason: &'static str,
    /// The number of attempts.
    pub count: u64,
}

/// The failed attempts.
#[derive(Debug, Default)]
struct Failures {
    last: Option<LastFailure>,
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

/// The main values of the last grant, published by the controller.
#[derive(Debug, Default)]
pub(crate) struct Status {
    state: AtomicU8,
    /// The time in which the backend was not known to serve.
    cold: ColdClock,
    limit: AtomicU32,
    restarts: AtomicU32,
    /// Microseconds; 0 before the first success.
    service_time: AtomicU64,
    /// Calls per second as bits; 0 before the first success.
    delivered_rate: AtomicU64,
    /// Microseconds of the lane's clock at which the backend is expected to serve; 0 if it serves or that is unknown.
    ready_at: AtomicU64,
    /// `true` if new calls are refused because the lane is drained.
    draining: AtomicBool,
    failures: Mutex<Failures>,
}

/// A clock that runs while a lane is cold. It is read without a lock, because each call reads it twice.
#[derive(Debug, Default)]
struct ColdClock(
    /// While the clock stands: its time in microseconds. While it runs: [`RUNS`] and the time at which it would have
    /// been started to show what it shows now.
    AtomicU64,
);

/// The bit of a clock that runs.
const RUNS: u64 = 1 << 63;

impl ColdClock {
    /// Starts or stops the clock; called by one thread at a time.
    fn set(&self, runs: bool, now: Timestamp) {
        let shown = self.0.load(Relaxed);
        if runs == (shown & RUNS != 0) {
            return;
        }
        let now = micros(now.since(Timestamp::ZERO));
        let next = if runs {
            RUNS | now.saturating_sub(shown)
        } else {
            now.saturating_sub(shown & !RUNS)
        };
        self.0.store(next, Relaxed);
    }

    fn read(&self, now: Timestamp) -> Duration {
        let shown = self.0.load(Relaxed);
        Duration::from_micros(if shown & RUNS == 0 {
            shown
        } else {
            micros(now.since(Timestamp::ZERO)).saturating_sub(shown & !RUNS)
        })
    }
}

/// Returns the microseconds of a time span, without the bit [`RUNS`].
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX) & !RUNS
}

/// Returns the end of a pause; `None` if there is none, or its end is not known.
fn ends(permission: Permission) -> Option<Timestamp> {
    match permission {
        Permission::Paused { until } | Permission::Closed { until } => {
            Some(until).filter(|until| *until != Timestamp::MAX)
        }
        Permission::Open | Permission::SingleFlight { .. } => None,
    }
}

impl Status {
    pub(crate) fn publish(&self, grant: &Grant, now: Timestamp) {
        self.state.store(grant.state as u8, Relaxed);
        let is_cold = matches!(grant.state, LaneState::Probe | LaneState::Cold);
        self.cold.set(is_cold, now);
        self.limit.store(grant.concurrency, Relaxed);
        let rate = grant.delivered_rate.unwrap_or_default();
        self.delivered_rate.store(rate.to_bits(), Relaxed);
        self.service_time.store(micros(grant.service_time), Relaxed);
        let ready = grant.ready_eta.or_else(|| ends(grant.permission));
        let ready = ready.map(|at| at.since(Timestamp::ZERO));
        self.ready_at.store(ready.map_or(0, micros), Relaxed);
    }

    /// Returns what is known for the choice among replicas. The values are read one by one, so they may belong to two
    /// grants that follow each other.
    pub(crate) fn load(&self, live: u32, now: Timestamp) -> Replica {
        let rate = f64::from_bits(self.delivered_rate.load(Relaxed));
        let ready = Duration::from_micros(self.ready_at.load(Relaxed));
        let ready_in = ready.checked_sub(now.since(Timestamp::ZERO));
        Replica {
            state: self.state(),
            limit: self.limit(),
            live,
            service_time: Duration::from_micros(self.service_time.load(Relaxed)),
            delivered_rate: Some(rate).filter(|rate| *rate > 0.0),
            ready_in: ready_in.filter(|left| !left.is_zero()),
            weight: 1.0,
        }
    }

    pub(crate) fn state(&self) -> LaneState {
        let number = usize::from(self.state.load(Relaxed));
        LaneState::ALL.get(number).copied().unwrap_or_default()
    }

    /// Returns the time in which the backend was not known to serve (states `probe` and `cold`), since the start.
    pub(crate) fn cold_time(&self, now: Timestamp) -> Duration {
        self.cold.read(now)
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(crate) fn worker_restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    /// Records a failed attempt.
    pub(crate) fn failed(&self, failure: LastFailure) {
        let mut failures = self.failures();
        let kind = (failure.class, failure.reason.unwrap_or_default());
        if failures.counts.len() < KINDS_MAX || failures.counts.contains_key(&kind) {
            *failures.counts.entry(kind).or_default() += 1;
        }
        failures.last = Some(failure);
    }

    /// Returns the last failed attempt, with its age at `now`.
    pub(crate) fn last_failure(&self, now: Timestamp) -> Option<LastFailure> {
        let mut last = self.failures().last.clone()?;
        let age: Duration = now.since(last.at);
        last.age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Some(last)
    }

    /// Returns the failed attempts by class and reason.
    pub(crate) fn failure_counts(&self) -> Vec<FailureCount> {
        let failures = self.failures();
        let counts = failures.counts.iter();
        counts
            .map(|(&(class, reason), &count)| FailureCount {
                class,
                reason,
                count,
            })
            .collect()
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cold_clock_runs_while_the_lane_is_cold() {
        let (clock, at) = (ColdClock::default(), |seconds| {
            Timestamp::ZERO.after(Duration::from_secs(seconds))
        });
        let seen = |now| clock.read(at(now)).as_secs();
        assert_eq!(seen(100), 0);
        clock.set(true, at(100));
        clock.set(true, at(105));
        assert_eq!(seen(110), 10);
        clock.set(false, at(112));
        clock.set(false, at(115));
        assert_eq!(seen(200), 12);
        clock.set(true, at(300));
        assert_eq!(seen(301), 13);
    }
}
