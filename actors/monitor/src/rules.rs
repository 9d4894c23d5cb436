//! The rules of one lane, and those of actors. Each rule is a small state machine that sees one sample after the other.

mod backend_down;
mod burn_rate;
mod cold_start;
mod flapping;
mod misconfigured;
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
use misconfigured::Misconfigured;
use refusals::Refusals;
use retry_after::RetryAfter;
use unusual::{Cost, Slower, Tokens};

pub(crate) use burn_rate::BurnRate;
pub(crate) use restarts::Restarts;
pub(crate) use stuck_actors::StuckActors;

/// The rules of one lane.
#[derive(Debug, Default)]
pub(crate) struct LaneRules {
    down: BackendDown,
    misconfigured: Misconfigured,
    burn_rate: BurnRate,
    flapping: Flapping,
    cold_start: ColdStart,
    refusals: Refusals,
    slower: Slower,
    retry_after: RetryAfter,
    tokens: Tokens,
    cost: Cost,
}

impl LaneRules {
    /// Creates the rules of a lane of which something was learned earlier.
    pub(crate) fn with_habits(habits: &Habits) -> Self {
        Self {
            slower: Slower::with_usual(habits.latency),
            tokens: Tokens::with_usual(habits.tokens),
            cost: Cost::with_usual(habits.cost),
            ..Self::default()
        }
    }

    /// Returns what is known of the lane, without its load by time of day.
    pub(crate) fn habits(&self) -> Habits {
        Habits {
            latency: self.slower.usual(),
            tokens: self.tokens.usual(),
            cost: self.cost.usual(),
            ..Habits::default()
        }
    }

    /// Applies the rules to one sample of the lane.
    pub(crate) fn look(
        &mut self,
        at: Duration,
        lane: &LaneSample,
        settings: &RuleSettings,
        currency: &str,
    ) -> Vec<Finding> {
        // A lane that did not answer has no numbers; `StuckActors` reports it.
        if lane.phase == Phase::Silent {
            return Vec::new();
        }
        let [fast, slow] = self.burn_rate.look(at, lane, settings);
        let found = [
            lane_closed(lane),
            self.down.look(at, lane, settings),
            self.misconfigured.look(lane),
            fast,
            slow,
            self.flapping.look(at, lane),
            self.cold_start.look(at, lane, settings),
            self.refusals.look(at, lane),
            self.slower.look(at, lane, settings),
            self.retry_after.look(at, lane, settings),
            self.tokens.look(at, lane, settings),
            self.cost.look(at, lane, (settings, currency)),
        ];
        found.into_iter().flatten().collect()
    }
}

fn lane_closed(lane: &LaneSample) -> Option<Finding> {
    let reason = lane.closed.as_ref()?;
    let name = &lane.name;
    let sentence = format!("The lane of `{name}` is closed, so it gets no calls: {reason}.");
    Some(of_lane(Rule::LaneClosed, lane, Level::Firing, sentence))
}

/// Creates a finding about a lane.
fn of_lane(rule: Rule, lane: &LaneSample, level: Level, sentence: String) -> Finding {
    Finding {
        rule,
        subject: Arc::clone(&lane.name),
        level,
        sentence,
    }
}

/// Returns the last error of a lane as the end of a sentence's paragraph.
fn last_error(lane: &LaneSample) -> String {
    lane.last_failure
        .as_ref()
        .map_or_else(String::new, |error| format!(" The last error: {error}."))
}

/// Writes a duration for people: whole seconds below two minutes, then minutes, then hours.
fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
