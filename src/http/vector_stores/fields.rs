//! Fields of requests, and their bounds.

use std::collections::BTreeMap;

use kebne_collections::{Attribute, Attributes, ChunkRules, Rules};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::surface::error::ApiError;

/// The number of entries of metadata, and the longest name and value of one, as in `OpenAI`'s API.
const METADATA_MAX: (usize, usize, usize) = (16, 64, 512);
/// The longest name or description, in characters.
const TEXT_MAX: usize = 512;
/// The days without use after which a vector store may expire.
const DAYS: std::ops::RangeInclusive<u32> = 1..=365;

/// When a vector store expires.
#[derive(Debug, Deserialize)]
pub(super) struct ExpiresAfter {
    anchor: String,
    days: u32,
}

/// How texts are cut.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum ChunkingStrategy {
    Auto,
    Static {
        #[serde(rename = "static")]
        rules: StaticRules,
    },
}

#[derive(Debug, Deserialize)]
pub(super) struct StaticRules {
    max_chunk_size_tokens: usize,
    chunk_overlap_tokens: usize,
}

fn wrong(param: &str, message: impl Into<String>) -> ApiError {
    ApiError::bad_request(Some(param), message)
}

impl ExpiresAfter {
    /// Returns the days.
    pub(super) fn days(&self) -> Result<u32, ApiError> {
        if self.anchor != "last_active_at" || !DAYS.contains(&self.days) {
            let message =
                "`expires_after` must have the anchor `last_active_at` and 1 to 365 `days`";
            return Err(wrong("expires_after", message));
        }
        Ok(self.days)
    }
}

/// Returns the rules of a strategy.
pub(super) fn rules(strategy: Option<&ChunkingStrategy>) -> Result<Rules, ApiError> {
    let Some(ChunkingStrategy::Static { rules }) = strategy else {
        return Ok(Rules::default());
    };
    let rules = ChunkRules {
        tokens_max: rules.max_chunk_size_tokens,
        overlap: rules.chunk_overlap_tokens,
    };
    let message = "`max_chunk_size_tokens` must be 100 to 4096, and `chunk_overlap_tokens` at most half of it";
    rules
        .check()
        .map_err(|_| wrong("chunking_strategy", message))?;
    Ok(rules.into())
}

/// Returns rules as a strategy.
pub(super) fn strategy(rules: Rules) -> Value {
    json!({"type": "static", "static": {
        "max_chunk_size_tokens": rules.tokens_max, "chunk_overlap_tokens": rules.overlap,
    }})
}

/// Checks a name or a description.
pub(super) fn text(param: &str, text: Option<String>) -> Result<Option<String>, ApiError> {
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > TEXT_MAX)
    {
        let message = format!("`{param}` has at most {TEXT_MAX} characters");
        return Err(wrong(param, message));
    }
    Ok(text)
}

/// Checks metadata.
pub(super) fn metadata(
    metadata: Option<BTreeMap<String, String>>,
) -> Result<Option<BTreeMap<String, String>>, ApiError> {
    let (entries, name, value) = METADATA_MAX;
    let fits = |metadata: &BTreeMap<String, String>| {
        let mut each = metadata.iter();
        metadata.len() <= entries
            && each.all(|(key, text)| key.chars().count() <= name && text.chars().count() <= value)
    };
    if metadata.as_ref().is_some_and(|metadata| !fits(metadata)) {
        let message = format!(
            "`metadata` has at most {entries} texts of at most {value} characters, with names of at most {name}"
        );
        return Err(wrong("metadata", message));
    }
    Ok(metadata)
}

/// Checks attributes.
pub(super) fn attributes(attributes: Option<Attributes>) -> Result<Attributes, ApiError> {
    let attributes = attributes.unwrap_or_default();
    let checked = Attribute::check(&attributes);
    checked.map_err(|error| wrong("attributes", error.to_string()))?;
    Ok(attributes)
}
