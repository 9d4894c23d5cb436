//! The canonical form of a call, and the keys that are made of it.
//!
//! Two bodies have one key if they are the same JSON apart from white space, the order of members, the writing of characters in strings, and
//! the writing of whole numbers (`1`, `1.0`, `1e0`). Every other member counts, known or not, because it may change the answer. A member
//! that occurs twice is not merged: which of the two counts depends on the server.

use std::fmt::{self, Write as _};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// The deepest nesting of a body.
const DEPTH_MAX: usize = 64;
/// The members that no answer depends on, or that the kind of the answer is made of. The model is replaced by its own name.
const LEFT_OUT: [&str; 4] = [
    "model",
    "stream",
    "prompt_cache_key",
    "prompt_cache_retention",
];
/// The members with which the servers of several vendors are told to search.
pub(crate) const SEARCHES: [&str; 9] = [
    "web_search_options",
    "plugins",
    "data_sources",
    "search_parameters",
    "enable_search",
    "search_options",
    "web_search",
    "enable_web_search",
    "connectors",
];
/// What stands in the place of the last question in the key of a group. No JSON text contains it.
const QUESTION: &str = "\u{1}question";
/// The version of the form: another one gives other keys.
const VERSION: &str = "kebne-cache-2";

/// The key of a kept answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 32]);

/// The body is not a JSON object, or is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body cannot be brought into its canonical form")]
pub struct Unreadable;

/// What the rules of the cache need of a body.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub struct Facts {
    /// The temperature; `None` if the body names none.
    pub temperature: Option<f64>,
    /// `true` if it offers tools or functions.
    pub has_tools: bool,
    /// `true` if it lets the server search: what is found changes.
    pub searches: bool,
    /// `true` if it asks the server to keep the answer.
    pub stores: bool,
    /// `true` if it refers to files or addresses whose content may change.
    pub refers: bool,
    /// `true` if it asks for more than one answer.
    pub many: bool,
}

/// A body in its canonical form, as digests.
#[derive(Clone, Debug, PartialEq)]
pub struct Canonical {
    exact: [u8; 32],
    group: Option<[u8; 32]>,
    /// The text of the last message, if it is the user's and nothing but text.
    pub question: Option<String>,
    /// What the rules need.
    pub facts: Facts,
}

/// What a key depends on besides the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The owner of the answer, whose data it is.
    pub owner: &'a str,
    /// The tenant below the owner that the call names.
    pub tenant: &'a str,
    /// The model, by its own name.
    pub model: &'a str,
    /// The operation, and the dialect if the answer is passed on in it.
    pub operation: &'a str,
    /// `true` for a streamed answer.
    pub streamed: bool,
    /// What the guards of the call do: another configuration is another key.
    pub guards: &'a str,
    /// The headers that are sent to the backend and may change the answer, by name. Their order does not count.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl Key {
    /// Returns the key in hexadecimal digits.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            // Writing to a string does not fail.
            let _always_written = write!(text, "{byte:02x}");
        }
        text
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.hex())
    }
}

impl Place<'_> {
    /// Returns the key of a call.
    pub fn key(&self, body: &Canonical) -> Key {
        self.digest("exact", &body.exact)
    }

    /// Returns the key of all calls that differ only in their last question; `None` if the call has no such question.
    pub fn group(&self, body: &Canonical) -> Option<Key> {
        body.group.map(|group| self.digest("group", &group))
    }

    fn digest(&self, kind: &str, body: &[u8; 32]) -> Key {
        let mut hash = Sha256::new();
        let streamed = if self.streamed { "stream" } else { "whole" };
        let parts = [
            VERSION,
            kind,
            self.owner,
            self.tenant,
            self.model,
            self.operation,
            streamed,
            self.guards,
        ];
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let mut headers = self.headers.to_vec();
        headers.sort_unstable();
        hash.update(headers.len().to_le_bytes());
        for (name, value) in headers {
            for part in [name.as_bytes(), value] {
                hash.update(part.len().to_le_bytes());
                hash.update(part);
            }
        }
        hash.update(body);
        Key(hash.finalize().into())
    }
}

impl Canonical {
    /// Reads a body. Members of its top level that are in `ignored` do not count in the key; the rules see them.
    ///
    /// # Errors
    /// Returns an error if it is not a JSON object, or is nested too deeply.
    pub fn read(body: &[u8], ignored: &[String]) -> Result<Self, Unreadable> {
        let Members(mut members) = serde_json::from_slice(body).map_err(|_| Unreadable)?;
        let mut facts = facts(&members);
        members.retain(|(name, _)| {
            !LEFT_OUT.contains(&name.as_str()) && !ignored.iter().any(|one| one == name)
        });
        let mut exact = Vec::with_capacity(body.len());
        let question = write_members(&mut members, &mut exact, &mut facts)?;
        let group = question.as_ref().and_then(|question| {
            let mut group = Vec::with_capacity(exact.len());
            group.extend_from_slice(exact.get(..question.at.start)?);
            group.extend_from_slice(QUESTION.as_bytes());
            group.extend_from_slice(exact.get(question.at.end..)?);
            Some(Sha256::digest(group).into())
        });
        Ok(Self {
            exact: Sha256::digest(&exact).into(),
            group,
            question: question.map(|question| question.text),
            facts,
        })
    }
}

/// The last question of a body, and its place in the canonical form.
struct Question {
    text: String,
    at: std::ops::Range<usize>,
}

/// The members of an object in their order, those that occur twice included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

fn facts(members: &[(String, &RawValue)]) -> Facts {
    let mut facts = Facts::default();
    for (name, raw) in members {
        let value = raw.get();
        let is_set = !matches!(value, "null" | "false" | "[]" | "\"none\"");
        refers(name, raw, &mut facts);
        match name.as_str() {
            "temperature" => facts.temperature = value.parse().ok(),
            "tools" => {
                facts.has_tools |= is_set;
                facts.searches |= is_set && offers_search(value);
            }
            "functions" | "mcp_servers" => facts.has_tools |= is_set,
            name if SEARCHES.contains(&name) => facts.searches |= is_set,
            "store" => facts.stores |= is_set,
            "n" | "best_of" => facts.many |= is_set && value != "1",
            _ => {}
        }
    }
    facts
}

/// Returns `true` if the server itself would carry out one of these tools, and what it finds may change. Functions, and tools without a type
/// or with one of their own names, are carried out by the caller.
fn offers_search(tools: &str) -> bool {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    // Some servers name the search by a member in the place of a type.
    let Ok(tools) = serde_json::from_str::<Vec<&RawValue>>(tools) else {
        return true;
    };
    tools.into_iter().any(|tool| {
        let kind = match serde_json::from_str::<Tool>(tool.get()) {
            Ok(Tool { kind: Some(kind) }) => kind.to_ascii_lowercase(),
            Ok(Tool { kind: None }) => {
                let members = serde_json::from_str::<Members<'_>>(tool.get());
                return members.is_ok_and(|Members(members)| {
                    members
                        .iter()
                        .any(|(name, _)| is_search(&name.to_ascii_lowercase()))
                });
            }
            Err(_) => return true,
        };
        is_search(&kind)
    })
}

/// Returns `true` for the kind of a tool that searches.
fn is_search(kind: &str) -> bool {
    let parts = [
        "search",
        "fetch",
        "retriev",
        "mcp",
        "brows",
        "builtin_function",
    ];
    parts.iter().any(|part| kind.contains(part))
}

/// Writes the members of a body. Returns its last question.
fn write_members(
    members: &mut [(String, &RawValue)],
    out: &mut Vec<u8>,
    facts: &mut Facts,
) -> Result<Option<Question>, Unreadable> {
    members.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut question = None;
    out.push(b'{');
    for (name, value) in members.iter() {
        write_text(name, out);
        out.push(b':');
        if name == "messages" {
            question = write_messages(value, out, facts)?;
        } else {
            write(value, out, facts, DEPTH_MAX)?;
        }
        out.push(b',');
    }
    out.push(b'}');
    Ok(question)
}

/// Writes the messages of a chat. Returns the text of the last one if it is the user's.
fn write_messages(
    messages: &RawValue,
    out: &mut Vec<u8>,
    facts: &mut Facts,
) -> Result<Option<Question>, Unreadable> {
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(messages.get()) else {
        write(messages, out, facts, DEPTH_MAX)?;
        return Ok(None);
    };
    let Some((last, earlier)) = list.split_last() else {
        write(messages, out, facts, DEPTH_MAX)?;
        return Ok(None);
    };
    out.push(b'[');
    for message in earlier {
        write(message, out, facts, DEPTH_MAX - 1)?;
        out.push(b',');
    }
    let question = write_last(last, out, facts)?;
    out.extend_from_slice(b",]");
    Ok(question)
}

/// Writes the last message. Returns its text if it is the user's.
fn write_last(
    message: &RawValue,
    out: &mut Vec<u8>,
    facts: &mut Facts,
) -> Result<Option<Question>, Unreadable> {
    let Ok(Members(mut members)) = serde_json::from_str(message.get()) else {
        write(message, out, facts, DEPTH_MAX - 1)?;
        return Ok(None);
    };
    let is_user = members
        .iter()
        .any(|(name, value)| name == "role" && value.get() == "\"user\"");
    let once = members.iter().filter(|(name, _)| name == "content").count() == 1;
    members.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut question = None;
    out.push(b'{');
    for (name, value) in &members {
        refers(name, value, facts);
        write_text(name, out);
        out.push(b':');
        let start = out.len();
        write(value, out, facts, DEPTH_MAX - 2)?;
        if name == "content" && is_user && once {
            let at = start..out.len();
            question = only_text(value).map(|text| Question { text, at });
        }
        out.push(b',');
    }
    out.push(b'}');
    Ok(question)
}

/// Returns the text of a content that is a text, or a list of one text.
fn only_text(content: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        #[serde(rename = "type")]
        kind: String,
        text: String,
    }
    if let Ok(text) = serde_json::from_str::<String>(content.get()) {
        return Some(text);
    }
    let parts: Vec<Part> = serde_json::from_str(content.get()).ok()?;
    match <[Part; 1]>::try_from(parts) {
        Ok([part]) if part.kind == "text" => Some(part.text),
        _ => None,
    }
}

/// Writes a value.
fn write(
    value: &RawValue,
    out: &mut Vec<u8>,
    facts: &mut Facts,
    depth: usize,
) -> Result<(), Unreadable> {
    let text = value.get();
    let depth = depth.checked_sub(1).ok_or(Unreadable)?;
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(mut members) = serde_json::from_str(text).map_err(|_| Unreadable)?;
            members.sort_by(|(left, _), (right, _)| left.cmp(right));
            out.push(b'{');
            for (name, member) in members {
                refers(&name, member, facts);
                write_text(&name, out);
                out.push(b':');
                write(member, out, facts, depth)?;
                out.push(b',');
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Unreadable)?;
            out.push(b'[');
            for item in items {
                write(item, out, facts, depth)?;
                out.push(b',');
            }
            out.push(b']');
        }
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(plain) => write_text(&plain, out),
            // Half of a surrogate pair is no text, but servers take it.
            Err(_) => out.extend_from_slice(text.as_bytes()),
        },
        _ => write_number(text, out),
    }
    Ok(())
}

/// Notes a member that refers to a file, or to an address whose content may change.
fn refers(name: &str, value: &RawValue, facts: &mut Facts) {
    // Whatever is not in the call itself (`data:`) is somewhere else: a file, a server, or relative to either.
    let is_address = || match serde_json::from_str::<String>(value.get()) {
        Ok(text) => {
            let text = text.trim();
            let scheme = text.get(..5).unwrap_or(text);
            !text.is_empty() && !scheme.eq_ignore_ascii_case("data:")
        }
        // A text that is none, such as half of a surrogate pair.
        Err(_) => value.get().starts_with('"'),
    };
    facts.refers |= match name {
        "file_id" | "file_ids" | "vector_store_ids" => value.get() != "null",
        "url" | "uri" | "image_url" | "file_url" | "video_url" | "audio_url" | "file_uri"
        | "fileUri" => is_address(),
        _ => false,
    };
}

/// Writes a text. Its length goes before it, so that no text can look like what follows it.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.len().to_string().as_bytes());
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
}

/// Writes a number, or one of the names `true`, `false` and `null`. A whole number below 2^53 has one form.
fn write_number(text: &str, out: &mut Vec<u8>) {
    /// Above it not every whole number is a float.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    let is_written_otherwise = text.contains(['.', 'e', 'E']);
    let whole = text
        .parse::<f64>()
        .ok()
        .filter(|number| is_written_otherwise && number.fract() == 0.0 && number.abs() < WHOLE_MAX);
    match whole {
        Some(number) => out.extend_from_slice(format!("{number:.0}").as_bytes()),
        None => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests;
