//! Finds the sentence for a person in an error.

use serde_json::Value;

/// Bytes of a text that is not JSON. Longer texts are not written for a caller.
const TEXT_MAX: usize = 1 << 10;

/// Lists and objects within each other that are read.
const DEPTH_MAX: u8 = 4;

/// The members that hold the sentence, the most specific first.
const MEMBERS: [&str; 8] = [
    "message",
    "msg",
    "detail",
    "errors",
    "error_description",
    "Message",
    "faultstring",
    "title",
];

/// Returns the sentence of an error, or an empty text. `error` is the value of the error itself, `inner` the object with
/// its members, and `outer` the object around both.
pub(super) fn message_of(error: &Value, inner: &Value, outer: &Value) -> String {
    let of_member = |holder: &Value, key: &str| words(holder.get(key)?, DEPTH_MAX);
    let sentence = of_member(inner, "message")
        .or_else(|| of_member(outer, "message"))
        .or_else(|| words(error, DEPTH_MAX))
        .or_else(|| words(outer, DEPTH_MAX))
        .or_else(|| of_member(outer, "fault"))
        .or_else(|| words(outer.pointer("/base_resp/status_msg")?, DEPTH_MAX));
    // What a server behind this one said.
    let behind = inner
        .pointer("/metadata/raw")
        .or_else(|| outer.get("OriginalMessage"));
    let behind = behind.and_then(Value::as_str).and_then(reported);
    match (sentence, behind) {
        (Some(sentence), Some(behind)) if !sentence.contains(&behind) => {
            format!("{sentence}: {behind}")
        }
        (sentence, behind) => sentence.or(behind).unwrap_or_default(),
    }
}

/// Returns a text that is not JSON or a page of HTML, in one line. Returns `None` if nobody can read it.
pub(super) fn plain_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let is_markup = text.starts_with(['<', '{', '[']);
    let has_controls = text.contains(|letter: char| letter.is_control() && !letter.is_whitespace());
    if text.is_empty() || is_markup || has_controls {
        return None;
    }
    let words = text[..text.floor_char_boundary(TEXT_MAX)].split_whitespace();
    Some(words.collect::<Vec<_>>().join(" "))
}

/// Returns the sentence in the text that another server sent.
fn reported(text: &str) -> Option<String> {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            let error = value.get("error").unwrap_or(&value);
            words(error, DEPTH_MAX).or_else(|| words(&value, DEPTH_MAX))
        }
        Err(_) => plain_text(text.as_bytes()),
    }
}

/// Returns the sentence in a value: a text, the texts of a list, or a member of an object. Invalid fields, as FastAPI and
/// Pydantic list them, are named.
fn words(value: &Value, depth: u8) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(items) => {
            let each = items.iter().filter_map(|item| words(item, depth));
            Some(each.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
        }
        Value::Object(members) => {
            let mut members = MEMBERS.iter().filter_map(|key| members.get(*key));
            let sentence = members.find_map(|member| words(member, depth))?;
            let place = value.get("loc").and_then(Value::as_array);
            Some(match place.map(|place| path(place)) {
                Some(place) => format!("`{place}`: {sentence}"),
                None => sentence,
            })
        }
        _ => None,
    }
}

/// Returns the path to a field.
fn path(place: &[Value]) -> String {
    let names = place.iter().filter_map(|name| match name {
        Value::String(name) => Some(name.clone()),
        Value::Number(position) => Some(position.to_string()),
        _ => None,
    });
    names.collect::<Vec<_>>().join(".")
}
