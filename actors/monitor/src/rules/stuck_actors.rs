//! Actors that have messages and handle none, and lanes whose actors do not answer.
//!
//! All of them are one finding: actors share threads, so that one thread that hangs stops many of them at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    ActorSample, Phase, Rule, RuleSettings, Sample,
    desk::{Finding, Level},
    spoken::{listed, spoken},
};

/// Whom the finding is about.
const SUBJECT: &str = "actors";

#[derive(Debug, Default)]
pub(crate) struct StuckActors {
    /// The actors for which messages wait: what they had handled, and since when that number stands.
    waiting: BTreeMap<Arc<str>, (u64, Duration)>,
    /// The lanes that do not answer, and since when.
    silent: BTreeMap<Arc<str>, Duration>,
}

impl StuckActors {
    pub(crate) fn look(&mut self, sample: &Sample, settings: &RuleSettings) -> Option<Finding> {
        let after = settings.stuck_after.0;
        let lanes = self.silent_lanes(sample, after);
        let actors = self.stuck(sample, after);
        let sentences = [of_lanes(&lanes), of_actors(&actors)];
        let sentences: Vec<_> = sentences.into_iter().flatten().collect();
        (!sentences.is_empty()).then(|| Finding {
            rule: Rule::StuckActor,
            subject: SUBJECT.into(),
            level: Level::Firing,
            sentence: sentences.join(" "),
            action: None,
            only_model: None,
        })
    }

    /// Returns the lanes that have answered nothing for `after`, and for how long.
    fn silent_lanes(&mut self, sample: &Sample, after: Duration) -> Vec<(Arc<str>, Duration)> {
        let before = std::mem::take(&mut self.silent);
        let lanes = sample.lanes.iter();
        for lane in lanes.filter(|lane| lane.phase == Phase::Silent) {
            let since = before.get(&lane.name).copied().unwrap_or(sample.at);
            self.silent.insert(Arc::clone(&lane.name), since);
        }
        let lasts = self.silent.iter().map(|(name, since)| {
            let lasts = sample.at.saturating_sub(*since);
            (Arc::clone(name), lasts)
        });
        lasts.filter(|(_, lasts)| *lasts >= after).collect()
    }

    /// Returns the actors that have handled none of their messages for `after`, and for how long. Those of a silent lane are
    /// reported with the lane.
    fn stuck<'a>(
        &mut self,
        sample: &'a Sample,
        after: Duration,
    ) -> Vec<(&'a ActorSample, Duration)> {
        let before = std::mem::take(&mut self.waiting);
        let mut stuck = Vec::new();
        let waiting = sample.actors.iter().filter(|actor| actor.mailbox > 0);
        for actor in waiting.filter(|actor| !is_of_silent_lane(&actor.path, sample)) {
            let stands = before.get(&actor.path);
            let stands = stands.filter(|(handled, _)| *handled == actor.handled);
            let since = stands.map_or(sample.at, |(_, since)| *since);
            let path = Arc::clone(&actor.path);
            self.waiting.insert(path, (actor.handled, since));
            let lasts = sample.at.saturating_sub(since);
            if lasts >= after {
                stuck.push((actor, lasts));
            }
        }
        stuck
    }
}

fn of_lanes(lanes: &[(Arc<str>, Duration)]) -> Option<String> {
    let longest = spoken(lanes.iter().map(|(_, lasts)| *lasts).max()?);
    let names: Vec<_> = lanes.iter().map(|(name, _)| name).collect();
    Some(match names.as_slice() {
        [name] => format!("The actors of the lane `{name}` have answered nothing for {longest}."),
        names => format!(
            "The actors of {} lanes have answered nothing for up to {longest}: {}.",
            names.len(),
            listed(names)
        ),
    })
}

fn of_actors(actors: &[(&ActorSample, Duration)]) -> Option<String> {
    let longest = spoken(actors.iter().map(|(_, lasts)| *lasts).max()?);
    let waiting: usize = actors.iter().map(|(actor, _)| actor.mailbox).sum();
    let messages = if waiting == 1 { "message" } else { "messages" };
    let paths: Vec<_> = actors.iter().map(|(actor, _)| &actor.path).collect();
    Some(match paths.as_slice() {
        [path] => format!(
            "The actor `{path}` has {waiting} {messages} waiting and has handled none for {longest}."
        ),
        paths => format!(
            "{} actors have {waiting} {messages} waiting and have handled none for up to {longest}: {}.",
            paths.len(),
            listed(paths)
        ),
    })
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
