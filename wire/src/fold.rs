//! Folds the events of a stream into one whole answer, for servers that stream without being asked to.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    message::{Draft, merge},
    request::Endpoint,
    stream::{Framer, Problem},
    surrogates::Halves,
    usage::Usage,
};

/// Collects one answer.
#[derive(Debug)]
pub struct Fold {
    framer: Framer,
    endpoint: Endpoint,
    size_max: usize,
    size: usize,
    answer: Map<String, Value>,
    choices: BTreeMap<u64, Choice>,
    problem: Option<Problem>,
    halves: Halves,
}

#[derive(Debug, Default)]
struct Choice {
    fields: Map<String, Value>,
    message: Draft,
}

impl Fold {
    /// Creates a fold of events of at most `event_size_max` bytes, `size_max` bytes in total, and `choices` choices.
    pub fn new(endpoint: Endpoint, event_size_max: usize, size_max: usize, choices: u32) -> Self {
        Self {
            framer: Framer::new(event_size_max, choices),
            endpoint,
            size_max,
            size: 0,
            answer: Map::new(),
            choices: BTreeMap::new(),
            problem: None,
            halves: Halves::default(),
        }
    }

    /// Makes the ids of tool calls that have none of `seed`, which should differ from that of all other answers.
    #[must_use]
    pub fn with_id_seed(mut self, seed: Arc<str>) -> Self {
        self.framer = self.framer.with_id_seed(seed);
        self
    }

    /// Takes the next bytes. Returns `true` if no more are needed: the answer is complete, or has a problem.
    pub fn push(&mut self, chunk: Bytes) -> bool {
        self.size = self.size.saturating_add(chunk.len());
        if self.size > self.size_max {
            self.problem = Some(Problem::TooLarge);
            return true;
        }
        let events = self.framer.push(chunk);
        self.add(events);
        self.framer.is_done() || self.framer.problem().is_some()
    }

    /// Returns the whole answer, its output tokens and its usage, or `None` if the stream ended before it was complete.
    ///
    /// # Errors
    /// Returns an error if the stream contains an error or cannot be read.
    pub fn finish(mut self) -> Result<Option<(Bytes, u32, Usage)>, Problem> {
        let (events, is_whole) = self.framer.end();
        self.add(events);
        if let Some(problem) = self.problem.as_ref().or(self.framer.problem()) {
            return Err(problem.clone());
        }
        if !is_whole {
            return Ok(None);
        }
        let (tokens, usage) = (self.framer.tokens(), self.framer.usage());
        let is_chat = self.endpoint == Endpoint::Chat;
        let choices = self.choices.into_iter().map(|(index, choice)| {
            let mut fields = choice.fields;
            fields.insert("index".to_owned(), index.into());
            if is_chat {
                fields.insert("message".to_owned(), choice.message.whole().into());
            } else {
                fields.entry("text").or_insert_with(|| Value::from(""));
            }
            fields.entry("logprobs").or_insert(Value::Null);
            fields.entry("finish_reason").or_insert(Value::Null);
            Value::Object(fields)
        });
        self.answer.insert("choices".to_owned(), choices.collect());
        let object = if is_chat {
            "chat.completion"
        } else {
            "text_completion"
        };
        self.answer.insert("object".to_owned(), object.into());
        let body = Bytes::from(Value::Object(self.answer).to_string());
        Ok(Some((body, tokens, usage)))
    }

    fn add(&mut self, events: Option<Bytes>) {
        let Some(events) = events else {
            return;
        };
        for line in events.split(|byte| *byte == b'\n') {
            // The framer has already read each event, and passes on one line of data per event.
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            if let Ok(chunk) = self.halves.read(data) {
                self.add_chunk(chunk);
            }
        }
    }

    fn add_chunk(&mut self, chunk: Map<String, Value>) {
        for (key, value) in chunk {
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("choices", Value::Array(choices)) => {
                    for (position, choice) in (0..).zip(choices) {
                        self.add_choice(position, choice);
                    }
                }
                ("usage", usage) => {
                    self.answer.insert(key, usage);
                }
                (_, value) => {
                    self.answer.entry(key).or_insert(value);
                }
            }
        }
    }

    fn add_choice(&mut self, position: u64, choice: Value) {
        let Value::Object(mut choice) = choice else {
            return;
        };
        let index = choice.remove("index").and_then(|index| index.as_u64());
        let held = self.choices.entry(index.unwrap_or(position)).or_default();
        let (delta, message) = (choice.remove("delta"), choice.remove("message"));
        if let Some(Value::Object(delta)) = delta.filter(|delta| !delta.is_null()).or(message) {
            held.message.add(delta);
        }
        for (key, value) in choice {
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("finish_reason" | "stop_reason", value) => {
                    held.fields.insert(key, value);
                }
                (_, value) => merge(held.fields.entry(key).or_insert(Value::Null), value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::whole::check;

    fn folded(endpoint: Endpoint, stream: &str, choices: u32) -> Result<Option<Value>, Problem> {
        for piece in [1, 7, stream.len()] {
            let mut fold = Fold::new(endpoint, 4096, 4096, choices);
            for chunk in stream.as_bytes().chunks(piece) {
                if fold.push(Bytes::copy_from_slice(chunk)) {
                    break;
                }
            }
            let whole = fold.finish();
            if piece == stream.len() {
                return whole.map(|whole| {
                    whole.map(|(body, ..)| {
                        assert!(check(endpoint, body.clone(), "").is_ok());
                        serde_json::from_slice(&body).unwrap()
                    })
                });
            }
        }
        unreachable!("the last piece is the stream")
    }

    #[test]
    fn chunks_become_a_whole_chat_answer() {
        let chunks = [
            json!({"id":"i","created":1,"model":"m","object":"chat.completion.chunk","choices":[{"index":1,"delta":{"role":"assistant","content":"o"}}]}),
            json!({"id":"i","choices":[{"index":0,"delta":{"content":"He"},"logprobs":{"content":[1]}}]}),
            json!({"id":"i","choices":[{"index":0,"delta":{"content":"j","tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]},"logprobs":{"content":[2]}}]}),
            json!({"id":"i","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]},"finish_reason":"tool_calls"},{"index":1,"delta":{},"finish_reason":"stop"}]}),
            json!({"id":"i","choices":[],"usage":{"completion_tokens":4}}),
        ];
        let events = chunks.map(|chunk| format!("data: {chunk}\r\n\r\n"));
        let stream = events.concat();
        let answer = folded(Endpoint::Chat, &stream, 2).unwrap().unwrap();
        let expected = json!({
            "id": "i", "created": 1, "model": "m", "object": "chat.completion", "usage": {"completion_tokens": 4},
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hej", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                 "logprobs": {"content": [1, 2]}, "finish_reason": "tool_calls"},
                {"index": 1, "message": {"role": "assistant", "content": "o"}, "logprobs": null, "finish_reason": "stop"},
            ],
        });
        assert_eq!(answer, expected);
    }

    #[test]
    fn chunks_become_a_whole_completion() {
        let stream = "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"stop\"}]}\n\n";
        let answer = folded(Endpoint::Completions, stream, 1).unwrap().unwrap();
        assert_eq!(
            (&answer["choices"][0]["text"], &answer["object"]),
            (&json!("ab"), &json!("text_completion"))
        );
    }

    #[test]
    fn a_cut_an_error_and_too_much_are_no_answers() {
        let open = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        assert_eq!(folded(Endpoint::Chat, open, 1), Ok(None));
        let error = format!("{open}data: {{\"error\":\"no\"}}\n\n");
        assert_eq!(
            folded(Endpoint::Chat, &error, 1),
            Err(Problem::Error(Bytes::from_static(b"{\"error\":\"no\"}")))
        );
        assert_eq!(
            folded(Endpoint::Chat, &open.repeat(100), 1),
            Err(Problem::TooLarge)
        );
    }
}
