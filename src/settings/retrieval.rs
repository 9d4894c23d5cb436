//! Settings of searches in calls, under `[retrieval]` and in a model's `retrieval`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::{HumanDuration, SettingsError, Validate, join};

/// The most collections of one call or one model.
pub const COLLECTIONS_MAX: usize = 8;

/// Settings of searches: how what is found is brought into its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalSettings {
    /// The model that ranks what is found, one of `[[models]]` whose backends have `/v1/rerank`. Default none: the order of the search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank_model: Option<String>,
    /// The most chunks that a model ranks; 1 to 100. Default 30.
    pub rerank_candidates: usize,
    /// The time for the ranking, after which the order of the search stays; 10 ms to 1 min. Default 2 s.
    pub rerank_timeout: HumanDuration,
    /// The share of the relevance in maximal marginal relevance for searches in calls, 0 to 1. Default none: only the relevance counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relevance_share: Option<f32>,
}

impl Default for RetrievalSettings {
    fn default() -> Self {
        Self {
            rerank_model: None,
            rerank_candidates: 30,
            rerank_timeout: HumanDuration(Duration::from_secs(2)),
            relevance_share: None,
        }
    }
}

impl Validate for RetrievalSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let fits = (1..=100).contains(&self.rerank_candidates);
        require(fits, "rerank_candidates", "must be 1 to 100");
        let times = Duration::from_millis(10)..=Duration::from_mins(1);
        let fits = times.contains(&self.rerank_timeout.0);
        require(fits, "rerank_timeout", "must be 10ms to 1min");
        let fits = is_share(self.relevance_share);
        require(fits, "relevance_share", "must be 0 to 1");
        errors
    }
}

/// The collections in which each call of a model searches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelRetrievalSettings {
    /// The ids of the collections, 1 to 8.
    pub collections: Vec<String>,
    /// The tenant to which they belong; empty without keys. All who may call the model get answers from them.
    pub owner: String,
    /// The maximum number of tokens of what is found; 50 to 1000000. It takes the place of
    /// `collections.prompt_tokens_max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_max: Option<u64>,
    /// The maximum number of chunks; 1 to 50. It takes the place of `collections.prompt_sources_max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources_max: Option<usize>,
    /// The share of the relevance in maximal marginal relevance, 0 to 1. It takes the place of that of `[retrieval]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relevance_share: Option<f32>,
}

impl Validate for ModelRetrievalSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let fits = (1..=COLLECTIONS_MAX).contains(&self.collections.len())
            && self.collections.iter().all(|id| !id.is_empty());
        require(fits, "collections", "must be the ids of 1 to 8 collections");
        let fits = self
            .tokens_max
            .is_none_or(|max| (50..=1_000_000).contains(&max));
        require(fits, "tokens_max", "must be 50 to 1000000");
        let fits = self.sources_max.is_none_or(|max| (1..=50).contains(&max));
        require(fits, "sources_max", "must be 1 to 50");
        let fits = is_share(self.relevance_share);
        require(fits, "relevance_share", "must be 0 to 1");
        errors
    }
}

fn is_share(share: Option<f32>) -> bool {
    share.is_none_or(|share| (0.0..=1.0).contains(&share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(
            RetrievalSettings::default()
                .validate("retrieval")
                .is_empty()
        );
        let wrong = RetrievalSettings {
            rerank_candidates: 0,
            rerank_timeout: HumanDuration(Duration::ZERO),
            relevance_share: Some(1.5),
            ..RetrievalSettings::default()
        };
        let keys = |errors: Vec<SettingsError>| {
            errors
                .into_iter()
                .map(|error| error.path)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            keys(wrong.validate("r")),
            [
                "r.rerank_candidates",
                "r.rerank_timeout",
                "r.relevance_share"
            ]
        );
        let wrong = ModelRetrievalSettings {
            tokens_max: Some(1),
            sources_max: Some(51),
            relevance_share: Some(-1.0),
            ..ModelRetrievalSettings::default()
        };
        assert_eq!(
            keys(wrong.validate("m")),
            [
                "m.collections",
                "m.tokens_max",
                "m.sources_max",
                "m.relevance_share"
            ]
        );
    }
}
