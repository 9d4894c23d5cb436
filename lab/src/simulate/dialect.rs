//! The OpenAI dialect on the server's side: the parts of a request that the simulated model reads, and the whole
//! answers, chunks and errors that it writes. Both the in-process backend and the HTTP server use it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use kebne_wire::Endpoint;

use crate::simulate::text::{self, Text};

/// Numbers in a simulated embedding; enough to tell two texts apart.
const EMBEDDING_DIMENSIONS: u64 = 16;

/// What the simulated model needs of a request; every other key is ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ask {
    /// The model's name, echoed in the answer.
    pub model: String,
    /// The messages of a chat.
    pub messages: Vec<Message>,
    /// The prompt of a completion: a text or a list of texts.
    pub prompt: Value,
    /// The input of an embedding: a text, a list of texts or of token numbers.
    pub input: Value,
    /// The caller asks for a stream.
    pub stream: Option<bool>,
    /// Further content of a stream.
    pub stream_options: Option<StreamOptions>,
    /// The older bound on tokens.
    pub max_tokens: Option<u32>,
    /// The newer bound on tokens; wins over the older one.
    pub max_completion_tokens: Option<u32>,
}

/// One message of a chat.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    /// The role.
    pub role: String,
    /// A text, or a list of parts of which those of type `text` count.
    pub content: Value,
}

/// Further content of a stream.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// One more chunk with the usage.
    pub include_usage: Option<bool>,
}

/// The reason why a request cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadAsk {
    /// The field that is wrong; `None` if the body as a whole cannot be read.
    pub param: Option<&'static str>,
    /// A sentence for the caller.
    pub message: String,
}

impl Ask {
    /// Reads a request's body.
    ///
    /// # Errors
    /// Returns an error if the body is not a JSON object of that shape; the error names the field.
    pub fn parse(body: &[u8]) -> Result<Self, BadAsk> {
        serde_json::from_slice(body).map_err(|error| BadAsk {
            param: wrong_field(body),
            message: format!("the request is not understood: {error}"),
        })
    }

    /// Finds fields that a real server would refuse for this operation.
    ///
    /// # Errors
    /// Returns an error that names the field.
    pub fn check(&self, endpoint: Endpoint) -> Result<(), BadAsk> {
        let wrong = |param, message: &str| {
            let message = message.to_owned();
            Err(BadAsk { param, message })
        };
        match endpoint {
            Endpoint::Chat if self.messages.is_empty() => wrong(
                Some("messages"),
                "`messages` must hold at least one message",
            ),
            Endpoint::Embeddings if self.input.is_null() => {
                wrong(Some("input"), "`input` is missing")
            }
            Endpoint::PassThrough(_) => wrong(None, "a simulated model has no such operation"),
            _ => Ok(()),
        }
    }

    /// Returns the text that the model answers: the last user message, or the prompt.
    pub fn last_turn(&self) -> String {
        let last = self
            .messages
            .iter()
            .rev()
            .find(|message| message.role == "user");
        match last.or_else(|| self.messages.last()) {
            Some(message) => plain(&message.content),
            None => plain(&self.prompt),
        }
    }

    /// Counts the tokens of everything that was sent.
    pub fn prompt_tokens(&self) -> u64 {
        let messages: u64 = self
            .messages
            .iter()
            .map(|message| text::count(&plain(&message.content)))
            .sum();
        messages + text::count(&plain(&self.prompt)) + text::count(&plain(&self.input))
    }

    /// Returns the caller's bound on the answer's tokens.
    pub fn max(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Returns `true` if the caller asks for a stream.
    pub fn wants_stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Returns `true` if a stream ends with its usage.
    pub fn wants_usage(&self) -> bool {
        let usage = self.stream_options.map(|options| options.include_usage);
        usage.flatten().unwrap_or(false)
    }
}

/// Returns the first field of a body that has the wrong type.
fn wrong_field(body: &[u8]) -> Option<&'static str> {
    let fields: BTreeMap<String, Value> = serde_json::from_slice(body).ok()?;
    let is_wrong = |name: &str| {
        let Some(value) = fields.get(name) else {
            return false;
        };
        let alone = json!({name: value});
        serde_json::from_value::<Ask>(alone).is_err()
    };
    let names = [
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
    ];
    names.into_iter().find(|name| is_wrong(name))
}

/// Returns the text in a text, in a list of texts, or in a list of parts.
fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .filter_map(|part| part.as_str().or_else(|| part["text"].as_str()));
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// Writes the answers to one call.
#[derive(Clone, Debug)]
pub struct Writer {
    endpoint: Endpoint,
    id: String,
    model: String,
    /// Seconds since 1970, as the dialect wants it.
    created: u64,
    prompt_tokens: u64,
    with_usage: bool,
}

impl Writer {
    /// Creates the writer for one call; `id` distinguishes calls.
    pub fn new(endpoint: Endpoint, ask: &Ask, id: &str, created: u64) -> Self {
        let prefix = if endpoint == Endpoint::Chat {
            "chatcmpl"
        } else {
            "cmpl"
        };
        Self {
            endpoint,
            id: format!("{prefix}-{id}"),
            model: ask.model.clone(),
            created,
            prompt_tokens: ask.prompt_tokens(),
            with_usage: ask.wants_usage(),
        }
    }

    /// Writes the whole answer.
    pub fn whole(&self, text: &Text) -> String {
        let reason = finish_reason(text);
        let choice = match self.endpoint {
            Endpoint::Chat => json!({
                "index": 0,
                "message": {"role": "assistant", "content": text.whole(), "refusal": null},
                "logprobs": null,
                "finish_reason": reason,
            }),
            _ => json!({
                "index": 0, "text": text.whole(), "logprobs": null, "finish_reason": reason,
            }),
        };
        let object = if self.endpoint == Endpoint::Chat {
            "chat.completion"
        } else {
            "text_completion"
        };
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "choices": [choice], "usage": self.usage(text.tokens.len()),
        })
        .to_string()
    }

    /// Writes the event of one token; the first of a chat also names the role.
    pub fn token(&self, token: &str, first: bool) -> String {
        let choice = match self.endpoint {
            Endpoint::Chat if first => json!({
                "index": 0, "delta": {"role": "assistant", "content": token}, "finish_reason": null,
            }),
            Endpoint::Chat => json!({
                "index": 0, "delta": {"content": token}, "finish_reason": null,
            }),
            _ => json!({"index": 0, "text": token, "logprobs": null, "finish_reason": null}),
        };
        self.chunk(&json!([choice]), &Value::Null)
    }

    /// Writes the events that end a stream: the reason, the usage if it was asked for, and `[DONE]`.
    pub fn end(&self, text: &Text) -> String {
        let reason = finish_reason(text);
        let choice = match self.endpoint {
            Endpoint::Chat => json!({"index": 0, "delta": {}, "finish_reason": reason}),
            _ => json!({"index": 0, "text": "", "logprobs": null, "finish_reason": reason}),
        };
        let mut events = self.chunk(&json!([choice]), &Value::Null);
        if self.with_usage {
            events += &self.chunk(&json!([]), &self.usage(text.tokens.len()));
        }
        events + "data: [DONE]\n\n"
    }

    /// Writes one event with one chunk.
    fn chunk(&self, choices: &Value, usage: &Value) -> String {
        let object = if self.endpoint == Endpoint::Chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        };
        let mut chunk = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        });
        if self.with_usage {
            chunk["usage"] = usage.clone();
        }
        format!("data: {chunk}\n\n")
    }

    fn usage(&self, completion_tokens: usize) -> Value {
        let completion_tokens = u64::try_from(completion_tokens).unwrap_or(u64::MAX);
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens.saturating_add(completion_tokens),
        })
    }
}

fn finish_reason(text: &Text) -> &'static str {
    if text.cut { "length" } else { "stop" }
}

/// Writes the answer to a call for embeddings: numbers that depend only on the text.
pub fn embeddings(ask: &Ask) -> String {
    let inputs: Vec<String> = match &ask.input {
        Value::Array(items) if items.iter().all(|item| item.is_string() || item.is_array()) => {
            items
                .iter()
                .map(|item| {
                    item.as_str()
                        .map_or_else(|| item.to_string(), str::to_owned)
                })
                .collect()
        }
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": embedding(text)}))
        .collect();
    let tokens: u64 = inputs.iter().map(|text| text::count(text)).sum();
    json!({
        "object": "list", "data": data, "model": ask.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
    .to_string()
}

/// Creates a unit vector out of a text by hashing (FNV-1a), so that equal texts have equal vectors.
fn embedding(text: &str) -> Vec<f64> {
    let hash = |salt: u64| {
        let start = 0xcbf2_9ce4_8422_2325 ^ salt;
        text.bytes().fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let raw: Vec<f64> = (0..EMBEDDING_DIMENSIONS)
        .map(|salt| {
            f64::from(u32::try_from(hash(salt) >> 32).unwrap_or(0)) / f64::from(u32::MAX) - 0.5
        })
        .collect();
    let length = raw
        .iter()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt()
        .max(f64::MIN_POSITIVE);
    raw.into_iter().map(|value| value / length).collect()
}

/// Writes an error body with all four keys that the dialect requires.
pub fn error(message: &str, kind: &str, code: Option<&str>) -> String {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

/// Writes the error of a request that cannot be answered.
pub fn bad_ask(bad: &BadAsk) -> String {
    let (message, kind) = (&bad.message, "invalid_request_error");
    json!({"error": {"message": message, "type": kind, "param": bad.param, "code": null}})
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &str) -> Ask {
        Ask::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn optional_fields_may_be_null() {
        let ask = ask(
            r#"{"messages":[{}],"stream":null,"stream_options":{"include_usage":null},"max_tokens":null}"#,
        );
        assert!(!ask.wants_stream() && !ask.wants_usage());
        assert_eq!(ask.max(), None);
    }

    #[test]
    fn an_error_names_the_field() {
        for (body, param) in [
            (r#"{"messages":null}"#, Some("messages")),
            (r#"{"messages":{}}"#, Some("messages")),
            (r#"{"messages":[1]}"#, Some("messages")),
            (r#"{"max_tokens":-5}"#, Some("max_tokens")),
            (
                r#"{"max_completion_tokens":"x"}"#,
                Some("max_completion_tokens"),
            ),
            (r#"{"stream_options":1}"#, Some("stream_options")),
            (r#"{"stream":"yes"}"#, Some("stream")),
            ("{", None),
        ] {
            let bad = Ask::parse(body.as_bytes()).unwrap_err();
            assert_eq!(bad.param, param, "{body}: {bad}");
        }
        let empty = ask(r#"{"messages":[]}"#).check(Endpoint::Chat);
        assert_eq!(empty.unwrap_err().param, Some("messages"));
        let empty = ask("{}").check(Endpoint::Embeddings);
        assert_eq!(empty.unwrap_err().param, Some("input"));
    }

    #[test]
    fn the_last_user_message_is_found_in_both_shapes_of_content() {
        let plain = ask(
            r#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"tool","content":"c"}]}"#,
        );
        assert_eq!(plain.last_turn(), "b");
        let parts = ask(
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url"},{"type":"text","text":"y"}]}]}"#,
        );
        assert_eq!(parts.last_turn(), "x y");
    }

    #[test]
    fn a_stream_joined_is_the_whole_answer_and_ends_with_done() {
        let ask = ask(
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream_options":{"include_usage":true}}"#,
        );
        let writer = Writer::new(Endpoint::Chat, &ask, "1", 0);
        let text = Text::answer("hi", 5, None);
        let mut events = String::new();
        for (index, token) in text.tokens.iter().enumerate() {
            events += &writer.token(token, index == 0);
        }
        events += &writer.end(&text);
        assert!(events.ends_with("\n\ndata: [DONE]\n\n"));
        let mut joined = String::new();
        let mut usage = Value::Null;
        for event in events
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: {"))
        {
            let chunk: Value = serde_json::from_str(&format!("{{{event}")).unwrap();
            joined += chunk["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or("");
            usage = chunk["usage"].clone();
        }
        let whole: Value = serde_json::from_str(&writer.whole(&text)).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], joined);
        assert_eq!(whole["usage"], usage);
        assert_eq!(usage["completion_tokens"], 5);
    }

    #[test]
    fn equal_texts_have_equal_embeddings_of_length_one() {
        let body = ask(r#"{"model":"m","input":["a","b","a"]}"#);
        let answer: Value = serde_json::from_str(&embeddings(&body)).unwrap();
        let vector = |index: usize| answer["data"][index]["embedding"].clone();
        assert_eq!(vector(0), vector(2));
        assert_ne!(vector(0), vector(1));
        let squares: f64 = vector(0)
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap().powi(2))
            .sum();
        assert!((squares - 1.0).abs() < 1e-9);
    }
}
