//! The times to come back that refused callers get, compared with when callers were admitted again.
//!
//! One promise is checked at a time. It was too long if calls are admitted, and none refused, before a quarter of it has
//! passed. It was too short if calls are still refused, and none admitted, after twice the time and some seconds.

use std::{collections::VecDeque, time::Duration};

use super::View;
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
    spoken::spoken,
};

/// Promises that are remembered.
const CHECKED: usize = 20;
/// A promise that is shorter is not judged as too long.
const LONG: Duration = Duration::from_secs(20);
/// The grace of a promise that may be too short.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Promise {
    made: Duration,
    wait: Duration,
}

#[derive(Debug, Default)]
pub(super) struct RetryAfter {
    promise: Option<Promise>,
    /// Whether each of the last promises was wrong.
    checked: VecDeque<bool>,
    /// The last wrong one: what was promised, and what was seen.
    last_wrong: Option<(Duration, Duration)>,
    calls: u64,
    refused: u64,
}

impl RetryAfter {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View {
            at, lane, settings, ..
        } = *view;
        let calls = lane.calls.saturating_sub(self.calls);
        let refused = lane.refused.saturating_sub(self.refused);
        (self.calls, self.refused) = (lane.calls, lane.refused);
        // Refusals that have a cause of their own, and those before anything is known, are no promises that can be wrong.
        let is_loading = matches!(lane.phase, Phase::Cold | Phase::Probing);
        let is_judged = lane.closed.is_none()
            && lane.phase != Phase::Broken
            && !lane.unreachable
            && (!is_loading || lane.load_time_p95.is_some());
        if !is_judged {
            self.promise = None;
        } else if let Some(promise) = self.promise.take() {
            self.promise = self.check(promise, at, calls, refused);
        }
        if is_judged
            && self.promise.is_none()
            && let Some(wait) = lane.promised
        {
            self.promise = Some(Promise { made: at, wait });
        }
        let wrong = self.checked.iter().filter(|wrong| **wrong).count();
        let (promised, seen) = self.last_wrong?;
        if wrong < settings.promises_min {
            return None;
        }
        let level = if wrong * 2 >= self.checked.len() {
            Level::Firing
        } else {
            Level::Holding
        };
        let (name, checked) = (&lane.name, self.checked.len());
        let sentence = format!(
            "`{name}` tells refused callers wrong times to come back: {wrong} of the last {checked} were wrong, the last one \
             was {} where it took {}.",
            spoken(promised),
            spoken(seen)
        );
        Some(view.finding(Rule::RetryAfterWrong, level, sentence))
    }

    /// Checks a promise against the calls of one more sample; returns it if nothing is known yet.
    fn check(
        &mut self,
        promise: Promise,
        at: Duration,
        calls: u64,
        refused: u64,
    ) -> Option<Promise> {
        let waited = at.saturating_sub(promise.made);
        let is_admitting = calls > 0 && refused == 0;
        let is_refusing = calls > 0 && refused >= calls;
        let was_too_long = is_admitting && promise.wait >= LONG && waited < promise.wait / 4;
        let was_too_short = is_refusing && waited > promise.wait * 2 + GRACE;
        if was_too_long || was_too_short {
            self.last_wrong = Some((promise.wait, waited));
        } else if !is_admitting {
            return Some(promise);
        }
        if self.checked.len() >= CHECKED {
            self.checked.pop_front();
        }
        self.checked.push_back(was_too_long || was_too_short);
        None
    }
}
