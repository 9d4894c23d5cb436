//! Puts another model name into a request without parsing or re-encoding the rest.

use bytes::{BufMut, Bytes, BytesMut};

use crate::request::ModelRequest;

/// Returns the request with the value of its `model` key replaced; every other byte stays.
#[must_use]
pub fn with_model(request: &ModelRequest, model: &str) -> ModelRequest {
    let span = &request.model_span;
    let quoted = serde_json::Value::from(model).to_string();
    let (Some(before), Some(after)) =
        (request.body.get(..span.start), request.body.get(span.end..))
    else {
        debug_assert!(false, "the span lies within the body");
        return request.clone();
    };
    if &request.body[span.clone()] == quoted.as_bytes() {
        return request.clone();
    }
    let mut body = BytesMut::with_capacity(before.len() + quoted.len() + after.len());
    body.put_slice(before);
    body.put_slice(quoted.as_bytes());
    body.put_slice(after);
    ModelRequest {
        body: body.freeze(),
        model_span: span.start..span.start + quoted.len(),
        ..request.clone()
    }
}

/// Returns the model's name as the request has it; empty when the span holds no JSON text.
pub fn model_of(request: &ModelRequest) -> String {
    let quoted: &[u8] = request
        .body
        .get(request.model_span.clone())
        .unwrap_or_default();
    serde_json::from_slice(quoted).unwrap_or_default()
}

/// Returns the body under another name where one is set.
pub fn body_for(request: &ModelRequest, model: Option<&str>) -> Bytes {
    match model {
        Some(model) => with_model(request, model).body,
        None => request.body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::request::Endpoint;

    #[test]
    fn only_the_name_changes_and_can_be_changed_again() {
        let text = r#"{ "x":1e2,"model" : "a", "y":[ ]}"#;
        let start = text.find("\"a\"").unwrap();
        let request = ModelRequest::new(
            Endpoint::Chat,
            Bytes::from_static(text.as_bytes()),
            start..start + 3,
            Arc::from("r"),
        );
        let renamed = with_model(&request, "org/\"q\" model");
        assert_eq!(
            renamed.body,
            r#"{ "x":1e2,"model" : "org/\"q\" model", "y":[ ]}"#
        );
        assert_eq!(model_of(&renamed), "org/\"q\" model");
        assert_eq!(with_model(&renamed, "a").body, request.body);
        assert_eq!(
            with_model(&request, "a").body.as_ptr(),
            request.body.as_ptr()
        );
    }
}
