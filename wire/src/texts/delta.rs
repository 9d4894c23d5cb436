//! The texts of one event of a stream, and the running texts to which they belong.

use serde_json::value::RawValue;

use super::{
    Form, Text, Unreadable, object,
    walk::{self, Walk, decoded, span},
};

/// A piece of a running text, which goes on in later events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The name of the running text within its stream.
    pub name: String,
    /// The choice or block that it belongs to.
    pub group: String,
    /// The piece.
    pub text: Text,
}

/// The running texts that an event ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    /// None.
    Nothing,
    /// Those of these groups, after its own pieces.
    Groups(Vec<String>),
    /// All but those that its own pieces continue.
    Others,
}

/// The texts of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTexts {
    /// Pieces of running texts, in order.
    pub deltas: Vec<Delta>,
    /// Texts that are whole, such as the text that a response repeats at its end.
    pub wholes: Vec<Text>,
    /// The running texts that it ends.
    pub ends: Ends,
}

/// Events of responses that carry encoded data.
const ENCODED: [&str; 2] = [
    "response.audio.delta",
    "response.image_generation_call.partial_image",
];
/// The members of an event of a response that contain whole texts.
const WHOLES: [&str; 9] = [
    "text",
    "arguments",
    "refusal",
    "input",
    "code",
    "transcript",
    "part",
    "item",
    "annotation",
];

/// Returns the texts of an event of a chat, a completion, a message or a response.
///
/// # Errors
/// Returns an error if the data is not a JSON object.
pub fn of_event(data: &[u8]) -> Result<EventTexts, Unreadable> {
    let text = str::from_utf8(data).map_err(|_| Unreadable)?;
    let members = object(text)?.0;
    let find = |name: &str| {
        let found = members.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| *value)
    };
    let event = Event { whole: text };
    if let Some(choices) = find("choices") {
        return event.of_chat(choices);
    }
    let kind = find("type").and_then(|kind| decoded(kind.get()).ok());
    let kind = kind.unwrap_or_default();
    if kind.starts_with("response.") {
        return event.of_response(&kind, &members);
    }
    event.of_message(&kind, &members)
}

type Members<'a> = [(std::borrow::Cow<'a, str>, &'a RawValue)];

struct Event<'a> {
    whole: &'a str,
}

impl<'a> Event<'a> {
    fn of_chat(&self, choices: &'a RawValue) -> Result<EventTexts, Unreadable> {
        let choices: Option<Vec<&'a RawValue>> =
            serde_json::from_str(choices.get()).map_err(|_| Unreadable)?;
        let (mut deltas, mut ended) = (Vec::new(), Vec::new());
        for (place, choice) in choices.unwrap_or_default().into_iter().enumerate() {
            let members = object(choice.get())?.0;
            let group = number(&members, "index").unwrap_or_else(|| place.to_string());
            for (key, value) in &members {
                // A server that sends the whole message in each chunk is read as one that sends pieces.
                if matches!(&**key, "delta" | "message" | "text") {
                    let mut path = Running::new(self.whole, &group, &mut deltas);
                    path.value(value, if key == "text" { "text" } else { "" })?;
                }
                if key == "finish_reason" && value.get() != "null" {
                    ended.push(group.clone());
                }
            }
        }
        Ok(EventTexts {
            deltas,
            wholes: Vec::new(),
            ends: Ends::Groups(ended),
        })
    }

    fn of_message(&self, kind: &str, members: &Members<'a>) -> Result<EventTexts, Unreadable> {
        let group = number(members, "index").unwrap_or_default();
        let mut deltas = Vec::new();
        for (key, value) in members {
            if matches!(&**key, "delta" | "content_block") && kind != "message_delta" {
                Running::new(self.whole, &group, &mut deltas).value(value, "")?;
            }
        }
        let mut walk = Walk::new(self.whole);
        for (key, value) in members.iter().filter(|(key, _)| key == "message") {
            walk.value(value, key)?;
        }
        Ok(EventTexts {
            deltas,
            wholes: walk.texts,
            ends: match kind {
                "content_block_stop" => Ends::Groups(vec![group]),
                "content_block_start" | "message_delta" | "message_stop" | "error" => Ends::Others,
                // An error has no kind in some dialects.
                _ if members.iter().any(|(key, _)| key == "error") => Ends::Others,
                _ => Ends::Nothing,
            },
        })
    }

    fn of_response(&self, kind: &str, members: &Members<'a>) -> Result<EventTexts, Unreadable> {
        let mut texts = EventTexts {
            deltas: Vec::new(),
            wholes: Vec::new(),
            ends: response_ends(kind, members),
        };
        let mut walk = Walk::new(self.whole);
        for (key, value) in members {
            let json = value.get();
            if key == "delta" && json == "\"\"" {
                continue;
            }
            if key == "delta" && json.starts_with('"') && !ENCODED.contains(&kind) {
                let part = ["output_index", "content_index", "summary_index"];
                let part = part.map(|name| number(members, name).unwrap_or_default());
                let is_json = kind.contains("arguments");
                texts.deltas.push(Delta {
                    name: format!("{kind}.{}", part.join(".")),
                    group: part[0].clone(),
                    text: Text {
                        span: span(self.whole, json),
                        value: decoded(json)?,
                        form: if is_json { Form::Json } else { Form::Plain },
                        is_aside: false,
                    },
                });
            } else if key == "response" {
                for (key, value) in object(json)?.0 {
                    if key == "output" {
                        walk.value(value, &key)?;
                    }
                }
            } else if WHOLES.contains(&key.as_ref()) && !ENCODED.contains(&kind) {
                walk.value(value, key)?;
            }
        }
        texts.wholes = walk.texts;
        Ok(texts)
    }
}

/// Returns what an event of a response ends: its item or part, all of them, or nothing, such as an annotation in the
/// middle of its text.
fn response_ends(kind: &str, members: &Members<'_>) -> Ends {
    match kind {
        "response.output_item.added"
        | "response.completed"
        | "response.incomplete"
        | "response.failed"
        | "response.cancelled" => Ends::Others,
        _ if kind.strip_suffix(".done").is_some() => {
            Ends::Groups(vec![number(members, "output_index").unwrap_or_default()])
        }
        _ => Ends::Nothing,
    }
}

/// Returns a member that is a whole number, as text.
fn number(members: &Members<'_>, name: &str) -> Option<String> {
    let (_, value) = members.iter().find(|(key, _)| key == name)?;
    let number: u64 = serde_json::from_str(value.get()).ok()?;
    Some(number.to_string())
}

/// Collects the texts below a value as pieces of running texts, which are named by their paths.
struct Running<'a, 'o> {
    whole: &'a str,
    group: &'o str,
    path: String,
    depth: usize,
    out: &'o mut Vec<Delta>,
}

impl<'a, 'o> Running<'a, 'o> {
    fn new(whole: &'a str, group: &'o str, out: &'o mut Vec<Delta>) -> Self {
        Self {
            whole,
            group,
            path: String::new(),
            depth: 0,
            out,
        }
    }

    fn value(&mut self, value: &'a RawValue, key: &str) -> Result<(), Unreadable> {
        let text = value.get();
        let size = self.path.len();
        self.path.push('.');
        self.path.push_str(key);
        self.depth += 1;
        let walked = match text.as_bytes().first() {
            Some(b'{' | b'[') if self.depth > walk::DEPTH_MAX => Err(Unreadable),
            Some(b'{') => self.members(text),
            Some(b'[') => self.items(text),
            Some(b'"') => self.string(value, key),
            _ => Ok(()),
        };
        self.depth -= 1;
        self.path.truncate(size);
        walked
    }

    fn members(&mut self, text: &'a str) -> Result<(), Unreadable> {
        for (key, value) in object(text)?.0 {
            self.value(value, &key)?;
        }
        Ok(())
    }

    fn items(&mut self, text: &'a str) -> Result<(), Unreadable> {
        let items: Vec<&'a RawValue> = serde_json::from_str(text).map_err(|_| Unreadable)?;
        for (place, item) in items.into_iter().enumerate() {
            let members = item.get().starts_with('{').then(|| object(item.get()));
            let index = match members {
                Some(members) => number(&members?.0, "index"),
                None => None,
            };
            self.value(item, &index.unwrap_or_else(|| place.to_string()))?;
        }
        Ok(())
    }

    fn string(&mut self, value: &'a RawValue, key: &str) -> Result<(), Unreadable> {
        // The rules for names of members are those of whole answers.
        let mut walk = Walk::new(self.whole);
        walk.value(value, key)?;
        for text in walk.texts.into_iter().filter(|text| !text.value.is_empty()) {
            self.out.push(Delta {
                name: format!("{}{}", self.group, self.path),
                group: self.group.to_owned(),
                text,
            });
        }
        Ok(())
    }
}
