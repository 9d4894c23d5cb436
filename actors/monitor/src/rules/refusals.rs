//! Calls are refused for minutes.

use std::time::Duration;

use super::{View, spoken};
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
    history::{History, real},
};

/// The time in which refusals are counted, and the time between two kept counts.
const WITHIN: Duration = Duration::from_mins(2);
const STEP: Duration = Duration::from_secs(5);
/// The share of calls from which refusals are reported, and from which an open alert is kept.
const SHARE: f64 = 0.1;
const HOLDS_FROM: f64 = 0.02;
/// Fewer refusals are not reported.
const REFUSALS_MIN: u64 = 10;

#[derive(Debug)]
pub(super) struct Refusals {
    /// Calls, and those that were refused.
    history: History<2>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            history: History::new(STEP, WITHIN),
        }
    }
}

impl Refusals {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View { at, lane, .. } = *view;
        let counts = [lane.calls, lane.refused];
        self.history.note(at, counts);
        // Otherwise the refusals have a cause of their own, which is reported.
        if lane.phase != Phase::Serving || lane.closed.is_some() {
            return None;
        }
        let [calls, refused] = self.history.growth(at, counts, WITHIN);
        let share = real(refused) / real(calls.max(refused).max(1));
        let level = if share >= SHARE && refused >= REFUSALS_MIN {
            Level::Firing
        } else if share >= HOLDS_FROM {
            Level::Holding
        } else {
            return None;
        };
        let (name, span) = (&lane.name, spoken(WITHIN));
        let sentence = format!(
            "`{name}` refused {refused} of {calls} calls in the last {span}, because more arrive than it can serve."
        );
        Some(view.finding(Rule::RefusalsSustained, level, sentence))
    }
}
