//! The calls that lanes refused, counted by reason: a call that a lane refuses and another one serves has no reason of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kebne_lane::{CallError, Ending};

use crate::backend::reason::{self, NO_MEMORY, OUT_OF_SERVICE, SERVER_FAILS, UNREACHABLE};

/// The counts of each lane by reason code.
pub type RefusalCounts = BTreeMap<Arc<str>, Vec<(&'static str, u64)>>;

/// The counts of all lanes. They are bounded by the number of backends and reasons.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<RefusalCounts>);

impl Refusals {
    /// Counts an error if the lane counts it as a refusal; `cause` is why the lane does not serve.
    pub(super) fn note(&self, lane: &str, error: &CallError, cause: Option<&'static str>) {
        if error.ending() != Ending::Shed {
            return;
        }
        let code = code(error, cause);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.contains_key(lane) {
            counts.insert(lane.into(), Vec::new());
        }
        let Some(reasons) = counts.get_mut(lane) else {
            return;
        };
        match reasons.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => reasons.push((code, 1)),
        }
    }

    /// Removes the counts of backends other than these.
    pub(super) fn keep(&self, lanes: &[&str]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|lane, _| lanes.contains(&&**lane));
    }

    /// Returns the counts.
    pub(super) fn counts(&self) -> RefusalCounts {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}

/// Returns the reason code that a caller gets for a refusal.
fn code(error: &CallError, cause: Option<&'static str>) -> &'static str {
    let known = [UNREACHABLE, OUT_OF_SERVICE, SERVER_FAILS];
    if let Some(cause) = cause.filter(|cause| known.contains(cause)) {
        return cause;
    }
    match error {
        CallError::Refused { reason, .. } => reason::of_refusal(*reason),
        CallError::Closed { .. } => OUT_OF_SERVICE,
        _ => NO_MEMORY,
    }
}

#[cfg(test)]
mod tests {
    use kebne_lane::RefusalReason;

    use super::*;

    fn refused(reason: RefusalReason) -> CallError {
        CallError::Refused {
            reason,
            retry_after: None,
            ready_in: None,
        }
    }

    #[test]
    fn refusals_are_counted_by_lane_and_reason_and_failures_are_not() {
        let refusals = Refusals::default();
        refusals.note("a", &refused(RefusalReason::QueueFull), None);
        refusals.note("a", &refused(RefusalReason::QueueBytes), None);
        refusals.note("a", &refused(RefusalReason::Cold), Some(UNREACHABLE));
        refusals.note("a", &CallError::Panicked { attempts: 1 }, None);
        refusals.note("b", &CallError::Closed { attempts: 0 }, None);
        let counts = refusals.counts();
        assert_eq!(counts["a"], [("queue_full", 2), ("backend_unreachable", 1)]);
        assert_eq!(counts["b"], [("lane_closed", 1)]);
        refusals.keep(&["b"]);
        assert_eq!(refusals.counts().len(), 1);
    }
}
