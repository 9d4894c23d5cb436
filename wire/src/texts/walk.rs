//! Walks through JSON and collects texts, by the names of members alone.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Form, Text, Unreadable};
use crate::surrogates;

/// The depth to which JSON is read; that of `serde_json`.
pub(super) const DEPTH_MAX: usize = 128;
/// The digits of the shortest number that is collected. No identifier of a person has fewer.
const DIGITS_MIN: usize = 7;

/// Members that are not texts: constants of the dialects, ids, names of tools, signatures, and encoded data.
const STRUCTURE: [&str; 37] = [
    "role",
    "type",
    "id",
    "object",
    "model",
    "name",
    "status",
    "format",
    "detail",
    "index",
    "finish_reason",
    "stop_reason",
    "stop_sequence",
    "call_id",
    "tool_call_id",
    "tool_use_id",
    "item_id",
    "file_id",
    "container_id",
    "server_label",
    "approval_request_id",
    "media_type",
    "mime_type",
    "encrypted_content",
    "encrypted_index",
    "signature",
    "thought_signature",
    "data",
    "file_data",
    "b64_json",
    "url",
    "file_url",
    "image_url",
    "obfuscation",
    "authorization",
    "authorization_token",
    "server_url",
];
/// Members below which nothing is a text.
const WITHOUT_TEXTS: [&str; 5] = [
    "logprobs",
    "top_logprobs",
    "usage",
    "cache_control",
    "headers",
];
/// The member with the name of a person or a tool. It is a text that goes along with a request.
const NAME: &str = "name";
/// The types of parts that are images.
const IMAGES: [&str; 3] = ["image", "image_url", "input_image"];

/// The members of an object, in order, including repeated ones.
pub(super) struct Entries<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Returns the members of an object.
pub(super) fn entries(text: &str) -> Result<Entries<'_>, Unreadable> {
    serde_json::from_str(text).map_err(|_| Unreadable)
}

/// Returns the number of items of a list; 1 for any other value.
pub(super) fn length(value: &RawValue) -> usize {
    let items: Result<Vec<&RawValue>, _> = serde_json::from_str(value.get());
    items.map_or(1, |items| items.len())
}

/// Returns `true` for a list that contains numbers, or lists of numbers: texts as the numbers of their tokens.
pub(super) fn is_token_ids(value: &RawValue) -> bool {
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    items.iter().any(|item| {
        let inner = item.get().strip_prefix('[').map(str::trim_start);
        is_number(inner.unwrap_or(item.get()))
    })
}

/// Returns the text of a JSON string.
pub(super) fn decoded(text: &str) -> Result<String, Unreadable> {
    serde_json::from_str(text)
        .or_else(|_| surrogates::read(text.as_bytes()))
        .map_err(|_| Unreadable)
}

/// Returns the position of a part that is borrowed from `whole`.
pub(super) fn span(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// What a walk collects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// Texts.
    Texts,
    /// The texts and the asides of a request.
    Request,
    /// The positions of probabilities.
    Probabilities,
}

/// A walk through one JSON text.
pub(super) struct Walk<'a> {
    whole: &'a str,
    depth: usize,
    /// `true` among the arguments of a tool call, where every string is a text.
    is_free: bool,
    wants: Wants,
    is_aside: bool,
    pub(super) texts: Vec<Text>,
    pub(super) images: usize,
    pub(super) probabilities: Vec<Range<usize>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(whole: &'a str) -> Self {
        Self {
            whole,
            depth: 0,
            is_free: false,
            wants: Wants::Texts,
            is_aside: false,
            texts: Vec::new(),
            images: 0,
            probabilities: Vec::new(),
        }
    }

    /// Collects only the positions of probabilities.
    pub(super) fn for_probabilities(mut self) -> Self {
        self.wants = Wants::Probabilities;
        self
    }

    /// Collects the asides of a request too.
    pub(super) fn for_request(mut self) -> Self {
        self.wants = Wants::Request;
        self
    }

    /// Collects the texts of a member of a request that is not what the model is asked.
    pub(super) fn aside(&mut self, value: &'a RawValue, key: &str) -> Result<(), Unreadable> {
        if super::CONSTANTS.contains(&key) {
            return Ok(());
        }
        let is_known = super::ASIDES.contains(&key);
        // A number there is a parameter, such as a seed.
        let is_number = !value.get().starts_with(['"', '{', '[']);
        self.is_aside = true;
        let walked = match (is_known, is_number) {
            (_, true) => Ok(()),
            (true, _) => self.value(value, key),
            (false, _) => self.free(value),
        };
        self.is_aside = false;
        walked
    }

    /// Collects all strings and long numbers of a value.
    pub(super) fn free(&mut self, value: &'a RawValue) -> Result<(), Unreadable> {
        let before = std::mem::replace(&mut self.is_free, true);
        let walked = self.value(value, "");
        self.is_free = before;
        walked
    }

    /// Collects the texts of the value of a member.
    pub(super) fn value(&mut self, value: &'a RawValue, key: &str) -> Result<(), Unreadable> {
        let text = value.get();
        if self.wants == Wants::Probabilities && key == "logprobs" && text != "null" {
            self.probabilities.push(span(self.whole, text));
            return Ok(());
        }
        match text.as_bytes().first() {
            Some(b'"') if self.wants == Wants::Probabilities => Ok(()),
            Some(b'"') => self.string(text, key),
            Some(b'{' | b'[') if self.skips(key) => Ok(()),
            Some(b'{' | b'[') if self.depth >= DEPTH_MAX => Err(Unreadable),
            Some(b'{') => self.deeper(|walk| walk.members(text)),
            Some(b'[') => self.deeper(|walk| walk.items(text, key)),
            Some(b'0'..=b'9' | b'-') if self.is_free => {
                self.number(text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns `true` if nothing below a member is a text.
    fn skips(&self, key: &str) -> bool {
        !self.is_free && self.wants != Wants::Probabilities && WITHOUT_TEXTS.contains(&key)
    }

    fn deeper(
        &mut self,
        walk: impl FnOnce(&mut Self) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.depth += 1;
        let walked = walk(self);
        self.depth -= 1;
        walked
    }

    fn members(&mut self, text: &'a str) -> Result<(), Unreadable> {
        for (key, value) in entries(text)?.0 {
            let json = value.get();
            if !self.is_free && key == "type" {
                let is_image = IMAGES.iter().any(|kind| json.trim_matches('"') == *kind);
                self.images += usize::from(is_image);
            }
            let is_container = json.starts_with(['{', '[']);
            // The arguments of a tool call are a value in some dialects.
            let is_call = is_container && matches!(&*key, "arguments" | "input");
            if is_call && self.wants != Wants::Probabilities {
                self.free(value)?;
            } else {
                self.value(value, &key)?;
            }
        }
        Ok(())
    }

    fn items(&mut self, text: &'a str, key: &str) -> Result<(), Unreadable> {
        let items: Vec<&'a RawValue> = serde_json::from_str(text).map_err(|_| Unreadable)?;
        for item in items {
            self.value(item, key)?;
        }
        Ok(())
    }

    fn string(&mut self, text: &str, key: &str) -> Result<(), Unreadable> {
        let is_name = self.wants == Wants::Request && key == NAME;
        if !self.is_free && !is_name && STRUCTURE.contains(&key) {
            return Ok(());
        }
        let is_json = !self.is_free && matches!(key, "arguments" | "partial_json");
        self.texts.push(Text {
            span: span(self.whole, text),
            value: decoded(text)?,
            form: if is_json { Form::Json } else { Form::Plain },
            is_aside: self.is_aside || is_name && !self.is_free,
        });
        Ok(())
    }

    fn number(&mut self, text: &str) {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        if digits >= DIGITS_MIN {
            self.texts.push(Text {
                span: span(self.whole, text),
                value: text.to_owned(),
                form: Form::Number,
                is_aside: self.is_aside,
            });
        }
    }
}
