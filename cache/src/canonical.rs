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
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const PLACE: Place<'_> = Place {
        owner: "a",
        tenant: "",
        model: "m",
        operation: "chat",
        streamed: false,
        guards: "",
        headers: &[],
    };

    fn read(body: &str) -> Canonical {
        Canonical::read(body.as_bytes(), &[]).unwrap()
    }

    fn key(body: &str) -> Key {
        PLACE.key(&read(body))
    }

    #[test]
    fn order_and_white_space_and_writing_do_not_count() {
        let one = r#"{"model":"m","temperature":0,"messages":[{"role":"user","content":"Ä\n"}],"x":{"b":1,"a":[1,2]}}"#;
        let other = r#" { "x" : {"a":[1.0, 2e0],"b":1}, "messages" : [ {"content":"\u00c4\u000a","role":"user"} ],
            "temperature":0.0, "model":"alias", "stream": true }"#;
        assert_eq!(key(one), key(other));
    }

    #[test]
    fn everything_else_counts() {
        let bodies = [
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"A"}]}"#,
            r#"{"messages":[{"role":"user","content":"a "}]}"#,
            r#"{"messages":[{"role":"system","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":["a"]}]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"temperature":0}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"temperature":0.1}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"temperature":null}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"temperature":"0"}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"unknown":1}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"unknown":true}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"user":"x"}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"seed":12345678901234567890}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"seed":12345678901234567891}"#,
            r#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"\ud800"}]}"#,
            r#"{"messages":[{"role":"user","content":"\ud801"}]}"#,
            r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#,
            r#"{"messages":[{"role":"user","content":"b","content":"a"}]}"#,
            r#"{"input":"a"}"#,
            r#"{"input":["a"]}"#,
            r#"{"input":["a",""]}"#,
        ];
        let keys: std::collections::BTreeSet<Key> = bodies.iter().map(|body| key(body)).collect();
        assert_eq!(keys.len(), bodies.len());
    }

    #[test]
    fn a_place_counts_and_cannot_be_shifted() {
        let body = read(r#"{"input":"a"}"#);
        let places = [
            PLACE,
            Place {
                owner: "b",
                ..PLACE
            },
            Place {
                tenant: "a",
                owner: "",
                ..PLACE
            },
            Place {
                tenant: "t",
                ..PLACE
            },
            Place {
                model: "n",
                ..PLACE
            },
            Place {
                operation: "embeddings",
                ..PLACE
            },
            Place {
                streamed: true,
                ..PLACE
            },
            Place {
                guards: "g",
                ..PLACE
            },
            Place {
                headers: &[("a", b"b")],
                ..PLACE
            },
            Place {
                headers: &[("a", b"c")],
                ..PLACE
            },
            Place {
                headers: &[("ab", b"")],
                ..PLACE
            },
            Place {
                headers: &[("a", b"b"), ("c", b"d")],
                ..PLACE
            },
        ];
        let keys: std::collections::BTreeSet<Key> =
            places.iter().map(|place| place.key(&body)).collect();
        assert_eq!(keys.len(), places.len());
        assert_eq!(PLACE.group(&body), None);
        let turned = Place {
            headers: &[("c", b"d"), ("a", b"b")],
            ..PLACE
        };
        assert!(keys.contains(&turned.key(&body)));
        let chat = read(r#"{"messages":[{"role":"user","content":"a"}]}"#);
        assert_ne!(turned.group(&chat), PLACE.group(&chat));
    }

    #[test]
    fn ignored_members_do_not_count() {
        let ignored = ["user".to_owned()];
        let of = |body: &str| PLACE.key(&Canonical::read(body.as_bytes(), &ignored).unwrap());
        assert_eq!(of(r#"{"input":"a","user":"x"}"#), of(r#"{"input":"a"}"#));
        // The rules see them nevertheless.
        let ignored = ["web_search_options".to_owned(), "store".to_owned()];
        let body = br#"{"input":"a","store":true,"web_search_options":{}}"#;
        let facts = Canonical::read(body, &ignored).unwrap().facts;
        assert!(facts.searches && facts.stores);
        // Only at the top.
        assert_ne!(
            of(r#"{"input":"a","o":{"user":"x"}}"#),
            of(r#"{"input":"a","o":{}}"#)
        );
    }

    #[test]
    fn a_group_differs_in_all_but_the_last_question() {
        let chat = |system: &str, question: &str| {
            json!({"temperature": 0, "messages": [
                {"role": "system", "content": system}, {"role": "user", "content": question}]})
            .to_string()
        };
        let group = |body: &str| PLACE.group(&read(body));
        assert_eq!(group(&chat("s", "a")), group(&chat("s", "b")));
        assert!(group(&chat("s", "a")).is_some());
        assert_ne!(group(&chat("s", "a")), group(&chat("t", "a")));
        assert_eq!(read(&chat("s", "a")).question.as_deref(), Some("a"));
        let parts = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#;
        assert_eq!(read(parts).question.as_deref(), Some("a"));
        for none in [
            r#"{"messages":[{"role":"assistant","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","x":1}]}]}"#,
            r#"{"messages":[]}"#,
            r#"{"messages":7}"#,
            r#"{"prompt":"a"}"#,
        ] {
            assert_eq!((group(none), read(none).question), (None, None), "{none}");
        }
    }

    #[test]
    fn facts_are_read() {
        let of = |body: &str| read(body).facts;
        assert_eq!(of(r#"{"temperature":0.5}"#).temperature, Some(0.5));
        assert_eq!(of(r#"{"temperature":null}"#).temperature, None);
        assert!(of(r#"{"tools":[{}]}"#).has_tools && !of(r#"{"tools":[]}"#).has_tools);
        assert!(of(r#"{"functions":[1]}"#).has_tools);
        assert!(of(r#"{"store":true}"#).stores && !of(r#"{"store":false}"#).stores);
        assert!(of(r#"{"n":2}"#).many && !of(r#"{"n":1}"#).many);
        let image = |url: &str| {
            json!({"messages": [{"role": "user", "content":
                [{"type": "image_url", "image_url": {"url": url}}]}]})
            .to_string()
        };
        assert!(of(&image("https://a.example/b.png")).refers);
        for address in [
            "file:///a.png",
            "FTP://a/b",
            "//a.example/b",
            " https://a",
            "gs://a",
            "a.png",
        ] {
            assert!(of(&image(address)).refers, "{address}");
        }
        let escaped = r#"{"input":[{"image_url":"\u0068ttp://a"}]}"#;
        assert!(of(escaped).refers);
        for inside in ["data:image/png;base64,AA", "DATA:,a", ""] {
            assert!(!of(&image(inside)).refers, "{inside}");
        }
        assert!(of(r#"{"file_ids":["f"]}"#).refers);
        assert!(of(r#"{"messages":[{"role":"user","content":"a","file_ids":["f"]}]}"#).refers);
        assert!(
            of(r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}"#)
                .refers
        );
    }

    #[test]
    fn what_lets_a_server_search_is_seen() {
        let of = |body: &str| read(body).facts.searches;
        for body in [
            r#"{"web_search_options":{}}"#,
            r#"{"plugins":[{"id":"web"}]}"#,
            r#"{"data_sources":[{"type":"azure_search"}]}"#,
            r#"{"search_parameters":{"mode":"auto"}}"#,
            r#"{"enable_search":true}"#,
            r#"{"tools":[{"type":"function","function":{}},{"type":"web_search_20250305"}]}"#,
            r#"{"tools":[{"type":"file_search"}]}"#,
            r#"{"tools":[{"google_search":{}}]}"#,
            r#"{"tools":[{"type":"builtin_function","function":{"name":"$web_search"}}]}"#,
        ] {
            assert!(of(body), "{body}");
        }
        for body in [
            r#"{"web_search_options":null}"#,
            r#"{"plugins":[]}"#,
            r#"{"enable_search":false}"#,
            r#"{"tools":[{"type":"function","function":{"name":"search"}}]}"#,
            r#"{"tools":[{"name":"search","input_schema":{}}]}"#,
            r#"{"tools":[]}"#,
        ] {
            assert!(!of(body), "{body}");
        }
    }

    #[test]
    fn what_is_not_an_object_or_too_deep_is_unreadable() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(80), "]".repeat(80));
        for body in ["", "[]", "7", "{", deep.as_str()] {
            assert_eq!(
                Canonical::read(body.as_bytes(), &[]),
                Err(Unreadable),
                "{body}"
            );
        }
    }

    /// A JSON value of a few levels.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..4)
                    .prop_map(|map| json!(map)),
            ]
        })
    }

    /// Writes a value with its members in the opposite order and with white space.
    fn otherwise(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let members = map.iter().rev();
                let members = members.map(|(name, value)| {
                    format!("{} :\n{}", Value::from(name.as_str()), otherwise(value))
                });
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
            }
            Value::Array(list) => {
                let items: Vec<String> = list.iter().map(otherwise).collect();
                format!("[ {} ]", items.join("\t,"))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn equal_bodies_have_one_key_and_others_have_others(left in value(), right in value()) {
            let body = |value: &Value| json!({"input": value}).to_string();
            prop_assert_eq!(key(&body(&left)), key(&format!("{{\"input\" : {} }}", otherwise(&left))));
            prop_assert_eq!(left == right, key(&body(&left)) == key(&body(&right)));
        }
    }
}
