//! Remembers that a backend answers a model's calls in a way that no wait changes: it does not accept the gateway's key or
//! name of the model, or its answers cannot be read.
//!
//! Such a backend fails quickly and has no load, so it would be preferred. It gets one call now and then instead, until one
//! succeeds.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kebne_control::{FallbackKind, Outcome};
use kebne_lane::CallError;
use kebne_wire::request::Endpoint;
use tokio::time::Instant;

use crate::backend::reason::{NO_MEMORY, TOO_LARGE};

/// The failures in a row from which on the backend counts as unfit: one alone may be an accident.
const FAILURES_MIN: u32 = 2;
/// The time until the backend gets a call again; it is as long as the failures have lasted.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// The failures of a backend by operation, because a server may lack one operation only.
#[derive(Debug, Default)]
pub(super) struct Unfit(Mutex<HashMap<Endpoint, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    in_row: u32,
    since: Instant,
    kind: FallbackKind,
    /// When the backend gets a call again.
    again: Instant,
}

impl Failures {
    fn wait(&self) -> Duration {
        self.since.elapsed().clamp(AGAIN_MIN, AGAIN_MAX)
    }
}

impl Unfit {
    /// Returns how the backend fails, if no call is to go there now.
    pub(super) fn kind(&self, endpoint: Endpoint) -> Option<FallbackKind> {
        let failures = *self.lock().get(&endpoint)?;
        let waits = failures.in_row >= FAILURES_MIN && Instant::now() < failures.again;
        waits.then_some(failures.kind)
    }

    /// Records that a call goes there. If it is the one that asks whether the backend is fit again, others wait for its end.
    pub(super) fn sent(&self, endpoint: Endpoint) {
        if let Some(failures) = self.lock().get_mut(&endpoint)
            && failures.in_row >= FAILURES_MIN
        {
            failures.again = failures.again.max(Instant::now() + failures.wait());
        }
    }

    /// Records that a call was answered.
    pub(super) fn served(&self, endpoint: Endpoint) {
        self.lock().remove(&endpoint);
    }

    /// Records that a call failed.
    pub(super) fn failed(&self, endpoint: Endpoint, error: &CallError) {
        let Some(kind) = kind_of(error) else { return };
        let now = Instant::now();
        let mut all = self.lock();
        let failures = all.entry(endpoint).or_insert(Failures {
            in_row: 0,
            since: now,
            kind,
            again: now,
        });
        failures.kind = kind;
        failures.in_row = failures.in_row.saturating_add(1);
        failures.again = now + failures.wait();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Endpoint, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the kind of a failure that the next call would have too; `None` for others.
fn kind_of(error: &CallError) -> Option<FallbackKind> {
    let CallError::Failed { failure, .. } = error else {
        return None;
    };
    match failure.outcome {
        Outcome::Misconfigured => Some(FallbackKind::Misconfigured),
        // The size of an answer depends on the call.
        Outcome::Unusable if !matches!(failure.reason, Some(TOO_LARGE | NO_MEMORY)) => {
            Some(FallbackKind::Failed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kebne_lane::Failure;

    use super::*;

    const CHAT: Endpoint = Endpoint::Chat;

    fn error(outcome: Outcome, reason: Option<&'static str>) -> CallError {
        let mut failure = Failure::new(outcome, "x");
        failure.reason = reason;
        CallError::Failed {
            failure,
            attempts: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_refuses_the_key_gets_one_call_now_and_then() {
        let unfit = Unfit::default();
        let refused = error(Outcome::Misconfigured, None);
        let mut asked = 0;
        // A minute of ten calls per second.
        for _ in 0..600 {
            if unfit.kind(CHAT).is_none() {
                unfit.sent(CHAT);
                asked += 1;
                unfit.failed(CHAT, &refused);
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!((5..=9).contains(&asked), "{asked}");
        assert_eq!(unfit.kind(CHAT), Some(FallbackKind::Misconfigured));
        assert_eq!(unfit.kind(Endpoint::Embeddings), None);
        tokio::time::advance(AGAIN_MAX).await;
        assert_eq!(unfit.kind(CHAT), None);
        unfit.sent(CHAT);
        // One call asks.
        assert_eq!(unfit.kind(CHAT), Some(FallbackKind::Misconfigured));
        unfit.served(CHAT);
        assert_eq!(unfit.kind(CHAT), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_failure_or_one_that_depends_on_the_call_changes_nothing() {
        let unfit = Unfit::default();
        for _ in 0..5 {
            unfit.failed(CHAT, &error(Outcome::Client, None));
            unfit.failed(CHAT, &error(Outcome::Fault, None));
            unfit.failed(CHAT, &error(Outcome::Unusable, Some(TOO_LARGE)));
        }
        unfit.failed(CHAT, &error(Outcome::Unusable, None));
        assert_eq!(unfit.kind(CHAT), None);
        unfit.failed(CHAT, &error(Outcome::Unusable, None));
        assert_eq!(unfit.kind(CHAT), Some(FallbackKind::Failed));
    }
}
