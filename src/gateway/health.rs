//! Active health checks: each backend that has a path for it is asked now and then whether it is there.
//!
//! The result is one signal among others. While the calls of a backend are served, it changes nothing. A backend that is not
//! known to serve is passed over after two checks have failed, and is asked by its prewarm call as soon as one succeeds.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kebne_lane::LaneState;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use crate::{backend::upstream::CheckFailed, gateway::lane::Lane};

/// The failed checks in a row after which a backend counts as down.
const FAILURES_MIN: u32 = 2;
/// The spread of the time between two checks, so that many gateways do not ask together.
const SPREAD: f64 = 0.2;
/// The bytes of an error that are kept.
const ERROR_MAX: usize = 200;

/// What the checks of one backend have found.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    checks: u64,
    failures_in_row: u32,
    last_error: Option<CheckFailed>,
    last: Option<Instant>,
}

/// What the checks of one backend have found, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct HealthReport {
    /// The backend.
    pub lane: String,
    /// `true` if the last check succeeded, or one failed check followed a success; `None` before the first.
    pub up: Option<bool>,
    /// The checks since the start.
    pub checks: u64,
    /// The failed checks since the last success.
    pub failures_in_row: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// `true` if the last check failed with an answer.
    #[serde(skip)]
    pub answered: bool,
    /// Milliseconds since the last check.
    pub age_ms: Option<u64>,
}

impl HealthReport {
    /// Returns why the backend's server could not be reached at the last checks. An answer with an error status may be that of a
    /// server that sleeps, and does not count.
    pub fn unreachable(&self) -> Option<&str> {
        let error = self.last_error.as_deref()?;
        (self.up == Some(false) && !self.answered).then_some(error)
    }
}

impl Health {
    /// Records a check. Returns `true` if it found the backend up.
    fn note(&self, result: Result<(), CheckFailed>) -> bool {
        let mut found = self.lock();
        found.checks += 1;
        found.last = Some(Instant::now());
        found.last_error = result.err().map(|mut error| {
            let end = error.message.floor_char_boundary(ERROR_MAX);
            error.message.truncate(end);
            error
        });
        if found.last_error.is_some() {
            found.failures_in_row = found.failures_in_row.saturating_add(1);
        } else {
            found.failures_in_row = 0;
        }
        found.failures_in_row == 0
    }

    /// Returns `true` if the backend was up at the last checks, `false` if it was down; `None` if it is not checked.
    pub(super) fn is_up(&self) -> Option<bool> {
        let found = self.lock();
        (found.checks > 0).then_some(found.failures_in_row < FAILURES_MIN)
    }

    /// Returns what was found, for operators.
    pub(super) fn report(&self, lane: &str) -> HealthReport {
        let found = self.lock();
        let age = found.last.map(|last| last.elapsed().as_millis());
        HealthReport {
            lane: lane.to_owned(),
            up: (found.checks > 0).then_some(found.failures_in_row < FAILURES_MIN),
            checks: found.checks,
            failures_in_row: found.failures_in_row,
            last_error: found.last_error.as_ref().map(|error| error.message.clone()),
            answered: found
                .last_error
                .as_ref()
                .is_some_and(|error| error.answered),
            age_ms: age.map(|age| u64::try_from(age).unwrap_or(u64::MAX)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the backend of a lane until the lane is gone.
pub(super) fn watch(lane: &Arc<Lane>) {
    let settings = &lane.settings.health;
    let Some(path) = settings.path.clone() else {
        return;
    };
    let (every, most) = (settings.every.get(), settings.timeout.get());
    let lane = Arc::downgrade(lane);
    actix_rt::spawn(async move {
        loop {
            let Some(watched) = lane.upgrade() else {
                return;
            };
            let checked = timeout(most, watched.backend.check(&path)).await;
            let result = checked.unwrap_or_else(|_| {
                Err(CheckFailed::without_answer(format!(
                    "no answer within {most:?}"
                )))
            });
            judge(&watched, result);
            drop(watched);
            sleep(spread(every)).await;
        }
    });
}

/// Takes the result of a check.
fn judge(lane: &Lane, result: Result<(), CheckFailed>) {
    let before = lane.health.is_up();
    let is_up = lane.health.note(result);
    let after = lane.health.is_up();
    if before != after {
        let name = lane.name();
        if after == Some(false) {
            tracing::warn!(lane = name, "the health check fails");
        } else {
            tracing::info!(lane = name, "the health check succeeds");
        }
    }
    if is_up && matches!(lane.handle.state(), LaneState::Cold | LaneState::Open) {
        let handle = lane.handle.clone();
        actix_rt::spawn(async move {
            if let Err(error) = handle.prewarm_at_once().await {
                tracing::debug!(lane = handle.name(), %error, "the backend was not asked");
            }
        });
    }
}

fn spread(every: Duration) -> Duration {
    every.mul_f64(1.0 - SPREAD / 2.0 + SPREAD * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_does_not_make_a_backend_down() {
        let health = Health::default();
        assert_eq!(health.is_up(), None);
        assert!(health.note(Ok(())));
        assert!(!health.note(Err(CheckFailed::without_answer("x".to_owned()))));
        assert_eq!(health.is_up(), Some(true));
        assert!(!health.note(Err(CheckFailed::without_answer("é".repeat(200)))));
        assert_eq!(health.is_up(), Some(false));
        let report = health.report("a");
        assert_eq!((report.checks, report.failures_in_row), (3, 2));
        assert_eq!(report.last_error.unwrap().len(), ERROR_MAX);
        assert!(health.note(Ok(())));
        assert_eq!(health.is_up(), Some(true));
        assert_eq!(health.report("a").last_error, None);
    }

    #[test]
    fn a_server_that_answers_with_an_error_is_down_and_can_be_reached() {
        let failed = |answered| {
            let health = Health::default();
            for _ in 0..2 {
                let message = "status 503".to_owned();
                let _is_up = health.note(Err(CheckFailed { message, answered }));
            }
            health.report("a")
        };
        assert_eq!(failed(true).up, Some(false));
        assert_eq!(failed(true).unreachable(), None);
        assert_eq!(failed(false).unreachable(), Some("status 503"));
    }
}
