//! The rules of one lane, and those of actors. Each rule is a small state machine that sees one sample after the other.

mod backend_down;
mod burn_rate;
mod cold_start;
mod flapping;
mod lane_closed;
mod misconfigured;
mod quota;
mod refusals;
mod restarts;
mod retry_after;
mod stuck_actors;
mod unusual;

use std::{sync::Arc, time::Duration};

use crate::{
    Habits, LaneSample, Phase, Rule, RuleSettings,
    desk::{Finding, Level},
};

use backend_down::BackendDown;
use cold_start::ColdStart;
use flapping::Flapping;
use lane_closed::LaneClosed;
use misconfigured::Misconfigured;
use quota::QuotaUsedUp;
use refusals::Refusals;
use retry_after::RetryAfter;
use unusual::{Measure, PerCall, Slower};

pub(crate) use burn_rate::BurnRate;
pub(crate) use restarts::Restarts;
pub(crate) use stuck_actors::StuckActors;

/// What a rule sees of a lane at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) at: Duration,
    /// The same time in seconds since 1970.
    pub(crate) unix_seconds: u64,
    pub(crate) lane: &'a LaneSample,
    pub(crate) settings: &'a RuleSettings,
    /// The currency of costs.
    pub(crate) currency: &'a str,
    /// The failed calls of the lane by model and reason.
    pub(crate) failed: &'a [((Arc<str>, &'static str), u64)],
}

/// The rules of one lane.
#[derive(Debug)]
pub(crate) struct LaneRules {
    closed: LaneClosed,
    down: BackendDown,
    misconfigured: Misconfigured,
    quota: QuotaUsedUp,
    burn_rate: BurnRate,
    flapping: Flapping,
    cold_start: ColdStart,
    refusals: Refusals,
    slower: Slower,
    retry_after: RetryAfter,
    tokens: PerCall,
    cost: PerCall,
}

impl View<'_> {
    /// Creates a finding about the lane.
    fn finding(&self, rule: Rule, level: Level, sentence: String) -> Finding {
        Finding {
            rule,
            subject: Arc::clone(&self.lane.name),
            level,
            sentence,
            action: None,
            only_model: None,
        }
    }

    /// Returns the last error of the lane as the end of a sentence's paragraph.
    fn last_error(&self) -> String {
        let error = self.lane.last_failure.as_ref();
        error.map_or_else(String::new, |error| format!(" The last error: {error}."))
    }
}

impl LaneRules {
    /// Creates the rules of a lane with what was learned of it earlier.
    pub(crate) fn new(habits: &Habits) -> Self {
        Self {
            closed: LaneClosed::default(),
            down: BackendDown::default(),
            misconfigured: Misconfigured::default(),
            quota: QuotaUsedUp::default(),
            burn_rate: BurnRate::default(),
            flapping: Flapping::default(),
            cold_start: ColdStart::default(),
            refusals: Refusals::default(),
            slower: Slower::with_usual(habits.first_token, habits.whole),
            retry_after: RetryAfter::default(),
            tokens: PerCall::new(Measure::Tokens, habits.tokens),
            cost: PerCall::new(Measure::Cost, habits.cost),
        }
    }

    /// Returns what is known of the lane, without its load by time of day.
    pub(crate) fn habits(&self) -> Habits {
        let [first_token, whole] = self.slower.usual();
        Habits {
            first_token,
            whole,
            tokens: self.tokens.usual(),
            cost: self.cost.usual(),
            ..Habits::default()
        }
    }

    /// Notes that somebody undid the closing of the lane.
    pub(crate) fn let_in(&mut self) {
        self.closed.let_in();
    }

    /// Applies the rules to one sample of the lane.
    pub(crate) fn look(&mut self, view: &View<'_>) -> Vec<Finding> {
        // A lane that did not answer has no numbers; `StuckActors` reports it.
        if view.lane.phase == Phase::Silent {
            return Vec::new();
        }
        let [fast, slow] = self.burn_rate.look(view);
        let found = [
            self.closed.look(view),
            self.down.look(view),
            self.misconfigured.look(view),
            self.quota.look(view),
            fast,
            slow,
            self.flapping.look(view),
            self.cold_start.look(view),
            self.refusals.look(view),
            self.slower.look(view),
            self.retry_after.look(view),
            self.tokens.look(view),
            self.cost.look(view),
        ];
        found.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
