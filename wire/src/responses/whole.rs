//! Whole responses of a backend that speaks this API, and streams of which only the end is wanted.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json, value::RawValue};

use crate::{
    error::ErrorView, json, responses::events::Events, sse, stream::Problem, surrogates,
    usage::Usage, whole::Whole,
};

#[derive(Deserialize)]
struct ResponseView<'a> {
    #[serde(borrow, default)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(default)]
    output: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    usage: Option<Usage>,
}

/// Checks a whole response.
///
/// # Errors
/// Returns an error if it reports one, cannot be read, or is not at its end.
pub fn check_response(body: Bytes) -> Result<Whole, Problem> {
    // .NET servers write a byte order mark, which JSON does not have.
    let mut body = match body.strip_prefix(b"\xEF\xBB\xBF") {
        Some(text) => body.slice_ref(text),
        None => body,
    };
    body = json::as_utf8(body);
    if !json::is_valid(&body)
        && let Some(finite) = json::with_finite_numbers(&body)
    {
        body = finite;
    }
    let view = match serde_json::from_slice::<ResponseView<'_>>(&body) {
        Ok(view) => view,
        Err(_) if ErrorView::read(&body).is_some() => return Err(Problem::Error(body)),
        Err(_) if json::is_cut(&body) => return Err(Problem::Cut),
        Err(_) => return Err(Problem::Unreadable),
    };
    match view.status.as_deref() {
        Some("failed") => {
            let cause = json!({"error": view.error.unwrap_or_default()});
            return Err(Problem::Error(cause.to_string().into()));
        }
        Some("cancelled") => return Err(Problem::Failed),
        Some("queued" | "in_progress") => return Err(Problem::Cut),
        _ => {}
    }
    let is_response = view.object.as_deref() == Some("response") && view.output.is_some();
    let usage = view.usage.unwrap_or_default();
    if is_response {
        return Ok(Whole { body, usage });
    }
    match ErrorView::read(&body) {
        Some(_) => Err(Problem::Error(body)),
        None => Err(Problem::Empty),
    }
}

/// Returns the response that the last of these events holds; `None` if they hold no last event.
pub fn final_response(events: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct View<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        response: &'a RawValue,
    }
    let last = sse::events(events).last()?;
    let data = last.data?;
    let view: View<'_> = serde_json::from_slice(&data).ok()?;
    let is_final = matches!(&*view.kind, "response.completed" | "response.incomplete");
    is_final.then(|| Bytes::copy_from_slice(view.response.get().as_bytes()))
}

/// Returns the events of a whole response, for a streamed answer; `None` if it is not an object.
pub fn events_of_response(body: &[u8]) -> Option<Bytes> {
    let whole: Value = surrogates::read(body).ok()?;
    let mut begun = whole.clone();
    let members = begun.as_object_mut()?;
    members.insert("status".to_owned(), "in_progress".into());
    members.insert("output".to_owned(), json!([]));
    for key in ["usage", "completed_at", "incomplete_details"] {
        members.insert(key.to_owned(), Value::Null);
    }
    let (mut out, mut sequence) = (String::new(), 0);
    let mut events = Events {
        out: Some(&mut out),
        sequence: &mut sequence,
    };
    for kind in ["response.created", "response.in_progress"] {
        events.write(kind, || json!({"response": begun}));
    }
    let items = whole["output"].as_array().into_iter().flatten();
    for (index, item) in items.enumerate() {
        item_events(index, item, &mut events);
    }
    let kind = match whole["status"].as_str() {
        Some("incomplete") => "response.incomplete",
        _ => "response.completed",
    };
    events.write(kind, || json!({"response": whole}));
    Some(out.into())
}

fn item_events(index: usize, item: &Value, events: &mut Events<'_>) {
    let is_message = item["type"] == "message";
    let mut begun = item.clone();
    if is_message {
        begun["content"] = json!([]);
        begun["status"] = "in_progress".into();
    }
    events.write(
        "response.output_item.added",
        || json!({"output_index": index, "item": begun}),
    );
    let place = |mut members: Value| {
        members["item_id"] = item["id"].clone();
        members["output_index"] = index.into();
        members
    };
    if item["type"] == "function_call" {
        let (name, arguments) = (&item["name"], &item["arguments"]);
        events.write("response.function_call_arguments.delta", || {
            place(json!({"delta": arguments}))
        });
        events.write("response.function_call_arguments.done", || {
            place(json!({"name": name, "arguments": arguments}))
        });
    }
    let parts = item["content"].as_array().filter(|_| is_message);
    for (number, part) in parts.into_iter().flatten().enumerate() {
        part_events(number, part, place, events);
    }
    events.write(
        "response.output_item.done",
        || json!({"output_index": index, "item": item}),
    );
}

fn part_events(
    number: usize,
    part: &Value,
    place: impl Fn(Value) -> Value,
    events: &mut Events<'_>,
) {
    let (kind, key) = match part["type"].as_str() {
        Some("refusal") => ("response.refusal", "refusal"),
        _ => ("response.output_text", "text"),
    };
    let place = |mut members: Value| {
        members["content_index"] = number.into();
        place(members)
    };
    let text = part[key].as_str().unwrap_or_default();
    let mut begun = part.clone();
    begun[key] = "".into();
    let logprobs = part["logprobs"].as_array().cloned().unwrap_or_default();
    let with_logprobs = |mut members: Value| {
        if key == "text" {
            members["logprobs"] = logprobs.clone().into();
        }
        place(members)
    };
    events.write("response.content_part.added", || {
        place(json!({"part": begun}))
    });
    events.write(&format!("{kind}.delta"), || {
        with_logprobs(json!({"delta": text}))
    });
    events.write(&format!("{kind}.done"), || {
        let mut members = json!({});
        members[key] = text.into();
        with_logprobs(members)
    });
    events.write("response.content_part.done", || {
        place(json!({"part": part}))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{framing::Framing, responses::ResponseFramer};

    fn check(body: &Value) -> Result<Whole, Problem> {
        check_response(body.to_string().into())
    }

    fn response(status: &str) -> Value {
        json!({
            "id": "resp_1", "object": "response", "status": status, "usage": {"output_tokens": 5},
            "output": [
                {"id": "ws_1", "type": "web_search_call", "status": "completed"},
                {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [
                    {"type": "output_text", "text": "hi", "annotations": []}, {"type": "refusal", "refusal": "no"},
                ]},
                {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            ],
        })
    }

    #[test]
    fn only_a_response_at_its_end_is_an_answer() {
        for status in ["completed", "incomplete"] {
            assert_eq!(check(&response(status)).unwrap().usage.output, Some(5));
        }
        assert_eq!(check(&response("cancelled")), Err(Problem::Failed));
        for status in ["queued", "in_progress"] {
            assert_eq!(check(&response(status)), Err(Problem::Cut));
        }
        let mut failed = response("failed");
        failed["error"] = json!({"code": "rate_limit_exceeded", "message": "slow"});
        let expected = json!({"error": failed["error"]}).to_string();
        assert_eq!(check(&failed), Err(Problem::Error(expected.into())));
        for empty in [
            json!({}),
            json!({"object": "response"}),
            json!({"object": "list", "output": []}),
        ] {
            assert_eq!(check(&empty), Err(Problem::Empty), "{empty}");
        }
        let error = json!({"error": {"message": "no"}});
        assert!(matches!(check(&error), Err(Problem::Error(_))));
        assert!(matches!(
            check_response("<html>".into()),
            Err(Problem::Unreadable)
        ));
        let body = r#"{"object":"response","output":[{"logprob":-Infinity}]}"#;
        let whole = check_response(body.into()).unwrap();
        assert!(json::is_valid(&whole.body));
    }

    #[test]
    fn a_whole_response_becomes_a_stream_and_again_the_same_response() {
        for status in ["completed", "incomplete"] {
            let whole = response(status);
            let events = events_of_response(whole.to_string().as_bytes()).unwrap();
            let mut framer = ResponseFramer::new(1 << 20);
            let passed = framer.push(events.clone()).unwrap();
            assert_eq!(passed, events);
            assert!(framer.is_done() && framer.has_spoken());
            assert_eq!(framer.tokens(), 5);
            let again: Value = serde_json::from_slice(&final_response(&passed).unwrap()).unwrap();
            assert_eq!(again, whole);
        }
        let text = events_of_response(response("completed").to_string().as_bytes()).unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        let kinds: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("event: response."))
            .collect();
        let part = |kind: &str| {
            [
                "content_part.added".to_owned(),
                format!("{kind}.delta"),
                format!("{kind}.done"),
                "content_part.done".to_owned(),
            ]
        };
        let item = |parts: Vec<String>| {
            let (added, done) = (
                "output_item.added".to_owned(),
                "output_item.done".to_owned(),
            );
            [vec![added], parts, vec![done]].concat()
        };
        let message = [part("output_text"), part("refusal")].concat();
        let call = ["delta", "done"].map(|end| format!("function_call_arguments.{end}"));
        let expected = [
            vec!["created".to_owned(), "in_progress".to_owned()],
            item(vec![]),
            item(message),
            item(call.to_vec()),
            vec!["completed".to_owned()],
        ]
        .concat();
        assert_eq!(kinds, expected);
        assert_eq!(
            final_response(b"data: {\"type\":\"response.created\",\"response\":{}}\n\n"),
            None
        );
    }
}
