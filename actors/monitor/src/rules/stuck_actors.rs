//! Actors that have messages and handle none, and lanes whose actors do not answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::spoken;
use crate::{
    Phase, Rule, RuleSettings, Sample,
    desk::{Finding, Level},
};

#[derive(Debug, Default)]
pub(crate) struct StuckActors {
    /// The actors for which messages wait: what they had handled, and since when that number stands.
    waiting: BTreeMap<Arc<str>, (u64, Duration)>,
    /// The lanes that do not answer, and since when.
    silent: BTreeMap<Arc<str>, Duration>,
}

impl StuckActors {
    pub(crate) fn look(&mut self, sample: &Sample, settings: &RuleSettings) -> Vec<Finding> {
        let (at, after) = (sample.at, settings.stuck_after.0);
        let mut found = Vec::new();
        let before = std::mem::take(&mut self.waiting);
        let waiting = sample.actors.iter().filter(|actor| actor.mailbox > 0);
        // The actors of a silent lane are reported with the lane.
        for actor in waiting.filter(|actor| !is_of_silent_lane(&actor.path, sample)) {
            let stands = before.get(&actor.path);
            let stands = stands.filter(|(handled, _)| *handled == actor.handled);
            let since = stands.map_or(at, |(_, since)| *since);
            let path = Arc::clone(&actor.path);
            self.waiting.insert(path, (actor.handled, since));
            let lasts = at.saturating_sub(since);
            if lasts >= after {
                let (path, waiting, lasts) = (&actor.path, actor.mailbox, spoken(lasts));
                let messages = if waiting == 1 { "message" } else { "messages" };
                let sentence = format!(
                    "The actor `{path}` has {waiting} {messages} waiting and has handled none for {lasts}."
                );
                found.push(stuck(Arc::clone(path), sentence));
            }
        }
        let before = std::mem::take(&mut self.silent);
        let silent = sample.lanes.iter();
        for lane in silent.filter(|lane| lane.phase == Phase::Silent) {
            let since = before.get(&lane.name).copied().unwrap_or(at);
            self.silent.insert(Arc::clone(&lane.name), since);
            let lasts = at.saturating_sub(since);
            if lasts >= after {
                let (name, lasts) = (&lane.name, spoken(lasts));
                let sentence =
                    format!("The actors of the lane `{name}` have answered nothing for {lasts}.");
                found.push(stuck(Arc::clone(name), sentence));
            }
        }
        found
    }
}

/// Returns `true` if an actor is below that of a silent lane, whose name ends with the lane's after a dash.
fn is_of_silent_lane(path: &str, sample: &Sample) -> bool {
    let mut silent = sample.lanes.iter();
    silent.any(|lane| {
        let is_of_lane = |part: &str| {
            let before = part.strip_suffix(&*lane.name);
            before.is_some_and(|before| before.ends_with('-'))
        };
        lane.phase == Phase::Silent && path.split('/').any(is_of_lane)
    })
}

fn stuck(subject: Arc<str>, sentence: String) -> Finding {
    Finding {
        rule: Rule::StuckActor,
        subject,
        level: Level::Firing,
        sentence,
    }
}
