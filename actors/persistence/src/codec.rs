//! How events and states become bytes, and how those of an old version become those of today.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::journal::Payload;

/// Why a value could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// Turns values into bytes and back: Pekko's `EventAdapter` and serializer together.
pub trait Codec<T>: Send + Sync + 'static {
    /// Writes a value.
    ///
    /// # Errors
    /// When the value has no form in bytes; the event is then rejected before anything is written.
    fn encode(&self, value: &T) -> Result<Payload, CodecError>;

    /// Reads a value, which an older version may have written: none if it means nothing any more, or several if one is
    /// several today. A snapshot is one value.
    ///
    /// # Errors
    /// When the bytes are not understood; the recovery then fails.
    fn decode(&self, payload: &Payload) -> Result<Vec<T>, CodecError>;
}

type Upcast = Arc<dyn Fn(Value) -> Result<Vec<Value>, CodecError> + Send + Sync>;

/// JSON, with a version of its shape in the manifest.
///
/// ```
/// use kebne_persistence::{Codec, Json, Payload};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Deserialize, PartialEq, Serialize)]
/// struct ItemAdded {
///     name: String,
///     count: u32,
/// }
///
/// // Version 1 had no count.
/// let json = Json::version(2).upcast(1, |mut event| {
///     event["count"] = 1.into();
///     Ok(vec![event])
/// });
/// let old = Payload { manifest: "1".to_owned(), bytes: br#"{"name":"tea"}"#.to_vec() };
/// let events: Vec<ItemAdded> = json.decode(&old)?;
/// assert_eq!(events, [ItemAdded { name: "tea".to_owned(), count: 1 }]);
/// # Ok::<(), kebne_persistence::CodecError>(())
/// ```
#[derive(Clone)]
pub struct Json {
    version: u32,
    upcasts: BTreeMap<u32, Upcast>,
}

impl Default for Json {
    fn default() -> Self {
        Self::version(1)
    }
}

impl Json {
    /// Creates a codec that writes this version of the shape, and reads it and older ones.
    pub fn version(version: u32) -> Self {
        Self {
            version,
            upcasts: BTreeMap::new(),
        }
    }

    /// Sets how a value of version `from` becomes values of the next version; default as it is.
    #[must_use]
    pub fn upcast(
        mut self,
        from: u32,
        upcast: impl Fn(Value) -> Result<Vec<Value>, CodecError> + Send + Sync + 'static,
    ) -> Self {
        self.upcasts.insert(from, Arc::new(upcast));
        self
    }

    fn raise(&self, from: u32, value: Value) -> Result<Vec<Value>, CodecError> {
        let mut values = vec![value];
        for (_, upcast) in self.upcasts.range(from..self.version) {
            let mut raised = Vec::new();
            for value in values {
                raised.extend(upcast(value)?);
            }
            values = raised;
        }
        Ok(values)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Codec<T> for Json {
    fn encode(&self, value: &T) -> Result<Payload, CodecError> {
        let bytes = serde_json::to_vec(value).map_err(|error| CodecError(error.to_string()))?;
        Ok(Payload {
            manifest: self.version.to_string(),
            bytes,
        })
    }

    fn decode(&self, payload: &Payload) -> Result<Vec<T>, CodecError> {
        let manifest = &payload.manifest;
        let unknown = |_| CodecError(format!("`{manifest}` is not a version"));
        let version: u32 = manifest.parse().map_err(unknown)?;
        if version > self.version {
            let newest = self.version;
            let message = format!("version {version} is newer than {newest}, the newest known");
            return Err(CodecError(message));
        }
        let malformed = |error: serde_json::Error| CodecError(error.to_string());
        if version == self.version {
            let value = serde_json::from_slice(&payload.bytes).map_err(malformed)?;
            return Ok(vec![value]);
        }
        let value = serde_json::from_slice(&payload.bytes).map_err(malformed)?;
        let values = self.raise(version, value)?.into_iter();
        values
            .map(|value| serde_json::from_value(value).map_err(malformed))
            .collect()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Json")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
