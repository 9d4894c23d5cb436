//! The envelope of events: `CloudEvents` 1.0 in the structured JSON mode (CNCF, "JSON Event Format for `CloudEvents`").

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

/// The version of the specification.
const SPECVERSION: &str = "1.0";
/// The type of the content of data.
pub(crate) const JSON: &str = "application/json";
/// The longest name of an extension attribute; the specification recommends 20 characters and this bounds what is kept.
const NAME_MAX: usize = 64;

/// One event.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CloudEvent {
    /// The version of the specification.
    pub specversion: SpecVersion,
    /// The id; unique together with the source.
    pub id: String,
    /// The context in which it happened, a URI reference.
    pub source: String,
    /// The type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about, within the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The type of the content of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// The schema of the data, a URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// Further attributes: small letters and digits, with a text, a number or a boolean each.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, Value>,
    /// The data as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

/// The version of the specification, which is the same for all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpecVersion;

impl Serialize for SpecVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(SPECVERSION)
    }
}

/// The reason why bytes are not an event.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They are not a JSON object.
    #[error("it is not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// A required attribute is missing or empty.
    #[error("the attribute `{0}` is missing or empty")]
    Missing(&'static str),
    /// An attribute is of the wrong type.
    #[error("the attribute `{0}` is not a text")]
    NotText(String),
    /// The name of an attribute has other characters than small letters and digits, or is too long.
    #[error("`{0}` is not the name of an attribute")]
    Name(String),
    /// The version of the specification is another one.
    #[error("`specversion` is `{0}` and not `1.0`")]
    Version(String),
    /// The data is in base64, which this reader does not take.
    #[error("the data is binary (`data_base64`)")]
    Binary,
}

/// The reason why an event cannot be written: its data cannot be shown as JSON.
#[derive(Debug, thiserror::Error)]
#[error("the event cannot be written as JSON: {0}")]
pub struct WriteError(#[from] serde_json::Error);

impl CloudEvent {
    /// Reads an event in the structured JSON mode.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes)?;
        if members.contains_key("data_base64") {
            return Err(ReadError::Binary);
        }
        let data = members.remove("data");
        let version = required(&mut members, "specversion")?;
        if version != SPECVERSION {
            return Err(ReadError::Version(version));
        }
        Ok(Self {
            specversion: SpecVersion,
            id: required(&mut members, "id")?,
            source: required(&mut members, "source")?,
            kind: required(&mut members, "type")?,
            subject: optional(&mut members, "subject")?,
            time: optional(&mut members, "time")?,
            datacontenttype: optional(&mut members, "datacontenttype")?,
            dataschema: optional(&mut members, "dataschema")?,
            extensions: extensions(members)?,
            data: data.filter(|data| data.get() != "null"),
        })
    }

    /// Returns the event in the structured JSON mode.
    ///
    /// # Errors
    /// Fails if an extension has the name of an attribute, or a value that JSON does not have.
    pub fn to_json(&self) -> Result<Vec<u8>, WriteError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Sets the data to a value, as JSON.
    ///
    /// # Errors
    /// Fails if the value cannot be shown as JSON.
    pub fn with_data(mut self, data: &impl Serialize) -> Result<Self, WriteError> {
        self.data = Some(serde_json::value::to_raw_value(data)?);
        self.datacontenttype = Some(JSON.to_owned());
        Ok(self)
    }
}

type Members = BTreeMap<String, Box<RawValue>>;

fn required(members: &mut Members, name: &'static str) -> Result<String, ReadError> {
    let text = optional(members, name)?;
    text.filter(|text| !text.is_empty())
        .ok_or(ReadError::Missing(name))
}

fn optional(members: &mut Members, name: &str) -> Result<Option<String>, ReadError> {
    let Some(value) = members.remove(name) else {
        return Ok(None);
    };
    let text = serde_json::from_str(value.get());
    text.map_err(|_| ReadError::NotText(name.to_owned()))
}

fn extensions(members: Members) -> Result<BTreeMap<String, Value>, ReadError> {
    let mut extensions = BTreeMap::new();
    for (name, value) in members {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fits) {
            return Err(ReadError::Name(name));
        }
        let value: Value = serde_json::from_str(value.get())?;
        match value {
            Value::Null => {}
            Value::Array(_) | Value::Object(_) => return Err(ReadError::NotText(name)),
            value => _ = extensions.insert(name, value),
        }
    }
    Ok(extensions)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<CloudEvent, ReadError> {
        CloudEvent::from_json(value.to_string().as_bytes())
    }

    #[test]
    fn what_is_written_is_read_again_with_its_data_unchanged() {
        let text = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","subject":"s","partitionkey":"k","data":{"b":1.0,"a": [ ]}}"#;
        let event = CloudEvent::from_json(text.as_bytes()).unwrap();
        assert_eq!(event.data.as_ref().unwrap().get(), r#"{"b":1.0,"a": [ ]}"#);
        assert_eq!(event.extensions["partitionkey"], "k");
        let again = CloudEvent::from_json(&event.to_json().unwrap()).unwrap();
        assert_eq!(again.to_json().unwrap(), event.to_json().unwrap());
        assert_eq!(again.subject.as_deref(), Some("s"));
    }

    #[test]
    fn what_is_not_an_event_is_refused_with_the_reason() {
        let good = json!({"specversion": "1.0", "id": "1", "source": "/a", "type": "t"});
        assert!(read(&good).unwrap().data.is_none());
        for (name, value, reason) in [
            ("id", json!(""), "`id` is missing"),
            ("id", json!(7), "`id` is not a text"),
            ("source", Value::Null, "`source` is missing"),
            ("specversion", json!("0.3"), "`0.3`"),
            ("Upper", json!("x"), "`Upper`"),
            ("nested", json!({}), "`nested`"),
            ("data_base64", json!("AA=="), "binary"),
        ] {
            let mut wrong = good.clone();
            wrong[name] = value;
            let error = read(&wrong).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(CloudEvent::from_json(b"[]").is_err());
        assert!(CloudEvent::from_json(b"\xff").is_err());
    }
}
