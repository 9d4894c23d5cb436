//! Settings of the embedder, under `[embedder]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::{HumanDuration, SettingsError, Validate, join};

/// Settings of the embedder that collections, the cache and routes use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedderSettings {
    /// The model that makes the vectors, one of `[[models]]` whose backends have `/v1/embeddings`. Default none: the embedder that is built
    /// in, which needs no model and knows nothing of meaning.
    pub model: Option<String>,
    /// The version of the model. Vectors of another version are made anew. Default none.
    pub version: String,
    /// What stands before each text that is searched for, for models that require it, such as `query: `. Default none.
    pub query_prefix: String,
    /// What stands before each text that is found, such as `passage: `. Default none.
    pub document_prefix: String,
    /// The most texts of one call of the model; 1 to 2048. Default 32.
    pub batch_max: usize,
    /// The time for the vectors of a question, 10 ms to 10 min; a search goes on without them. Default 5 s.
    pub timeout: HumanDuration,
    /// The time for the vectors of documents, 1 s to 1 h, before they are asked for again. Default 2 min.
    pub document_timeout: HumanDuration,
}

impl Default for EmbedderSettings {
    fn default() -> Self {
        Self {
            model: None,
            version: String::new(),
            query_prefix: String::new(),
            document_prefix: String::new(),
            batch_max: 32,
            timeout: HumanDuration(Duration::from_secs(5)),
            document_timeout: HumanDuration(Duration::from_mins(2)),
        }
    }
}

impl Validate for EmbedderSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let is_named = self.model.as_deref().is_none_or(|model| !model.is_empty());
        require(is_named, "model", "must be the name of a model");
        let fits = (1..=2048).contains(&self.batch_max);
        require(fits, "batch_max", "must be 1 to 2048");
        let fits = (Duration::from_millis(10)..=Duration::from_mins(10)).contains(&self.timeout.0);
        require(fits, "timeout", "must be 10ms to 10min");
        let times = Duration::from_secs(1)..=Duration::from_hours(1);
        let fits = times.contains(&self.document_timeout.0);
        require(fits, "document_timeout", "must be 1s to 1h");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(EmbedderSettings::default().validate("embedder").is_empty());
        let wrong = EmbedderSettings {
            model: Some(String::new()),
            batch_max: 0,
            timeout: HumanDuration(Duration::ZERO),
            document_timeout: HumanDuration(Duration::ZERO),
            ..EmbedderSettings::default()
        };
        let errors = wrong.validate("embedder");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        let keys = ["model", "batch_max", "timeout", "document_timeout"];
        assert_eq!(paths, keys.map(|key| format!("embedder.{key}")));
    }
}
