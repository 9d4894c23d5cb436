//! Calls are refused for minutes.

use std::time::Duration;

use super::View;
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
    history::{History, real},
    shares::Shares,
    spoken::{percent, spoken},
};

/// The time in which refusals are counted, and the time between two kept counts.
const WITHIN: Duration = Duration::from_mins(2);
const STEP: Duration = Duration::from_secs(5);
/// The share of calls from which refusals are reported, and from which an open alert is kept.
const SHARE: f64 = 0.1;
const HOLDS_FROM: f64 = 0.02;
/// Fewer refusals are not reported.
const REFUSALS_MIN: u64 = 10;
/// The reasons that a sentence names.
const NAMED: usize = 3;

#[derive(Debug)]
pub(super) struct Refusals {
    /// Calls, and those that were refused.
    history: History<2>,
    reasons: Shares<&'static str>,
    /// Since when refusals are counted: the last time at which they had a cause of their own, unless that is long ago.
    since: Duration,
    has_own_cause: bool,
    /// What to do, as it was said last.
    action: Option<&'static str>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            history: History::new(STEP, WITHIN),
            reasons: Shares::new(STEP, WITHIN),
            since: Duration::ZERO,
            has_own_cause: false,
            action: None,
        }
    }
}

/// What a reason code means, and what to do if most refusals have it; `None` if the rule's own action is the right one.
fn explained(reason: &str) -> (&'static str, Option<&'static str>) {
    match reason {
        "queue_full" => (
            "as many calls wait as `queue_max` and `queue_bytes_max` allow",
            None,
        ),
        "wait_too_long" => ("the wait would be longer than the caller's deadline", None),
        "queue_timeout" => ("the deadline passed while the call waited", None),
        "server_is_overloaded" => (
            "the backend asked for a pause that ends after the deadline",
            Some(ASKED_FOR_PAUSES),
        ),
        "refused_by_backend" => (
            "the backend itself refused the call",
            Some(ASKED_FOR_PAUSES),
        ),
        "insufficient_quota" => ("the quota of the backend was used up", Some(NO_QUOTA)),
        "model_loading" => ("the backend was loading its model", Some(WAS_LOADING)),
        "backend_broken" | "backend_unreachable" => {
            ("the backend failed its calls", Some(WAS_BROKEN))
        }
        "lane_closed" => ("the backend was out of service", None),
        _ => ("", None),
    }
}

const ASKED_FOR_PAUSES: &str = "The server of `{}` refuses by itself: find out who else uses it or its key, and raise its rate limit at the \
    provider. If there is no other user, set `limit_max` of its `limits` to the calls in flight that it serves, or add a backend.";
const NO_QUOTA: &str = "Raise the quota of the key of `{}` at its provider, or add a backend with another key to its models.";
const WAS_LOADING: &str = "The server of `{}` unloads its model between calls. Lengthen the time after which it does, wake it early \
    (`{curl} -X POST {base}/backends/{path}/prewarm`, or `[backends.prewarm]`), or let callers wait longer.";
const WAS_BROKEN: &str = "Look at `last_failure` of `{}` in `{curl} {base}/state` and at the log of its server: it fails now and then and \
    recovers by itself.";

/// How much more often another action must be the right one before it is said instead.
const CLEARLY_MORE: f64 = 1.5;

impl Refusals {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View { at, lane, .. } = *view;
        let counts = [lane.calls, lane.refused];
        let is_judged = matches!(lane.phase, Phase::Serving | Phase::Paused);
        // A probe ends what was before it, or does not.
        match lane.phase {
            _ if lane.closed.is_some() => self.has_own_cause = true,
            Phase::Probing => {}
            phase => self.has_own_cause = !is_judged && phase != Phase::Idle,
        }
        // Those refusals have a cause of their own, which is reported. Once it is over, they are no news.
        if self.has_own_cause {
            self.since = at;
            self.history = History::new(STEP, WITHIN);
            self.reasons.restart(at, &lane.refusals);
        }
        self.history.note(at, counts);
        self.reasons.note(at, &lane.refusals);
        if !is_judged || lane.closed.is_some() {
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
        let reasons = self.reasons.growth(at, &lane.refusals, WITHIN);
        let span = spoken(WITHIN.min(at.saturating_sub(self.since)));
        let (name, why) = (&lane.name, in_words(&reasons));
        let sentence =
            format!("`{name}` refused {refused} of {calls} calls in the last {span}{why}.");
        let mut finding = view.finding(Rule::RefusalsSustained, level, sentence);
        self.action = action(&reasons, self.action);
        finding.action = self.action;
        Some(finding)
    }
}

/// Returns what helps against most refusals. What was said `before` is said again unless something else clearly helps more.
fn action(reasons: &[(&'static str, u64)], before: Option<&'static str>) -> Option<&'static str> {
    let helped = |action: Option<&'static str>| {
        let helped = reasons
            .iter()
            .filter(|(code, _)| explained(code).1 == action);
        helped.map(|(_, count)| count).sum::<u64>()
    };
    let actions = reasons.iter().map(|(code, _)| explained(code).1);
    let Some(most) = actions.max_by_key(|action| helped(*action)) else {
        return before;
    };
    let is_clear = real(helped(most)) > CLEARLY_MORE * real(helped(before));
    if is_clear { most } else { before }
}

/// Returns the reasons with their shares as the end of a sentence, without its full stop.
fn in_words(reasons: &[(&'static str, u64)]) -> String {
    let sum = reasons.iter().map(|(_, count)| count).sum();
    let named = reasons.iter().take(NAMED).map(|(reason, count)| {
        let (meaning, share) = (explained(reason).0, percent(*count, sum));
        let meaning = if meaning.is_empty() {
            String::new()
        } else {
            format!(" ({meaning})")
        };
        format!("{share} with `{reason}`{meaning}")
    });
    let named = named.collect::<Vec<_>>().join(", ");
    if named.is_empty() {
        named
    } else {
        format!(": {named}")
    }
}
