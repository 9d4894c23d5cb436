//! Messages answers, whole or streamed, as chat answers.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::{
    anthropic::{stop_reason::finish_reason, usage},
    surrogates::{self, Halves},
    translate::BadAnswer,
};

/// Bytes of blocks without a counterpart that are held until the blocks are complete.
const HELD_SIZE_MAX: usize = 16 << 20;

/// Translates a whole message into a chat answer. `created` is the time in seconds since 1970, which a message does
/// not have.
///
/// # Errors
/// Returns an error if the bytes are not a message.
pub fn chat_of_message(message: &[u8], created: u64) -> Result<Value, BadAnswer> {
    let message = surrogates::read(message);
    let message: Value = message.map_err(|error| BadAnswer::NotJson(error.to_string()))?;
    let Value::Object(mut message) = message else {
        return Err(BadAnswer::Lacks("content"));
    };
    if let Some(error) = message.get("error") {
        return Err(BadAnswer::Reported(
            error["message"].as_str().unwrap_or_default().to_owned(),
        ));
    }
    let Some(Value::Array(blocks)) = message.shift_remove("content") else {
        return Err(BadAnswer::Lacks("content"));
    };
    let reason = finish_reason(message.shift_remove("stop_reason").as_ref());
    let counted = message.shift_remove("usage");
    let counted = counted.as_ref().and_then(Value::as_object);
    let mut answer = json!({
        "id": message.shift_remove("id"),
        "object": "chat.completion",
        "created": created,
        "model": message.shift_remove("model"),
        "choices": [{
            "index": 0, "message": chat_message(blocks), "finish_reason": reason, "logprobs": null,
        }],
    });
    if let Some(counted) = counted {
        answer["usage"] = usage::to_chat(counted);
    }
    for key in ["type", "role"] {
        message.shift_remove(key);
    }
    pass_on(message, &mut answer);
    Ok(answer)
}

fn chat_message(blocks: Vec<Value>) -> Value {
    let (mut text, mut reasoning) = (None::<String>, String::new());
    let (mut calls, mut thinking, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for block in blocks {
        let own = |key: &str| block[key].as_str().unwrap_or_default();
        match own("type") {
            "text" => {
                text.get_or_insert_default().push_str(own("text"));
                if !block["citations"].is_null() {
                    others.push(block);
                }
            }
            "thinking" => {
                reasoning.push_str(own("thinking"));
                thinking.push(block);
            }
            "redacted_thinking" => thinking.push(block),
            "tool_use" => {
                let function =
                    json!({"name": block["name"], "arguments": block["input"].to_string()});
                calls.push(json!({"id": block["id"], "type": "function", "function": function}));
            }
            _ => others.push(block),
        }
    }
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if !reasoning.is_empty() {
        message["reasoning_content"] = reasoning.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    // Chat has no fields for signatures, citations and the results of Anthropic's own tools; they are passed on
    // unchanged.
    if !thinking.is_empty() {
        message["thinking_blocks"] = thinking.into();
    }
    if !others.is_empty() {
        message["content_blocks"] = others.into();
    }
    message
}

/// Takes a member of a value that need not be an object.
fn take(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map(Value::take).unwrap_or_default()
}

/// Adds the members that chat does not have.
fn pass_on(message: Map<String, Value>, answer: &mut Value) {
    for (key, value) in message {
        if !value.is_null() && answer.get(&key).is_none() {
            answer[key] = value;
        }
    }
}

/// Writes a chat stream from the events of a Messages stream.
#[derive(Debug)]
pub struct ChunkWriter {
    include_usage: bool,
    created: u64,
    id: Value,
    model: Value,
    usage: Map<String, Value>,
    stop_reason: Option<Value>,
    is_done: bool,
    /// For each open `tool_use` block: its index, the index of its call, and its initial input.
    calls: Vec<(u64, usize, Option<String>)>,
    next_call: usize,
    /// Blocks without a counterpart, with their indices; they are passed on when they are complete.
    others: Vec<(u64, Value)>,
    /// Bytes of these blocks so far.
    held_size: usize,
    halves: Halves,
}

impl ChunkWriter {
    /// Creates a writer. `include_usage` is the caller's `stream_options.include_usage`; `created` is the time in
    /// seconds since 1970.
    pub fn new(include_usage: bool, created: u64) -> Self {
        Self {
            include_usage,
            created,
            id: Value::Null,
            model: Value::Null,
            usage: Map::new(),
            stop_reason: None,
            is_done: false,
            calls: Vec::new(),
            next_call: 0,
            others: Vec::new(),
            held_size: 0,
            halves: Halves::default(),
        }
    }

    /// Returns `true` once the end of the message is written.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Returns the output tokens that the backend has counted so far.
    pub fn output_tokens(&self) -> Option<u64> {
        self.usage.get("output_tokens").and_then(Value::as_u64)
    }

    /// Translates the data of one event and appends the chunks to `out`. A `ping` or an unknown event produces no
    /// chunk.
    ///
    /// # Errors
    /// Returns an error if the data is not JSON or reports an error, or if the message stops without a reason.
    pub fn data(&mut self, data: &[u8], out: &mut String) -> Result<(), BadAnswer> {
        if !self.others.is_empty() {
            self.held_size = self.held_size.saturating_add(data.len());
            if self.held_size > HELD_SIZE_MAX {
                return Err(BadAnswer::TooLarge(HELD_SIZE_MAX));
            }
        }
        let event = self.halves.read(data);
        let mut event: Value = event.map_err(|error| BadAnswer::NotJson(error.to_string()))?;
        let index = event["index"].as_u64();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.start(take(&mut event, "message"), out),
            "content_block_start" => {
                let index = index.ok_or(BadAnswer::Lacks("index"))?;
                self.start_block(index, take(&mut event, "content_block"), out);
            }
            "content_block_delta" => {
                let index = index.ok_or(BadAnswer::Lacks("index"))?;
                self.delta(index, take(&mut event, "delta"), out);
            }
            "content_block_stop" => self.stop_block(index, out),
            "message_delta" => {
                if let Value::Object(usage) = take(&mut event, "usage") {
                    let counted = usage.into_iter().filter(|(_, count)| !count.is_null());
                    self.usage.extend(counted);
                }
                let reason = take(&mut take(&mut event, "delta"), "stop_reason");
                if !reason.is_null() {
                    self.stop_reason = Some(reason);
                }
            }
            "message_stop" => return self.end(out),
            "error" => {
                let message = event["error"]["message"].as_str().unwrap_or_default();
                return Err(BadAnswer::Reported(message.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, mut message: Value, out: &mut String) {
        self.id = take(&mut message, "id");
        self.model = take(&mut message, "model");
        if let Value::Object(usage) = take(&mut message, "usage") {
            self.usage = usage;
        }
        self.write(json!({"role": "assistant", "content": ""}), None, out);
    }

    fn start_block(&mut self, index: u64, block: Value, out: &mut String) {
        match block["type"].as_str().unwrap_or_default() {
            "tool_use" => {
                // The input follows in parts. If none does, it is this one; a tool without parameters has an empty one.
                let input = match &block["input"] {
                    input @ Value::Object(_) => input.to_string(),
                    _ => "{}".to_owned(),
                };
                let call = self.next_call;
                self.next_call += 1;
                self.calls.push((index, call, Some(input)));
                let function = json!({"name": block["name"], "arguments": ""});
                let call = json!({
                    "index": call, "id": block["id"], "type": "function", "function": function,
                });
                self.write(json!({"tool_calls": [call]}), None, out);
            }
            "redacted_thinking" => self.write(json!({"thinking_blocks": [block]}), None, out),
            "text" | "thinking" => {
                let kind = block["type"].as_str().unwrap_or_default();
                let text = block[kind].as_str().unwrap_or_default();
                if !text.is_empty() {
                    let key = if kind == "text" {
                        "content"
                    } else {
                        "reasoning_content"
                    };
                    self.write(json!({key: text}), None, out);
                }
                if kind == "thinking" {
                    self.others.push((index, block));
                }
            }
            _ => self.others.push((index, block)),
        }
    }

    fn delta(&mut self, index: u64, mut delta: Value, out: &mut String) {
        let kind = delta["type"].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "text_delta" => self.write(json!({"content": take(&mut delta, "text")}), None, out),
            "thinking_delta" => {
                self.extend_other(index, "thinking", &delta["thinking"]);
                self.write(
                    json!({"reasoning_content": take(&mut delta, "thinking")}),
                    None,
                    out,
                );
            }
            "signature_delta" => self.extend_other(index, "signature", &delta["signature"]),
            "input_json_delta" => {
                let json = take(&mut delta, "partial_json");
                let call = self.calls.iter_mut().find(|(own, ..)| *own == index);
                if let Some((_, call, input)) = call {
                    if json != "" {
                        *input = None;
                    }
                    let call = json!({"index": call, "function": {"arguments": json}});
                    self.write(json!({"tool_calls": [call]}), None, out);
                } else {
                    self.extend_other(index, "partial_json", &json);
                }
            }
            _ => {
                if let Some((_, block)) = self.others.iter_mut().find(|(own, _)| *own == index)
                    && let Some(deltas) = block
                        .as_object_mut()
                        .map(|block| block.entry("deltas").or_insert_with(|| json!([])))
                    && let Some(deltas) = deltas.as_array_mut()
                {
                    deltas.push(delta);
                }
            }
        }
    }

    fn stop_block(&mut self, index: Option<u64>, out: &mut String) {
        let Some(index) = index else {
            return;
        };
        if let Some(place) = self.calls.iter().position(|(own, ..)| *own == index) {
            let (_, call, input) = self.calls.swap_remove(place);
            if let Some(input) = input {
                let call = json!({"index": call, "function": {"arguments": input}});
                self.write(json!({"tool_calls": [call]}), None, out);
            }
        }
        if let Some(place) = self.others.iter().position(|(own, _)| *own == index) {
            let (_, block) = self.others.swap_remove(place);
            let is_thinking = block["type"] == "thinking";
            let key = if is_thinking {
                "thinking_blocks"
            } else {
                "content_blocks"
            };
            self.write(json!({key: [block]}), None, out);
        }
    }

    fn extend_other(&mut self, index: u64, key: &str, text: &Value) {
        let Some(text) = text.as_str() else {
            return;
        };
        let block = self.others.iter_mut().find(|(own, _)| *own == index);
        if let Some(Value::Object(block)) = block.map(|(_, block)| block) {
            match block.get_mut(key) {
                Some(Value::String(known)) => known.push_str(text),
                _ => {
                    block.insert(key.to_owned(), text.into());
                }
            }
        }
    }

    fn end(&mut self, out: &mut String) -> Result<(), BadAnswer> {
        if self.is_done {
            return Ok(());
        }
        let reason = finish_reason(self.stop_reason.as_ref());
        if reason.is_null() {
            return Err(BadAnswer::Incomplete);
        }
        self.is_done = true;
        self.write(json!({}), Some(&reason), out);
        if self.include_usage {
            let mut chunk = self.chunk(&json!([]));
            chunk["usage"] = usage::to_chat(&self.usage);
            push(&chunk, out);
        }
        out.push_str("data: [DONE]\n\n");
        Ok(())
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the value is created for this call"
    )]
    fn write(&self, delta: Value, finish_reason: Option<&Value>, out: &mut String) {
        let mut chunk = self.chunk(&json!([
            {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": null}
        ]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        push(&chunk, out);
    }

    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn push(chunk: &Value, out: &mut String) {
    let written = write!(out, "data: {chunk}\n\n");
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests;
