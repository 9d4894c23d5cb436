//! Where the events of a response go.

use std::fmt::Write;

use serde_json::{Value, json};

/// Numbers events and appends them to a text; a whole answer has no text to append to, and writes none.
#[derive(Debug)]
pub(super) struct Events<'a> {
    pub(super) out: Option<&'a mut String>,
    pub(super) sequence: &'a mut u64,
}

impl Events<'_> {
    /// Writes an event. `body` makes its members other than `type` and `sequence_number`.
    pub(super) fn write(&mut self, kind: &str, body: impl FnOnce() -> Value) {
        let Some(out) = self.out.as_deref_mut() else {
            return;
        };
        let mut event = body();
        event["type"] = kind.into();
        event["sequence_number"] = (*self.sequence).into();
        *self.sequence += 1;
        let written = write!(out, "event: {kind}\ndata: {event}\n\n");
        debug_assert!(written.is_ok(), "a string takes every write");
    }
}

/// Writes the events that end a stream with an error: an `error` event, which the official clients raise, and
/// `response.failed`.
pub(super) fn failure_events(code: &str, message: &str, response: &Value, events: &mut Events<'_>) {
    // OpenAI documents the members beside `type`; its servers and its clients have them under `error`.
    let error = json!({"type": "server_error", "code": code, "message": message, "param": null});
    events.write(
        "error",
        || json!({"code": code, "message": message, "param": null, "error": error}),
    );
    events.write("response.failed", || json!({"response": response}));
}
