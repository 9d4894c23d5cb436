//! The call that wakes a backend before the first caller arrives.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    llm::Endpoint,
    settings::{SettingsError, Validate, join},
};

/// The operation of the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrewarmOperation {
    /// `POST /chat/completions`.
    #[default]
    Chat,
    /// `POST /completions`.
    Completions,
    /// `POST /embeddings`.
    Embeddings,
}

/// Settings of the wake call, under `[backends.prewarm]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrewarmSettings {
    /// Whether the call is sent when the backend's lane starts: with the service, or when the backend is added while the service runs.
    /// Default `false`: it is sent only at an operator's request.
    pub at_start: bool,
    /// The operation: `chat`, `completions` or `embeddings`, with one word and one token of output. Default `chat`.
    pub operation: PrewarmOperation,
    /// The whole body of the call instead: a JSON object without `model` (which is filled in) and without `stream`.
    pub body: Option<String>,
}

impl PrewarmOperation {
    /// Returns the operation of the dialect.
    pub fn endpoint(self) -> Endpoint {
        match self {
            Self::Chat => Endpoint::Chat,
            Self::Completions => Endpoint::Completions,
            Self::Embeddings => Endpoint::Embeddings,
        }
    }

    /// Returns the smallest body to which a model answers.
    fn smallest_body(self) -> &'static str {
        match self {
            Self::Chat => r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":1}"#,
            Self::Completions => r#"{"prompt":"hi","max_tokens":1}"#,
            Self::Embeddings => r#"{"input":"hi"}"#,
        }
    }
}

impl PrewarmSettings {
    /// Returns the body without its model.
    ///
    /// # Errors
    /// Returns the reason why the configured body cannot be used.
    pub fn fields(&self) -> Result<Map<String, Value>, String> {
        let body = self.body.as_deref();
        let body = body.unwrap_or_else(|| self.operation.smallest_body());
        let fields: Map<String, Value> =
            serde_json::from_str(body).map_err(|error| format!("is not a JSON object: {error}"))?;
        if fields.contains_key("model") {
            return Err("must not have `model`, which is filled in".to_owned());
        }
        if fields
            .get("stream")
            .is_some_and(|stream| stream != &Value::Bool(false))
        {
            return Err("must not request a stream".to_owned());
        }
        Ok(fields)
    }
}

impl Validate for PrewarmSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        match self.fields() {
            Ok(_) => Vec::new(),
            Err(message) => vec![SettingsError::new(join(path, "body"), message)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_object_without_model_and_stream() {
        for body in ["", "[]", "{", r#"{"model":"a"}"#, r#"{"stream":true}"#] {
            let settings = PrewarmSettings {
                body: Some(body.to_owned()),
                ..PrewarmSettings::default()
            };
            let errors = settings.validate("p");
            assert_eq!(errors.len(), 1, "{body}");
            assert_eq!(errors[0].path, "p.body");
        }
        for operation in [
            PrewarmOperation::Chat,
            PrewarmOperation::Completions,
            PrewarmOperation::Embeddings,
        ] {
            let settings = PrewarmSettings {
                operation,
                ..PrewarmSettings::default()
            };
            assert!(settings.validate("p").is_empty());
        }
    }
}
