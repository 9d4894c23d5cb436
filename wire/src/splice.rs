//! Replaces the model's name in a request without parsing or encoding the rest again.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{native::Native, request::ModelRequest};

/// Returns the request with the value of its `model` key replaced; all other bytes stay unchanged.
#[must_use]
pub fn with_model(request: &ModelRequest, model: &str) -> ModelRequest {
    let name = if request.form.is_some() {
        model.to_owned()
    } else {
        quoted(model)
    };
    let (body, model_span) = replaced(&request.body, &request.model_span, &name);
    ModelRequest {
        body,
        model_span,
        ..request.clone()
    }
}

/// Returns the body of a caller's own dialect with the value of its `model` key replaced.
pub fn native_with_model(native: &Native, model: &str) -> Bytes {
    replaced(&native.body, &native.model_span, &quoted(model)).0
}

fn quoted(model: &str) -> String {
    serde_json::Value::from(model).to_string()
}

/// Replaces the part of the body at `span` by a name. Returns the body and the position of the name in it.
fn replaced(body: &Bytes, span: &Range<usize>, name: &str) -> (Bytes, Range<usize>) {
    let (Some(before), Some(after)) = (body.get(..span.start), body.get(span.end..)) else {
        debug_assert!(false, "the span lies within the body");
        return (body.clone(), span.clone());
    };
    if &body[span.clone()] == name.as_bytes() {
        return (body.clone(), span.clone());
    }
    let mut renamed = BytesMut::with_capacity(before.len() + name.len() + after.len());
    renamed.put_slice(before);
    renamed.put_slice(name.as_bytes());
    renamed.put_slice(after);
    (renamed.freeze(), span.start..span.start + name.len())
}

/// Returns the model's name in the request; it is empty if the span does not contain JSON text.
pub fn model_of(request: &ModelRequest) -> String {
    let quoted: &[u8] = request
        .body
        .get(request.model_span.clone())
        .unwrap_or_default();
    if request.form.is_some() {
        return String::from_utf8_lossy(quoted).into_owned();
    }
    serde_json::from_slice(quoted).unwrap_or_default()
}

/// Returns the body, with the model's name replaced if `model` is `Some`.
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
    use crate::{native::NativeApi, request::Endpoint};

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
        let native = Native {
            api: NativeApi::Messages,
            is_required: false,
            body: request.body.clone(),
            model_span: request.model_span.clone(),
        };
        let native = native_with_model(&native, "org/\"q\" model");
        assert_eq!(native, renamed.body);
        assert_eq!(
            with_model(&request, "a").body.as_ptr(),
            request.body.as_ptr()
        );
    }
}
