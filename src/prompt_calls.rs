//! The calls with prompts, counted by version.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kebne_context::prompts::Chosen;
use kebne_lane::Ending;

use crate::record::CallRecord;

/// The most versions that are counted; calls with further ones are not.
const VERSIONS_MAX: usize = 4096;

/// What was counted of one version since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionCalls {
    /// The calls by their endings, in the order of [`Ending::ALL`].
    pub endings: [u64; Ending::ALL.len()],
    /// The tokens that backends reported for prompts.
    pub input_tokens: u64,
    /// The tokens that backends reported for answers.
    pub output_tokens: u64,
    /// The cost, in billionths of the currency.
    pub cost_nano: u64,
    /// The time of all calls that succeeded.
    pub time: Duration,
}

impl VersionCalls {
    /// Returns the number of calls.
    pub fn calls(&self) -> u64 {
        self.endings.iter().sum()
    }

    /// Returns the number of calls that ended in this way.
    pub fn with(&self, ending: Ending) -> u64 {
        let counted = Ending::ALL.iter().zip(self.endings);
        let mut counted = counted.filter(|(other, _)| **other == ending);
        counted.next().map_or(0, |(_, count)| count)
    }

    /// Returns the mean time of the calls that succeeded.
    pub fn mean_time(&self) -> Option<Duration> {
        let succeeded = u32::try_from(self.with(Ending::Success)).ok()?;
        self.time.checked_div(succeeded)
    }
}

/// The calls with prompts. Only calls with a prompt take the lock.
#[derive(Debug, Default)]
pub struct PromptCalls(Mutex<HashMap<Chosen, VersionCalls>>);

impl PromptCalls {
    /// Counts an ended call.
    pub fn count(&self, chosen: &Chosen, record: &CallRecord) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !counted.contains_key(chosen) && counted.len() >= VERSIONS_MAX {
            return;
        }
        let version = counted.entry(chosen.clone()).or_default();
        let endings = Ending::ALL.iter().zip(&mut version.endings);
        for (_, count) in endings.filter(|(ending, _)| **ending == record.ending) {
            *count += 1;
        }
        version.input_tokens += record.usage.input.unwrap_or_default();
        version.output_tokens += record.usage.output.unwrap_or_default();
        let cost = record.consumed.cost.unwrap_or_default().nano();
        version.cost_nano = version.cost_nano.saturating_add(cost);
        if record.ending == Ending::Success {
            version.time += record.total();
        }
    }

    /// Returns what was counted, by version.
    pub fn all(&self) -> Vec<(Chosen, VersionCalls)> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = counted
            .iter()
            .map(|(chosen, calls)| (chosen.clone(), calls.clone()))
            .collect();
        all.sort_by_key(|(one, _)| one.reference());
        all
    }

    /// Returns what was counted of one version.
    pub fn of(&self, chosen: &Chosen) -> VersionCalls {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.get(chosen).cloned().unwrap_or_default()
    }
}
