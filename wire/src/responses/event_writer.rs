//! Chat answers, whole or streamed, as responses.

use serde_json::{Map, Value, json};

use crate::{
    file_search::Found,
    mcp::McpStep,
    responses::{
        Template,
        events::{Events, failure_events},
        output::Output,
    },
    surrogates,
    translate::{BadAnswer, ChatReader, Piece},
};

/// Translates a whole chat answer into a response with the given id; times are in seconds since 1970. `found` is what was found for the
/// call.
///
/// # Errors
/// Returns an error if the bytes are not a chat answer.
pub fn response_of_chat(
    answer: &[u8],
    (template, found): (&Template, Option<&Found>),
    id: &str,
    created_at: u64,
    now: u64,
) -> Result<Value, BadAnswer> {
    let answer = surrogates::read(answer);
    let answer: Value = answer.map_err(|error| BadAnswer::NotJson(error.to_string()))?;
    let mut reader = ChatReader::default();
    let mut output = Output::new(id);
    let mut sequence = 0;
    let mut events = Events {
        out: None,
        sequence: &mut sequence,
    };
    if let Some(found) = found {
        output.found(found, &mut events);
    }
    for piece in reader.whole(answer)? {
        output.add(piece, &mut events)?;
    }
    let response = template.response(id, created_at, "completed", &reader);
    let (_, response) = finish(response, &mut reader, &mut output, now, &mut events);
    Ok(response)
}

/// Writes the events of a response from the chunks of a chat stream.
///
/// The last event is `response.completed`, `response.incomplete` or `response.failed`; numbers have no gaps.
#[derive(Debug)]
pub struct EventWriter {
    template: Template,
    id: String,
    created_at: u64,
    reader: ChatReader,
    output: Output,
    sequence: u64,
    has_begun: bool,
    /// What was found for the call, until it is reported.
    found: Option<Found>,
    /// The response as it ended.
    response: Option<Value>,
}

impl EventWriter {
    /// Returns the template, to be changed before the first event.
    pub fn template_mut(&mut self) -> &mut Template {
        &mut self.template
    }

    /// Sets what was found for the call, before the first event.
    pub fn set_found(&mut self, found: Found) {
        self.found = Some(found);
    }

    /// Creates a writer that has written nothing.
    pub fn new(template: Template, id: impl Into<String>, created_at: u64) -> Self {
        let id = id.into();
        Self {
            template,
            output: Output::new(&id),
            id,
            created_at,
            reader: ChatReader::default(),
            sequence: 0,
            has_begun: false,
            found: None,
            response: None,
        }
    }

    /// Translates the data of one chat event, `[DONE]` included, and appends the events to `out`; `now` is in seconds
    /// since 1970.
    ///
    /// # Errors
    /// Returns an error if the data is not a chat chunk or reports an error, or if the stream is done before the answer
    /// is. After an error, the caller ends the stream with [`fail`](Self::fail).
    pub fn data(&mut self, data: &[u8], now: u64, out: &mut String) -> Result<(), BadAnswer> {
        if data.trim_ascii() == b"[DONE]" {
            let pieces = self.reader.done();
            self.add(pieces, out)?;
            return self.end(now, out);
        }
        let chunk = self.reader.parse(data)?;
        let pieces = self.reader.chunk(chunk)?;
        self.add(pieces, out)
    }

    fn add(&mut self, pieces: Vec<Piece>, out: &mut String) -> Result<(), BadAnswer> {
        self.begin(out);
        let mut events = Events {
            out: Some(out),
            sequence: &mut self.sequence,
        };
        for piece in pieces {
            self.output.add(piece, &mut events)?;
        }
        Ok(())
    }

    /// Writes a step with a tool that the gateway has called, and appends the events to `out`.
    pub fn step(&mut self, step: &McpStep, out: &mut String) {
        self.begin(out);
        let mut events = Events {
            out: Some(out),
            sequence: &mut self.sequence,
        };
        self.output.step(step, &mut events);
    }

    /// Writes the end of the response. Does nothing if it is written already.
    ///
    /// # Errors
    /// Returns an error if the backend has not said why it stopped.
    pub fn end(&mut self, now: u64, out: &mut String) -> Result<(), BadAnswer> {
        if self.response.is_some() {
            return Ok(());
        }
        self.reader.end()?;
        self.begin(out);
        let response = self.resource("completed");
        let mut events = Events {
            out: Some(out),
            sequence: &mut self.sequence,
        };
        let (kind, response) = finish(
            response,
            &mut self.reader,
            &mut self.output,
            now,
            &mut events,
        );
        events.write(kind, || json!({"response": response}));
        self.response = Some(response);
        Ok(())
    }

    /// Ends the stream with an error: an `error` event, which the official clients raise, and `response.failed`.
    pub fn fail(&mut self, code: &str, message: &str, out: &mut String) {
        self.begin(out);
        let mut response = self.resource("failed");
        response.insert("output".to_owned(), self.output.abandon().into());
        response.insert(
            "error".to_owned(),
            json!({"code": code, "message": message}),
        );
        let response = Value::Object(response);
        let mut events = Events {
            out: Some(out),
            sequence: &mut self.sequence,
        };
        failure_events(code, message, &response, &mut events);
        self.response = Some(response);
    }

    /// Returns the response as it ended; `None` while it has not.
    pub fn response(&self) -> Option<&Value> {
        self.response.as_ref()
    }

    fn begin(&mut self, out: &mut String) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        let response = self.resource("in_progress");
        let mut events = Events {
            out: Some(out),
            sequence: &mut self.sequence,
        };
        for kind in ["response.created", "response.in_progress"] {
            events.write(kind, || json!({"response": response}));
        }
        if let Some(found) = self.found.take() {
            self.output.found(&found, &mut events);
        }
    }

    fn resource(&self, status: &str) -> Map<String, Value> {
        self.template
            .response(&self.id, self.created_at, status, &self.reader)
    }
}

/// Completes a response, and returns it with the name of its last event.
fn finish(
    mut response: Map<String, Value>,
    reader: &mut ChatReader,
    output: &mut Output,
    now: u64,
    events: &mut Events<'_>,
) -> (&'static str, Value) {
    let cause = match reader.finish_reason.as_deref() {
        Some("length" | "max_tokens" | "model_length") => Some("max_output_tokens"),
        Some(_) if reader.is_filtered() => Some("content_filter"),
        _ => None,
    };
    let mut other = std::mem::take(&mut reader.other);
    let annotations = annotations(other.shift_remove("annotations"));
    let items = output.finish(annotations, cause.is_none(), events);
    response.insert("output".to_owned(), items.into());
    let mut kind = "response.completed";
    if let Some(cause) = cause {
        kind = "response.incomplete";
        response.insert("status".to_owned(), "incomplete".into());
        response.insert("incomplete_details".to_owned(), json!({"reason": cause}));
    } else {
        response.insert("completed_at".to_owned(), now.into());
    }
    if let Some(usage) = reader.usage.take() {
        response.insert("usage".to_owned(), usage_of(usage));
    }
    if let Some(Value::String(tier)) = other.shift_remove("service_tier") {
        response.insert("service_tier".to_owned(), tier.into());
    }
    // Fields of the backend beyond the dialect are kept.
    for (key, value) in other {
        response.entry(key).or_insert(value);
    }
    (kind, response.into())
}

/// Returns annotations as a response has them; a chat answer wraps each in its own name.
fn annotations(annotations: Option<Value>) -> Vec<Value> {
    let Some(Value::Array(annotations)) = annotations else {
        return Vec::new();
    };
    let flat = |mut annotation: Value| {
        let kind = annotation["type"].as_str().unwrap_or_default().to_owned();
        match annotation.get_mut(&kind).map(Value::take) {
            Some(mut inner) if inner.is_object() => {
                inner["type"] = kind.into();
                inner
            }
            _ => annotation,
        }
    };
    annotations.into_iter().map(flat).collect()
}

fn usage_of(mut usage: Map<String, Value>) -> Value {
    let mut detail = |list: &str, key: &str| {
        let details = usage.shift_remove(list);
        details
            .and_then(|details| details.get(key)?.as_u64())
            .unwrap_or(0)
    };
    let cached = detail("prompt_tokens_details", "cached_tokens");
    let reasoning = detail("completion_tokens_details", "reasoning_tokens");
    let mut take = |key: &str| usage.shift_remove(key).and_then(|count| count.as_u64());
    let input = take("prompt_tokens").unwrap_or(0);
    let output = take("completion_tokens").unwrap_or(0);
    let total = take("total_tokens").unwrap_or(input.saturating_add(output));
    let mut target = json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": total,
    });
    for (key, value) in usage {
        if target.get(&key).is_none() {
            target[key] = value;
        }
    }
    target
}

#[cfg(test)]
mod tests;
