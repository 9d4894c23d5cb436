//! Actors that fail and are restarted again and again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    ActorSample, Rule, Sample,
    desk::{Finding, Level},
    history::History,
    spoken::spoken,
};

/// The time in which restarts are counted, and the time between two kept counts.
const WITHIN: Duration = Duration::from_mins(10);
const STEP: Duration = Duration::from_secs(5);
/// Restarts from which an actor is reported, and from which an open alert is kept.
const RESTARTS: u64 = 5;
const HOLDS_FROM: u64 = 2;

/// Actors of one kind below one parent: an actor alone, or numbered ones that are alike (workers).
#[derive(Debug)]
struct Kind {
    history: History<1>,
    restarts: u64,
    last_failure: Option<Arc<str>>,
}

#[derive(Debug, Default)]
pub(crate) struct Restarts {
    kinds: BTreeMap<String, Kind>,
}

impl Restarts {
    pub(crate) fn look(&mut self, sample: &Sample) -> Vec<Finding> {
        for kind in self.kinds.values_mut() {
            kind.restarts = 0;
            kind.last_failure = None;
        }
        for actor in &sample.actors {
            self.count(actor);
        }
        // What never failed needs no place.
        self.kinds.retain(|_, kind| kind.last_failure.is_some());
        let mut found = Vec::new();
        for (path, kind) in &mut self.kinds {
            let counts = [kind.restarts];
            let [times] = kind.history.growth(sample.at, counts, WITHIN);
            kind.history.note(sample.at, counts);
            // A store that is gone restarts the actor that opens it again, and is reported itself.
            let level = match times {
                _ if sample.store_outage.is_some() => Level::Holding,
                RESTARTS.. => Level::Firing,
                HOLDS_FROM.. => Level::Holding,
                _ => continue,
            };
            let (span, failure) = (spoken(WITHIN), kind.last_failure.as_deref());
            let failure = failure.unwrap_or("not known").trim_end_matches('.');
            found.push(Finding {
                rule: Rule::ActorRestarts,
                subject: path.as_str().into(),
                level,
                action: None,
                only_model: None,
                sentence: format!(
                    "The actor `{path}` was restarted {times} times within {span}. The last failure: {failure}."
                ),
            });
        }
        found
    }

    fn count(&mut self, actor: &ActorSample) {
        let Some(failure) = &actor.last_failure else {
            return;
        };
        let path = actor
            .path
            .trim_end_matches(|end: char| end.is_ascii_digit());
        let path = path.trim_end_matches('-');
        let kind = self.kinds.entry(path.to_owned()).or_insert_with(|| {
            let mut history = History::new(STEP, WITHIN);
            // An actor that has not failed before has not been restarted either.
            history.note(Duration::ZERO, [0]);
            Kind {
                history,
                restarts: 0,
                last_failure: None,
            }
        });
        kind.restarts += u64::from(actor.restarts);
        kind.last_failure = Some(Arc::clone(failure));
    }
}
