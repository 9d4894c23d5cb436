//! Writes the failures of a backend to the log, at most one line per second, so that an outage does not fill a disk.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kebne_control::Outcome;
use kebne_lane::Failure;
use tokio::time::Instant;

use crate::backend::reason::UNREACHABLE;

/// The time after a line in which failures are counted and not written.
const QUIET: Duration = Duration::from_secs(1);

/// The log of one backend.
#[derive(Debug)]
pub(super) struct Log {
    backend: Arc<str>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    written: Option<Instant>,
    /// The number of failures since the last line.
    left_out: u64,
}

impl Log {
    pub(super) fn new(backend: &str) -> Self {
        Self {
            backend: backend.into(),
            last: Mutex::default(),
        }
    }

    /// Writes a failure, unless one was written just before. A refusal is a usual event of a busy backend and is
    /// logged at level debug; a backend that does not accept the gateway's settings is an error.
    pub(super) fn failure(&self, failure: &Failure, request: &str, now: Instant) {
        let backend = &*self.backend;
        let (class, status) = (failure.outcome.label(), failure.status);
        let error = &failure.message;
        let is_ordinary = failure.outcome.is_refusal() && failure.reason != Some(UNREACHABLE);
        if is_ordinary || failure.outcome == Outcome::Client {
            tracing::debug!(
                backend,
                request,
                class,
                status,
                error,
                "the backend refused"
            );
            return;
        }
        let Some(left_out) = self.due(now) else {
            return;
        };
        if failure.is_shed {
            tracing::warn!(backend, request, error, left_out, "an answer was refused");
        } else if failure.outcome == Outcome::Misconfigured {
            let hint = "check `base_url` and the key of this backend";
            tracing::error!(
                backend,
                request,
                class,
                status,
                error,
                left_out,
                hint,
                "the backend does not accept the gateway"
            );
        } else {
            tracing::warn!(
                backend,
                request,
                class,
                status,
                error,
                left_out,
                "the backend failed"
            );
        }
    }

    /// Returns the number of failures that were left out, if a line is due.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = last
            .written
            .is_some_and(|written| now.saturating_duration_since(written) < QUIET);
        if is_quiet {
            last.left_out = last.left_out.saturating_add(1);
            return None;
        }
        last.written = Some(now);
        Some(std::mem::take(&mut last.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_is_due_and_counts_what_was_left_out() {
        let log = Log::new("b");
        let start = Instant::now();
        assert_eq!(log.due(start), Some(0));
        assert_eq!(log.due(start + QUIET / 2), None);
        assert_eq!(log.due(start + QUIET / 2), None);
        assert_eq!(log.due(start + QUIET), Some(2));
    }
}
