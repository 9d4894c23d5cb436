//! Settings of what is kept beside the turns of a session, under `[context.memory]`.

use std::time::Duration;

use kebne_settings::{ByteCount, HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

use crate::budget::{Bounds, Parts};

/// Settings of summaries, facts and recalled turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemorySettings {
    /// The model that summarizes turns which leave the budget. Default none: no summaries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_model: Option<String>,
    /// The largest number of tokens of the summary in a call, and the largest answer of the model; 16 to 65536. Default 512.
    pub summary_tokens_max: u64,
    /// The number of turns that must have left the budget before they are summarized; 1 to 1000. Default 4.
    pub summarize_after: u64,
    /// The model that extracts facts from turns. Default none: only facts that callers add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts_model: Option<String>,
    /// The number of new turns after which facts are extracted; 1 to 1000. Default 4.
    pub facts_after: u64,
    /// The largest number of facts of a session; 1 to 1000. Default 100.
    pub facts_max: u64,
    /// The largest text of a fact; 16B to 16KiB. Default 1KiB.
    pub fact_size_max: ByteCount,
    /// The largest number of tokens of all facts in a call; at most 65536. Default 256.
    pub facts_tokens_max: u64,
    /// The number of older turns that are put before a question which they resemble, unless the call's `x-kebne-recall` sets
    /// it; at most 32. Default 0.
    pub recall: usize,
    /// The largest number of tokens of recalled turns in a call; at most 65536. Default 1024.
    pub recall_tokens_max: u64,
    /// The number of tokens of the newest turns that neither the summary nor facts, collections or recalled turns take away.
    /// Default 1024.
    pub history_tokens_min: u64,
    /// The largest number of tokens of turns that are given to a model at once; 256 to 1048576. Default 2048.
    pub batch_tokens_max: u64,
    /// The number of sessions that may wait for a summary or for facts; 1 to 100000. A session that finds no room waits for
    /// its next turn. Default 256.
    pub queue_max: usize,
    /// The number of sessions that are summarized at once; 1 to 64. Default 1.
    pub at_once: usize,
    /// The time for an answer of these models, the wait for one that loads included; 1s to 1h. Default 5m.
    pub timeout: HumanDuration,
    /// The memory for the indexes in which sessions are searched; 1MiB to 64GiB. Default 64MiB.
    pub search_size_max: ByteCount,
    /// The time without a search after which the index of a session is dropped; 1s to 1d. Default 5m.
    pub search_idle: HumanDuration,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            summary_model: None,
            summary_tokens_max: 512,
            summarize_after: 4,
            facts_model: None,
            facts_after: 4,
            facts_max: 100,
            fact_size_max: ByteCount::from_kib(1),
            facts_tokens_max: 256,
            recall: 0,
            recall_tokens_max: 1024,
            history_tokens_min: 1024,
            batch_tokens_max: 2048,
            queue_max: 256,
            at_once: 1,
            timeout: HumanDuration::from_secs(300),
            search_size_max: ByteCount::from_mib(64),
            search_idle: HumanDuration::from_secs(300),
        }
    }
}

impl MemorySettings {
    /// Returns the rules by which the budget of a call is divided; `retrieval` is the rule of passages of collections.
    pub fn rules(&self, retrieval: Bounds) -> Parts<Bounds> {
        Parts {
            summary: Bounds::at_most(self.summary_tokens_max),
            facts: Bounds::at_most(self.facts_tokens_max),
            retrieval,
            recall: Bounds::at_most(self.recall_tokens_max),
            history: Bounds {
                least: self.history_tokens_min,
                ..Bounds::REST
            },
        }
    }
}

impl Validate for MemorySettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        for (key, model) in [
            ("summary_model", &self.summary_model),
            ("facts_model", &self.facts_model),
        ] {
            let is_named = model.as_deref().is_none_or(|model| !model.is_empty());
            require(is_named, key, "must be the name of a model");
        }
        let fits = (16..=65_536).contains(&self.summary_tokens_max);
        require(fits, "summary_tokens_max", "must be 16 to 65536");
        for (key, value) in [
            ("summarize_after", self.summarize_after),
            ("facts_after", self.facts_after),
            ("facts_max", self.facts_max),
        ] {
            require((1..=1000).contains(&value), key, "must be 1 to 1000");
        }
        let size = ByteCount(16)..=ByteCount::from_kib(16);
        let fits = size.contains(&self.fact_size_max);
        require(fits, "fact_size_max", "must be 16B to 16KiB");
        for (key, value) in [
            ("facts_tokens_max", self.facts_tokens_max),
            ("recall_tokens_max", self.recall_tokens_max),
        ] {
            require(value <= 65_536, key, "must be at most 65536");
        }
        require(self.recall <= 32, "recall", "must be at most 32");
        let fits = (256..=1_048_576).contains(&self.batch_tokens_max);
        require(fits, "batch_tokens_max", "must be 256 to 1048576");
        let fits = (1..=100_000).contains(&self.queue_max);
        require(fits, "queue_max", "must be 1 to 100000");
        require(
            (1..=64).contains(&self.at_once),
            "at_once",
            "must be 1 to 64",
        );
        let times = Duration::from_secs(1)..=Duration::from_hours(1);
        let fits = times.contains(&self.timeout.0);
        require(fits, "timeout", "must be 1s to 1h");
        let size = ByteCount::from_mib(1)..=ByteCount::from_mib(64 << 10);
        let fits = size.contains(&self.search_size_max);
        require(fits, "search_size_max", "must be 1MiB to 64GiB");
        let times = Duration::from_secs(1)..=Duration::from_hours(24);
        let fits = times.contains(&self.search_idle.0);
        require(fits, "search_idle", "must be 1s to 1d");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        let path = "context.memory";
        assert!(MemorySettings::default().validate(path).is_empty());
        let wrong = MemorySettings {
            summary_model: Some(String::new()),
            summary_tokens_max: 1,
            summarize_after: 0,
            facts_model: Some(String::new()),
            facts_after: 0,
            facts_max: 1001,
            fact_size_max: ByteCount(1),
            facts_tokens_max: 70_000,
            recall: 33,
            recall_tokens_max: 70_000,
            history_tokens_min: 0,
            batch_tokens_max: 1,
            queue_max: 0,
            at_once: 0,
            timeout: HumanDuration(Duration::ZERO),
            search_size_max: ByteCount(1),
            search_idle: HumanDuration(Duration::ZERO),
        };
        assert_eq!(wrong.validate(path).len(), 16);
    }
}
