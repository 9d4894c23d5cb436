//! One chat answer of several rounds.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    surrogates,
    tool_rounds::round::{Round, RoundCall, RoundEnd},
    translate::{BadAnswer, Piece},
};

/// The member of an answer with the calls that were made for it.
const MEMBER: &str = "mcp";
/// What stands between the texts of two rounds.
const BETWEEN: &str = "\n\n";

/// The members by which an answer and its chunks are known.
#[derive(Clone, Debug)]
pub struct Head {
    /// The id.
    pub id: String,
    /// The model; that of the first answer takes its place.
    pub model: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// The answer of all rounds.
#[derive(Debug)]
pub struct RoundsAnswer {
    head: Head,
    /// `true` if the texts of the rounds are one text.
    is_joined: bool,
    has_role: bool,
    text: String,
    reasoning: String,
    refusal: String,
    logprobs: Vec<Value>,
    usage: Option<Value>,
    other: Map<String, Value>,
    finish_reason: Option<String>,
    stop_reason: Option<String>,
    /// The beginning of the text of the round that is read.
    round_began: usize,
    end: Option<End>,
}

/// The end of the answer.
#[derive(Debug)]
struct End {
    calls: Vec<RoundCall>,
    finish_reason: String,
    mcp: Value,
}

impl RoundsAnswer {
    /// Creates an answer without rounds. `is_joined` puts a blank line between the texts of two rounds.
    pub fn new(head: Head, is_joined: bool) -> Self {
        Self {
            head,
            is_joined,
            has_role: false,
            text: String::new(),
            reasoning: String::new(),
            refusal: String::new(),
            logprobs: Vec::new(),
            usage: None,
            other: Map::new(),
            finish_reason: None,
            stop_reason: None,
            round_began: 0,
            end: None,
        }
    }

    /// Reads the data of one event of a round, `[DONE]` included. Returns the events that report it.
    ///
    /// # Errors
    /// Returns an error if the data is not a chat chunk, or reports an error.
    pub fn data(&mut self, round: &mut Round, data: &[u8]) -> Result<String, BadAnswer> {
        let pieces = if data.trim_ascii() == b"[DONE]" {
            round.reader.done()
        } else {
            let chunk = round.reader.parse(data)?;
            round.reader.chunk(chunk)?
        };
        self.pieces(round, pieces)
    }

    /// Reads the whole answer of a round. Returns the events that report it.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a chat answer.
    pub fn whole(&mut self, round: &mut Round, answer: &[u8]) -> Result<String, BadAnswer> {
        let answer = surrogates::read(answer);
        let answer: Value = answer.map_err(|error| BadAnswer::NotJson(error.to_string()))?;
        let mut pieces = round.reader.whole(answer)?;
        pieces.extend(round.reader.done());
        self.pieces(round, pieces)
    }

    /// Ends a round.
    ///
    /// # Errors
    /// Returns an error if the server has not said why it stopped.
    pub fn close(&mut self, mut round: Round) -> Result<RoundEnd, BadAnswer> {
        round.reader.end()?;
        self.reasoning.push_str(&round.reasoning);
        self.refusal.push_str(&round.refusal);
        self.logprobs.append(&mut round.logprobs);
        let end = round.end();
        let reader = round.reader;
        self.finish_reason = reader.finish_reason;
        self.stop_reason = reader.stop_sequence;
        if let Some(usage) = reader.usage {
            let sum = self.usage.get_or_insert(Value::Null);
            add(sum, &usage.into());
        }
        self.other = reader.other;
        self.round_began = self.text.len();
        Ok(end)
    }

    /// Ends the answer: with calls that the caller makes itself, and with what is told of the calls that were made for it. `is_cut` marks an answer that a bound
    /// has ended. Returns the last events.
    pub fn finish(
        &mut self,
        calls: Vec<RoundCall>,
        mcp: Value,
        is_cut: bool,
        wants_usage: bool,
    ) -> String {
        let mut out = String::new();
        let finish_reason = match self.finish_reason.take() {
            _ if is_cut => "length".to_owned(),
            _ if !calls.is_empty() => "tool_calls".to_owned(),
            // The calls were made here.
            Some(reason) if reason != "tool_calls" && reason != "function_call" => reason,
            _ => "stop".to_owned(),
        };
        for (index, call) in calls.iter().enumerate() {
            let mut call = call.shown();
            call["index"] = index.into();
            self.chunk(json!({"tool_calls": [call]}), &[], &mut out);
        }
        let mut choice = json!({"index": 0, "delta": {}, "finish_reason": finish_reason});
        if let Some(stop) = &self.stop_reason {
            choice["stop_reason"] = stop.as_str().into();
        }
        let mut last = self.envelope("chat.completion.chunk", &choice);
        self.add_others(&mut last, &mcp);
        event(&last, &mut out);
        if let Some(usage) = self.usage.as_ref().filter(|_| wants_usage) {
            let mut chunk = self.envelope("chat.completion.chunk", &Value::Null);
            chunk["choices"] = json!([]);
            chunk["usage"] = usage.clone();
            event(&chunk, &mut out);
        }
        out += "data: [DONE]\n\n";
        self.end = Some(End {
            calls,
            finish_reason,
            mcp,
        });
        out
    }

    /// Returns the whole answer, once it is finished.
    pub fn into_whole(self) -> Bytes {
        let (calls, reason, mcp) = match &self.end {
            Some(end) => (&end.calls[..], end.finish_reason.as_str(), &end.mcp),
            None => (&[][..], "stop", &Value::Null),
        };
        let is_empty = self.text.is_empty() && (!calls.is_empty() || !self.refusal.is_empty());
        let text = (!is_empty).then_some(self.text.as_str());
        let refusal = (!self.refusal.is_empty()).then_some(self.refusal.as_str());
        let mut message = json!({"role": "assistant", "content": text, "refusal": refusal});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.as_str().into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.iter().map(RoundCall::shown).collect();
        }
        let mut choice = json!({"index": 0, "message": message, "finish_reason": reason});
        if !self.logprobs.is_empty() {
            choice["logprobs"] = json!({"content": self.logprobs});
        }
        if let Some(stop) = &self.stop_reason {
            choice["stop_reason"] = stop.as_str().into();
        }
        let mut whole = self.envelope("chat.completion", &choice);
        if let Some(usage) = &self.usage {
            whole["usage"] = usage.clone();
        }
        self.add_others(&mut whole, mcp);
        whole.to_string().into()
    }

    fn pieces(&mut self, round: &mut Round, pieces: Vec<Piece>) -> Result<String, BadAnswer> {
        let mut out = String::new();
        if !self.has_role && !round.reader.model.is_empty() {
            self.head.model.clone_from(&round.reader.model);
        }
        for piece in pieces {
            let Some((mut delta, logprobs)) = round.add(piece)? else {
                continue;
            };
            if let Some(text) = delta["content"].as_str() {
                let joins = self.is_joined && self.round_began > 0;
                let text = if joins && self.text.len() == self.round_began {
                    format!("{BETWEEN}{text}")
                } else {
                    text.to_owned()
                };
                self.text.push_str(&text);
                delta["content"] = text.into();
            }
            self.chunk(delta, &logprobs, &mut out);
        }
        Ok(out)
    }

    /// Writes a chunk with a delta.
    fn chunk(&mut self, mut delta: Value, logprobs: &[Value], out: &mut String) {
        if !std::mem::replace(&mut self.has_role, true) {
            delta["role"] = "assistant".into();
        }
        let mut choice = json!({"index": 0, "delta": delta, "finish_reason": null});
        if !logprobs.is_empty() {
            choice["logprobs"] = json!({"content": logprobs});
        }
        event(&self.envelope("chat.completion.chunk", &choice), out);
    }

    fn envelope(&self, object: &str, choice: &Value) -> Value {
        let head = &self.head;
        json!({
            "id": head.id, "object": object, "created": head.created, "model": head.model, "choices": [choice],
        })
    }

    /// Adds the members of the last answer that are not known, and what is told of the calls.
    fn add_others(&self, answer: &mut Value, mcp: &Value) {
        for (key, value) in &self.other {
            if answer.get(key).is_none() {
                answer[key] = value.clone();
            }
        }
        if !mcp.is_null() {
            answer[MEMBER] = mcp.clone();
        }
    }
}

fn event(data: &Value, out: &mut String) {
    let written = write!(out, "data: {data}\n\n");
    debug_assert!(written.is_ok(), "a string takes every write");
}

/// Adds the numbers of a usage to those of another, also those of its details.
fn add(sum: &mut Value, usage: &Value) {
    match (sum, usage) {
        (Value::Object(sum), Value::Object(usage)) => {
            for (key, more) in usage {
                add(sum.entry(key.clone()).or_insert(Value::Null), more);
            }
        }
        (sum, more) => match (sum.as_u64(), more.as_u64()) {
            (Some(known), Some(more)) => *sum = known.saturating_add(more).into(),
            (None, _) if sum.is_null() => *sum = more.clone(),
            _ => {}
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            id: "chatcmpl-1".to_owned(),
            model: "m".to_owned(),
            created: 7,
        }
    }

    fn events(out: &str) -> Vec<Value> {
        let lines = out.lines().filter_map(|line| line.strip_prefix("data: "));
        let data = lines.filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    const CALLS: &str = r#"{"id":"a","model":"real","choices":[{"index":0,"delta":{"content":"Let me look.","tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"s__read","arguments":"{\"a\":"}}]},"finish_reason":null}]}"#;
    const MORE: &str = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":3}}}"#;

    #[test]
    fn two_rounds_make_one_stream_without_the_calls_that_were_made() {
        let mut answer = RoundsAnswer::new(head(), true);
        let mut round = Round::default();
        let mut out = answer.data(&mut round, CALLS.as_bytes()).unwrap();
        out += &answer.data(&mut round, MORE.as_bytes()).unwrap();
        out += &answer.data(&mut round, b"[DONE]").unwrap();
        let end = answer.close(round).unwrap();
        assert_eq!(end.calls[0].name, "s__read");
        assert_eq!(end.tokens, Some((5, 2)));
        let call = json!({"id": "c1", "type": "function", "function": {"name": "s__read", "arguments": "{\"a\":1}"}});
        let message = json!({"role": "assistant", "content": "Let me look.", "tool_calls": [call]});
        assert_eq!(end.message, message);
        let mut round = Round::default();
        let last = json!({
            "choices": [{"index": 0, "message": {"content": "Done."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}, "system_fingerprint": "f",
        });
        out += &answer
            .whole(&mut round, last.to_string().as_bytes())
            .unwrap();
        assert!(answer.close(round).unwrap().calls.is_empty());
        let made = json!({"calls": [{"name": "read"}]});
        out += &answer.finish(Vec::new(), made.clone(), false, true);
        let events = events(&out);
        let texts = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
        assert_eq!(texts.collect::<String>(), "Let me look.\n\nDone.");
        assert!(!out.contains("tool_calls") && out.ends_with("data: [DONE]\n\n"));
        assert!(
            events
                .iter()
                .all(|event| event["id"] == "chatcmpl-1" && event["model"] == "real")
        );
        let end = &events[events.len() - 2];
        assert_eq!(
            (&end["mcp"], &end["choices"][0]["finish_reason"]),
            (&made, &json!("stop"))
        );
        let usage = &events[events.len() - 1]["usage"];
        assert_eq!(usage["total_tokens"], 17);
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 3);
        let whole: Value = serde_json::from_slice(&answer.into_whole()).unwrap();
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], "Let me look.\n\nDone.");
        assert_eq!((&whole["usage"], &whole["mcp"]), (usage, &made));
        assert_eq!(whole["system_fingerprint"], "f");
    }

    #[test]
    fn calls_of_the_caller_are_handed_over_with_indices_from_zero() {
        let mut answer = RoundsAnswer::new(head(), false);
        let mut round = Round::default();
        let own = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"g","function":{"name":"s__read","arguments":"{}"}},{"index":1,"id":"o","function":{"name":"own","arguments":""}}]},"finish_reason":"tool_calls"}]}"#;
        assert_eq!(answer.data(&mut round, own.as_bytes()).unwrap(), "");
        let end = answer.close(round).unwrap();
        let calls: Vec<RoundCall> = end
            .calls
            .into_iter()
            .filter(|call| call.name == "own")
            .collect();
        let out = answer.finish(calls, Value::Null, false, false);
        let events = events(&out);
        let expected = json!({"id": "o", "type": "function", "function": {"name": "own", "arguments": "{}"}, "index": 0});
        assert_eq!(events[0]["choices"][0]["delta"]["tool_calls"][0], expected);
        assert_eq!(events[1]["choices"][0]["finish_reason"], "tool_calls");
        assert!(events[1].get("mcp").is_none());
        let whole: Value = serde_json::from_slice(&answer.into_whole()).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], Value::Null);
        assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["id"], "o");
    }

    #[test]
    fn a_bound_ends_an_answer_as_its_length_does_and_a_cut_round_is_an_error() {
        let mut answer = RoundsAnswer::new(head(), false);
        let out = answer.finish(Vec::new(), Value::Null, true, false);
        assert_eq!(events(&out)[0]["choices"][0]["finish_reason"], "length");
        let mut answer = RoundsAnswer::new(head(), false);
        let mut round = Round::default();
        answer.data(&mut round, CALLS.as_bytes()).unwrap();
        assert_eq!(answer.close(round), Err(BadAnswer::Incomplete));
        let mut round = Round::default();
        let error = answer.data(&mut round, br#"{"error":{"message":"no"}}"#);
        assert_eq!(error, Err(BadAnswer::Reported("no".to_owned())));
    }
}
