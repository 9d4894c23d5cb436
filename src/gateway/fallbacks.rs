//! The calls that left a backend for another one of their model, counted by reason.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kebne_control::{FallbackKind, Outcome};
use kebne_lane::{CallError, Failure, RefusalReason};
use kebne_wire::classify::{RefusedFor, refused_for};
use serde::Serialize;

use crate::backend::reason;

/// The calls of a model that left a backend for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FallbackCount {
    /// The model.
    pub model: Arc<str>,
    /// The backend that was left.
    pub lane: Arc<str>,
    /// The reason.
    pub kind: FallbackKind,
    /// The number of calls.
    pub count: u64,
}

type Key = (Arc<str>, Arc<str>, FallbackKind);

/// The counts of all models. They are bounded by the number of models, backends and kinds.
#[derive(Debug, Default)]
pub(super) struct Fallbacks(Mutex<BTreeMap<Key, u64>>);

impl Fallbacks {
    /// Counts a call that leaves a backend.
    pub(super) fn note(&self, model: &str, lane: &str, kind: FallbackKind) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((model.into(), lane.into(), kind)).or_default() += 1;
    }

    /// Removes the counts of backends other than these.
    pub(super) fn keep(&self, lanes: &[&str]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|(_, lane, _), _| lanes.contains(&&**lane));
    }

    /// Returns the counts.
    pub(super) fn counts(&self) -> Vec<FallbackCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.iter().map(|((model, lane, kind), count)| {
            let (model, lane) = (Arc::clone(model), Arc::clone(lane));
            FallbackCount {
                model,
                lane,
                kind: *kind,
                count: *count,
            }
        });
        counts.collect()
    }
}

/// Returns for which kind of obstacle a call without an answer may go to another backend. `None` if the call ends: the
/// request itself is wrong, the gateway stops, or the call panicked and is likely to do so again.
pub(super) fn kind_of(error: &CallError) -> Option<FallbackKind> {
    match error {
        CallError::Refused { reason, .. } => Some(match reason {
            RefusalReason::QueueFull
            | RefusalReason::QueueBytes
            | RefusalReason::WaitTooLong
            | RefusalReason::QueueTimeout
            | RefusalReason::Backoff => FallbackKind::Overload,
            RefusalReason::Cold => FallbackKind::Cold,
            RefusalReason::Broken => FallbackKind::Unreachable,
            RefusalReason::Quota => FallbackKind::Quota,
            RefusalReason::Draining => FallbackKind::OutOfService,
        }),
        CallError::Failed { failure, .. } => kind_of_failure(failure),
        CallError::Timeout { .. } => Some(FallbackKind::Failed),
        CallError::Closed { .. } | CallError::Stopped => Some(FallbackKind::OutOfService),
        CallError::Panicked { .. } | CallError::Drained | CallError::Withdrawn => None,
    }
}

fn kind_of_failure(failure: &Failure) -> Option<FallbackKind> {
    match failure.outcome {
        _ if failure.is_shed => None,
        _ if failure.reason == Some(reason::SERVER_FAILS) => Some(FallbackKind::Unreachable),
        Outcome::Client => refused_for(failure.body.as_deref()?).map(|needed| match needed {
            RefusedFor::ContextLength => FallbackKind::ContextLength,
            RefusedFor::ContentPolicy => FallbackKind::ContentPolicy,
            RefusedFor::Model => FallbackKind::Misconfigured,
        }),
        Outcome::Misconfigured => Some(FallbackKind::Misconfigured),
        Outcome::Quota { .. } => Some(FallbackKind::Quota),
        Outcome::Limit | Outcome::Rate { .. } => Some(FallbackKind::Overload),
        Outcome::Cold { .. } => Some(FallbackKind::Cold),
        _ if failure.reason == Some(reason::UNREACHABLE) => Some(FallbackKind::Unreachable),
        Outcome::Absent { .. } => Some(FallbackKind::Cold),
        Outcome::Fault | Outcome::Timeout | Outcome::Unusable => Some(FallbackKind::Failed),
        Outcome::Success { .. } | Outcome::Cancelled => None,
    }
}

/// Returns the attempts behind an error.
pub(super) fn attempts(error: &CallError) -> u32 {
    match error {
        CallError::Failed { attempts, .. }
        | CallError::Timeout { attempts, .. }
        | CallError::Panicked { attempts }
        | CallError::Closed { attempts } => *attempts,
        CallError::Refused { .. }
        | CallError::Drained
        | CallError::Stopped
        | CallError::Withdrawn => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn kind(
        outcome: Outcome,
        reason: Option<&'static str>,
        body: &'static str,
    ) -> Option<FallbackKind> {
        let mut failure = Failure::new(outcome, "x");
        failure.reason = reason;
        failure.body = Some(Bytes::from_static(body.as_bytes()));
        kind_of(&CallError::Failed {
            failure,
            attempts: 1,
        })
    }

    #[test]
    fn each_failure_has_its_kind_and_a_callers_mistake_has_none() {
        let long = r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#;
        let wrong = r#"{"error":{"message":"`n` is wrong"}}"#;
        for (outcome, reason, body, expected) in [
            (
                Outcome::Client,
                None,
                long,
                Some(FallbackKind::ContextLength),
            ),
            (Outcome::Client, None, wrong, None),
            (
                Outcome::Misconfigured,
                None,
                "",
                Some(FallbackKind::Misconfigured),
            ),
            (
                Outcome::Fault,
                Some(reason::UNREACHABLE),
                "",
                Some(FallbackKind::Unreachable),
            ),
            (
                Outcome::Cold { estimated: None },
                Some(reason::SERVER_FAILS),
                "",
                Some(FallbackKind::Unreachable),
            ),
            (Outcome::Fault, None, "", Some(FallbackKind::Failed)),
            (Outcome::Unusable, None, "", Some(FallbackKind::Failed)),
            (
                Outcome::Quota { reset: None },
                None,
                "",
                Some(FallbackKind::Quota),
            ),
        ] {
            assert_eq!(kind(outcome, reason, body), expected, "{outcome:?} {body}");
        }
        assert_eq!(kind_of(&CallError::Panicked { attempts: 1 }), None);
    }

    #[test]
    fn calls_are_counted_by_model_backend_and_kind() {
        let fallbacks = Fallbacks::default();
        fallbacks.note("m", "a", FallbackKind::Cold);
        fallbacks.note("m", "a", FallbackKind::Cold);
        fallbacks.note("m", "b", FallbackKind::Cold);
        let counts = fallbacks.counts();
        let counts: Vec<_> = counts.iter().map(|one| (&*one.lane, one.count)).collect();
        assert_eq!(counts, [("a", 2), ("b", 1)]);
    }
}
