//! The smallest call that wakes a backend, from its settings.

use std::time::Duration;

use bytes::Bytes;
use kebne_lane::CallOptions;
use serde_json::Value;

use crate::{
    backend::BuildError,
    llm::ModelRequest,
    settings::{BackendSettings, Settings},
};

/// Returns the call and its deadline.
///
/// # Errors
/// Returns an error if the configured body is not a JSON object; validated settings never cause this.
pub(crate) fn call(
    backend: &BackendSettings,
    settings: &Settings,
) -> Result<(ModelRequest, CallOptions), BuildError> {
    let request = request(backend, &model_name(backend, settings))?;
    let mut options = CallOptions::within(deadline(backend, settings)).idempotent();
    options.bytes = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
    options.cost = 2;
    Ok((request, options))
}

fn request(backend: &BackendSettings, model: &str) -> Result<ModelRequest, BuildError> {
    let fields = backend.prewarm.fields();
    let fields = fields.map_err(|reason| BuildError::Setting {
        backend: backend.name.clone(),
        key: "prewarm.body",
        reason,
    })?;
    let (head, model) = (r#"{"model":"#, Value::from(model).to_string());
    let comma = if fields.is_empty() { "" } else { "," };
    let fields = Value::Object(fields).to_string();
    let rest = fields.strip_prefix('{').unwrap_or(&fields);
    let body = format!("{head}{model}{comma}{rest}");
    Ok(ModelRequest::new(
        backend.prewarm.operation.endpoint(),
        Bytes::from(body),
        head.len()..head.len() + model.len(),
        format!("prewarm-{:016x}", fastrand::u64(..)).into(),
    ))
}

/// Returns the callers' name of the model that this backend serves first, or the backend's own name for it.
fn model_name(backend: &BackendSettings, settings: &Settings) -> String {
    let serves = |model: &&crate::settings::ModelSettings| {
        model.backend_names().any(|name| *name == backend.name)
    };
    let model = settings.models.iter().find(serves);
    model.map_or_else(
        || backend.name.clone(),
        |model| {
            let upstream = model.upstream.get(&backend.name);
            upstream.unwrap_or(&model.name).clone()
        },
    )
}

/// Returns the deadline. No caller waits for the answer, so it is that of the longest call or wake call.
fn deadline(backend: &BackendSettings, settings: &Settings) -> Duration {
    let longest = settings.server.deadline_max.0;
    longest.max(backend.limits.wake_timeout.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Endpoint;
    use kebne_wire::splice;

    fn settings(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_call_is_small_and_bears_the_model_that_the_backend_serves() {
        let own = settings("[[backends]]\nname = 'a\"b'");
        let (request, options) = call(&own.backends[0], &own).unwrap();
        assert_eq!(splice::model_of(&request), "a\"b");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            (&body["model"], &body["max_tokens"]),
            (&Value::from("a\"b"), &Value::from(1))
        );
        assert!(options.deadline >= Duration::from_mins(10));

        let routed = settings(
            "[[backends]]\nname = 'b'\n[backends.prewarm]\noperation = 'embeddings'\nbody = '{\"input\": [\"x\"], \"stream\": false}'\n[[models]]\nname = 'm'\nbackends = ['b']\nupstream = {b = 'u'}",
        );
        let (request, _) = call(&routed.backends[0], &routed).unwrap();
        assert_eq!(
            (request.endpoint, splice::model_of(&request)),
            (Endpoint::Embeddings, "u".to_owned())
        );
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["input"][0], "x");
    }
}
