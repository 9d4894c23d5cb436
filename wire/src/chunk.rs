//! Reads the parts of a chunk that determine the state of the stream, in one pass and without copying.

mod shape;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

pub(crate) use shape::Shape;

use crate::usage::Usage;

/// The number of choices that one answer may have. OpenAI allows 128, and a list of prompts multiplies it.
pub(crate) const CHOICES_MAX: usize = 4096;

/// Finish reasons that report a failure: vLLM and SGLang `abort`, OpenRouter `error`, DeepSeek
/// `insufficient_system_resource`, Zhipu `network_error`.
const FAILED: [&str; 6] = [
    "abort",
    "aborted",
    "cancelled",
    "error",
    "insufficient_system_resource",
    "network_error",
];

/// The state of a choice according to its finish reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It continues: the reason is absent, null, empty or not a string.
    #[default]
    Open,
    /// A reason such as `stop` or `length`.
    Ended,
    /// A reason that reports a failure.
    Failed,
}

/// One choice of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent")]
pub(crate) struct ChoiceView {
    pub(crate) index: Option<u32>,
    pub(crate) finish: Finish,
    /// `true` if it contains more than the role.
    pub(crate) speaks: bool,
    /// `true` if it has a message, a delta or a text that is not null.
    pub(crate) has_message: bool,
    /// `true` if it has a message, but no delta.
    pub(crate) lacks_delta: bool,
    /// `true` if it calls a tool.
    pub(crate) has_calls: bool,
    /// `true` if it has an error that is not empty.
    pub(crate) has_error: bool,
}

/// One chunk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkView {
    /// The choices; `None` if the chunk has no list of choices.
    pub(crate) choices: Option<Vec<ChoiceView>>,
    /// `true` if a field may make this chunk an error, so that it must be read as a whole.
    pub(crate) is_suspect: bool,
    /// The usage, if it is present.
    pub(crate) usage: Option<Usage>,
    /// `true` if it has no field other than those read here.
    pub(crate) is_bare: bool,
}

impl<'de> Deserialize<'de> for ChunkView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Chunk;
        impl<'de> Visitor<'de> for Chunk {
            type Value = ChunkView;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ChunkView, A::Error> {
                let mut view = ChunkView {
                    is_bare: true,
                    ..ChunkView::default()
                };
                while let Some(Key(key)) = fields.next_key()? {
                    match key {
                        ChunkKey::Choices => {
                            view.choices = fields.next_value::<Choices>()?.0;
                            let mut choices = view.choices.iter().flatten();
                            view.is_suspect |= choices.any(|choice| choice.has_error);
                        }
                        ChunkKey::Usage => {
                            view.usage = fields.next_value()?;
                        }
                        ChunkKey::Error => {
                            view.is_suspect |= !fields.next_value::<Presence>()?.is_empty();
                        }
                        ChunkKey::Type => {
                            fields.next_value::<IgnoredAny>()?;
                        }
                        ChunkKey::Object => {
                            view.is_bare = false;
                            view.is_suspect |= fields.next_value::<Presence>()? == Presence::Error;
                        }
                        ChunkKey::Other => {
                            view.is_bare = false;
                            fields.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                view.is_suspect |= view.choices.is_none();
                Ok(view)
            }
        }
        deserializer.deserialize_map(Chunk)
    }
}

/// A key that is compared while it is read.
struct Key<K>(K);

#[derive(Clone, Copy)]
enum ChunkKey {
    Choices,
    Usage,
    Error,
    Object,
    Type,
    Other,
}

#[derive(Clone, Copy)]
enum ChoiceKey {
    Index,
    Finish,
    Text,
    Delta,
    Message,
    Error,
    Other,
}

impl From<&str> for ChunkKey {
    fn from(key: &str) -> Self {
        match key {
            "choices" => Self::Choices,
            "usage" => Self::Usage,
            "error" => Self::Error,
            "object" => Self::Object,
            "type" => Self::Type,
            _ => Self::Other,
        }
    }
}

impl From<&str> for ChoiceKey {
    fn from(key: &str) -> Self {
        match key {
            "index" => Self::Index,
            "finish_reason" => Self::Finish,
            "text" => Self::Text,
            "delta" => Self::Delta,
            "message" => Self::Message,
            "error" => Self::Error,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MessageKey {
    /// Not part of the content.
    Role,
    ToolCalls,
    Other,
}

impl From<&str> for MessageKey {
    fn from(key: &str) -> Self {
        match key {
            "role" => Self::Role,
            "tool_calls" => Self::ToolCalls,
            _ => Self::Other,
        }
    }
}

impl<'de, K: for<'a> From<&'a str>> Deserialize<'de> for Key<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<K>(std::marker::PhantomData<K>);
        impl<K: for<'a> From<&'a str>> Visitor<'_> for Text<K> {
            type Value = Key<K>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<K>, E> {
                Ok(Key(K::from(key)))
            }
        }
        deserializer.deserialize_str(Text(std::marker::PhantomData))
    }
}

/// The kind of a value: any value is read, and none is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Null,
    /// False, or an empty string, list or object.
    Empty,
    Number(u64),
    /// A string that is a failed reason, including `error`.
    Failed,
    Error,
    Text,
    Other,
}

impl Presence {
    fn is_empty(self) -> bool {
        matches!(self, Self::Null | Self::Empty)
    }
}

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Presence;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Presence, E> {
                Ok(Presence::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Presence, E> {
                Ok(if value {
                    Presence::Other
                } else {
                    Presence::Empty
                })
            }

            fn visit_u64<E>(self, value: u64) -> Result<Presence, E> {
                Ok(Presence::Number(value))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Presence, E> {
                Ok(Presence::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Presence, E> {
                Ok(Presence::Other)
            }

            fn visit_str<E>(self, text: &str) -> Result<Presence, E> {
                Ok(match text {
                    "" => Presence::Empty,
                    "error" => Presence::Error,
                    text if FAILED.contains(&text) => Presence::Failed,
                    _ => Presence::Text,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Presence, A::Error> {
                let mut presence = Presence::Empty;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    presence = Presence::Other;
                }
                Ok(presence)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Presence, A::Error> {
                let mut presence = Presence::Empty;
                while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    presence = Presence::Other;
                }
                Ok(presence)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The content of a message.
#[derive(Default)]
struct MessageView {
    /// `true` if it is not null.
    is_present: bool,
    /// `true` if it contains more than its role.
    speaks: bool,
    has_calls: bool,
}

impl<'de> Deserialize<'de> for MessageView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Message;
        impl<'de> Visitor<'de> for Message {
            type Value = MessageView;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object or null")
            }

            fn visit_unit<E>(self) -> Result<MessageView, E> {
                Ok(MessageView::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<MessageView, A::Error> {
                let mut view = MessageView {
                    is_present: true,
                    ..MessageView::default()
                };
                while let Some(Key(key)) = fields.next_key::<Key<MessageKey>>()? {
                    let is_empty = fields.next_value::<Presence>()?.is_empty();
                    view.speaks |= key != MessageKey::Role && !is_empty;
                    view.has_calls |= key == MessageKey::ToolCalls && !is_empty;
                }
                Ok(view)
            }
        }
        deserializer.deserialize_any(Message)
    }
}

impl<'de> Deserialize<'de> for ChoiceView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = ChoiceView;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a choice")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ChoiceView, A::Error> {
                let mut view = ChoiceView::default();
                let (mut has_delta, mut has_whole) = (false, false);
                while let Some(Key(key)) = fields.next_key()? {
                    match key {
                        ChoiceKey::Index => {
                            if let Presence::Number(index) = fields.next_value()? {
                                view.index = u32::try_from(index).ok();
                            }
                        }
                        ChoiceKey::Finish => {
                            view.finish = match fields.next_value()? {
                                Presence::Text => Finish::Ended,
                                Presence::Failed | Presence::Error => Finish::Failed,
                                _ => Finish::Open,
                            };
                        }
                        ChoiceKey::Text => {
                            let text: Presence = fields.next_value()?;
                            view.speaks |= !text.is_empty();
                            view.has_message |= text != Presence::Null;
                        }
                        ChoiceKey::Delta | ChoiceKey::Message => {
                            let message: MessageView = fields.next_value()?;
                            view.speaks |= message.speaks;
                            view.has_calls |= message.has_calls;
                            view.has_message |= message.is_present;
                            let is_delta = matches!(key, ChoiceKey::Delta);
                            has_delta |= message.is_present && is_delta;
                            has_whole |= message.is_present && !is_delta;
                        }
                        ChoiceKey::Error => {
                            view.has_error = !fields.next_value::<Presence>()?.is_empty();
                        }
                        ChoiceKey::Other => {
                            fields.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                view.lacks_delta = has_whole && !has_delta;
                Ok(view)
            }
        }
        deserializer.deserialize_map(Choice)
    }
}

/// A list of choices; `None` for null.
struct Choices(Option<Vec<ChoiceView>>);

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Choices;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of choices")
            }

            fn visit_unit<E>(self) -> Result<Choices, E> {
                Ok(Choices(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Choices, A::Error> {
                let mut choices = Vec::new();
                while let Some(choice) = items.next_element::<ChoiceView>()? {
                    if choices.len() == CHOICES_MAX {
                        return Err(serde::de::Error::custom("too many choices"));
                    }
                    choices.push(choice);
                }
                Ok(Choices(Some(choices)))
            }
        }
        deserializer.deserialize_any(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> ChunkView {
        serde_json::from_str(text).unwrap()
    }

    fn choice(text: &str) -> ChoiceView {
        view(&format!("{{\"choices\":[{text}]}}")).choices.unwrap()[0]
    }

    #[test]
    fn a_choice_ends_with_a_reason_that_is_one() {
        for (reason, finish) in [
            ("null", Finish::Open),
            ("\"\"", Finish::Open),
            ("false", Finish::Open),
            ("{}", Finish::Open),
            ("\"stop\"", Finish::Ended),
            ("\"eos_token\"", Finish::Ended),
            ("\"abort\"", Finish::Failed),
            ("\"error\"", Finish::Failed),
        ] {
            let text = format!("{{\"index\":3,\"finish_reason\":{reason}}}");
            assert_eq!(
                (choice(&text).finish, choice(&text).index),
                (finish, Some(3)),
                "{reason}"
            );
        }
        assert_eq!(choice("{}").finish, Finish::Open);
    }

    #[test]
    fn a_role_and_empty_values_say_nothing() {
        for (text, speaks) in [
            (
                r#"{"delta":{"role":"assistant","content":"","tool_calls":[],"refusal":null}}"#,
                false,
            ),
            (r#"{"delta":{},"text":""}"#, false),
            (r#"{"delta":null}"#, false),
            (r#"{"delta":{"content":"x"}}"#, true),
            (r#"{"delta":{"\u0063ontent":"\n"}}"#, true),
            (r#"{"delta":{"tool_calls":[{}]}}"#, true),
            (r#"{"text":"x"}"#, true),
        ] {
            assert_eq!(choice(text).speaks, speaks, "{text}");
        }
    }

    #[test]
    fn what_may_be_an_error_is_noted() {
        for (text, is_suspect) in [
            (
                r#"{"choices":[],"error":null,"object":"chat.completion.chunk"}"#,
                false,
            ),
            (r#"{"choices":[],"error":{"code":1}}"#, true),
            (r#"{"object":"error","choices":[]}"#, true),
            (r#"{"detail":"x"}"#, true),
            (r#"{"choices":[{"error":null}]}"#, false),
            (r#"{"choices":[{"error":{"code":429}}]}"#, true),
            (r#"{"choices":null}"#, true),
        ] {
            assert_eq!(view(text).is_suspect, is_suspect, "{text}");
        }
        for text in [r#"{"choices":[1]}"#, r#"{"choices":{}}"#, "[]", "1", "{"] {
            assert!(serde_json::from_str::<ChunkView>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_usage_is_read_where_it_is_there() {
        for (text, has_usage, tokens) in [
            (r#"{"usage":null}"#, false, None),
            (r#"{"usage":{}}"#, true, None),
            (r#"{"usage":{"completion_tokens":7,"x":[]}}"#, true, Some(7)),
            (r#"{"usage":{"completion_tokens":-1}}"#, true, None),
        ] {
            assert_eq!(
                view(text).usage.map(Usage::output_tokens),
                has_usage.then_some(tokens),
                "{text}"
            );
        }
    }
}
