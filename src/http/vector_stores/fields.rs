//! Fields of requests, and their bounds.

use std::collections::BTreeMap;

use kebne_collections::{Attribute, Attributes, ChunkRules, Counts, Rules};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::{
    sources::object::{self, AttributeFields, Object, Whole},
    surface::error::ApiError,
};

/// The number of entries of metadata, and the longest name and value of one, as in `OpenAI`'s API.
const METADATA_MAX: (usize, usize, usize) = (16, 64, 512);
/// The longest name or description, in characters.
const TEXT_MAX: usize = 512;
/// The days without use after which a vector store may expire.
const DAYS: std::ops::RangeInclusive<u32> = 1..=365;
/// The days after which files of a vector store may be removed.
const FILE_DAYS: std::ops::RangeInclusive<u32> = 1..=3650;

/// When a vector store expires.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpiresAfter {
    anchor: String,
    days: Whole,
}

/// When the files of a vector store are removed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileExpiresAfter {
    anchor: String,
    days: Whole,
}

/// How texts are cut.
pub(super) type ChunkingStrategy = Object<Strategy>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Strategy {
    #[serde(rename = "type")]
    kind: StrategyKind,
    #[serde(rename = "static")]
    rules: Option<Object<StaticRules>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StrategyKind {
    Auto,
    Static,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticRules {
    max_chunk_size_tokens: Whole,
    chunk_overlap_tokens: Whole,
}

/// A field of a change.
#[derive(Debug, Default)]
pub(super) enum Given<T> {
    /// It is not there, and the value stays.
    #[default]
    Absent,
    /// It is `null`, and the value is removed.
    Null,
    /// The new value.
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        Option::deserialize(field).map(|value| value.map_or(Self::Null, Self::Value))
    }
}

impl<T> Given<T> {
    /// Reads the value.
    ///
    /// # Errors
    /// Returns the error of `read`.
    pub(super) fn read<U>(
        self,
        read: impl FnOnce(T) -> Result<U, ApiError>,
    ) -> Result<Given<U>, ApiError> {
        Ok(match self {
            Self::Absent => Given::Absent,
            Self::Null => Given::Null,
            Self::Value(value) => Given::Value(read(value)?),
        })
    }
}

impl<T> From<Given<T>> for Option<Option<T>> {
    fn from(given: Given<T>) -> Self {
        match given {
            Given::Absent => None,
            Given::Null => Some(None),
            Given::Value(value) => Some(Some(value)),
        }
    }
}

fn wrong(param: &str, message: impl Into<String>) -> ApiError {
    ApiError::bad_request(Some(param), message)
}

impl ExpiresAfter {
    /// Returns the days.
    pub(super) fn days(&self) -> Result<u32, ApiError> {
        let days = u32::try_from(self.days.0).ok();
        let days = days.filter(|days| DAYS.contains(days) && self.anchor == "last_active_at");
        let message = "`expires_after` must have the anchor `last_active_at` and 1 to 365 `days`";
        days.ok_or_else(|| wrong("expires_after", message))
    }
}

impl FileExpiresAfter {
    /// Returns the days.
    pub(super) fn days(&self) -> Result<u32, ApiError> {
        let days = u32::try_from(self.days.0).ok();
        let days = days.filter(|days| FILE_DAYS.contains(days) && self.anchor == "created_at");
        let message = "`file_expires_after` must have the anchor `created_at` and 1 to 3650 `days`";
        days.ok_or_else(|| wrong("file_expires_after", message))
    }
}

/// Returns the rules of a strategy.
pub(super) fn rules(strategy: Option<&ChunkingStrategy>) -> Result<Rules, ApiError> {
    let Some(Object(strategy)) = strategy else {
        return Ok(Rules::default());
    };
    let rules = match (strategy.kind, &strategy.rules) {
        (StrategyKind::Auto, None) => return Ok(Rules::default()),
        (StrategyKind::Static, Some(Object(rules))) => rules,
        _ => {
            let message = "`static` belongs to the type `static` of a `chunking_strategy`, which must have it";
            return Err(wrong("chunking_strategy", message));
        }
    };
    let size = |number: Whole| usize::try_from(number.0).unwrap_or(usize::MAX);
    let rules = ChunkRules {
        tokens_max: size(rules.max_chunk_size_tokens),
        overlap: size(rules.chunk_overlap_tokens),
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

/// Returns the numbers of files by their states.
pub(super) fn counts(counts: Counts) -> Value {
    json!({
        "in_progress": counts.in_progress, "completed": counts.completed, "failed": counts.failed,
        "cancelled": counts.cancelled, "total": counts.total(),
    })
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
pub(super) fn attributes(fields: Option<AttributeFields>) -> Result<Attributes, ApiError> {
    let attributes = fields.map(object::attributes).unwrap_or_default();
    let checked = Attribute::check(&attributes);
    checked.map_err(|error| wrong("attributes", error.to_string()))?;
    Ok(attributes)
}
