//! Where the events of a response go.

use std::fmt::Write;

use serde_json::Value;

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
