//! What happened to the calls of models whose answers are kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kebne_cache::Difference;
use kebne_quota::Money;
use serde::Serialize;

use crate::{cache_note::Outcome, record::CallRecord};

/// What happened to a similar question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SemanticEvent {
    /// It was ruled out by a difference in words.
    RuledOut(Difference),
    /// It was asked, to learn, and the answers were the same or not.
    Explored(bool),
    /// The embedder or the judge did not answer.
    Failed,
}

/// The counts of one model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ModelCounts {
    /// Calls by how they were answered.
    pub(crate) calls: BTreeMap<&'static str, u64>,
    /// Calls for which the cache was not used, by reason.
    pub(crate) bypasses: BTreeMap<&'static str, u64>,
    /// Tokens that no backend was asked for.
    pub(crate) saved_tokens: u64,
    /// Money that was not spent.
    pub(crate) saved_cost: Money,
    /// Similar questions that were asked, by whether the kept answer was right: `right` or `wrong`.
    pub(crate) explorations: BTreeMap<&'static str, u64>,
    /// Similar questions that were ruled out, by the difference.
    pub(crate) ruled_out: BTreeMap<&'static str, u64>,
    /// Similar questions that could not be compared.
    pub(crate) failures: u64,
}

/// The counts of all models.
#[derive(Debug, Default)]
pub(crate) struct CacheCounts(Mutex<BTreeMap<Arc<str>, ModelCounts>>);

impl ModelCounts {
    /// Returns the calls that were answered without a backend.
    pub(crate) fn answered(&self) -> u64 {
        let without = [
            Outcome::Hit,
            Outcome::Stale,
            Outcome::Semantic,
            Outcome::Coalesced,
        ];
        let counts = without
            .iter()
            .filter_map(|outcome| self.calls.get(outcome.label()));
        counts.sum()
    }
}

impl CacheCounts {
    fn change(&self, model: &str, change: impl FnOnce(&mut ModelCounts)) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.contains_key(model) {
            counts.insert(model.into(), ModelCounts::default());
        }
        if let Some(counts) = counts.get_mut(model) {
            change(counts);
        }
    }

    /// Counts an ended call.
    pub(crate) fn call_ended(&self, record: &CallRecord) {
        let Some(note) = record.cache else {
            return;
        };
        self.change(&record.model, |counts| {
            *counts.calls.entry(note.outcome.label()).or_default() += 1;
            if let Some(reason) = note.bypass {
                *counts.bypasses.entry(reason.label()).or_default() += 1;
            }
            counts.saved_tokens = counts.saved_tokens.saturating_add(note.saved.tokens);
            let cost = note.saved.cost.unwrap_or_default();
            counts.saved_cost = counts.saved_cost.saturating_add(cost);
        });
    }

    /// Counts what happened to a similar question.
    pub(crate) fn semantic(&self, model: &str, event: SemanticEvent) {
        self.change(model, |counts| match event {
            SemanticEvent::RuledOut(difference) => {
                *counts.ruled_out.entry(difference.label()).or_default() += 1;
            }
            SemanticEvent::Explored(is_right) => {
                let label = if is_right { "right" } else { "wrong" };
                *counts.explorations.entry(label).or_default() += 1;
            }
            SemanticEvent::Failed => counts.failures += 1,
        });
    }

    /// Returns the counts by model.
    pub(crate) fn all(&self) -> BTreeMap<Arc<str>, ModelCounts> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
