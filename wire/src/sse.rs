//! Cuts the bytes of an event stream into complete events, passing them on uncopied where they may go as they are.
//!
//! Lines that callers must not get are removed: `id:` and `retry:` (an SDK then delivers empty events), comments
//! (the service sends its own) and carriage returns. The framer also reads what decides how the stream ended:
//! `[DONE]`, `finish_reason`, an error in band, usage. Memory is bounded by the largest event.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem, memrchr};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The event that ends a stream, exactly as SDKs compare it.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// The reason why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The server reported an error in band: the event's data.
    Error(Bytes),
    /// An event is larger than allowed.
    TooLarge,
    /// The data of an event are not a JSON object.
    Garbage,
}

/// Cuts one stream.
#[derive(Debug)]
pub struct Framer {
    /// The beginning of an event whose end has not come yet.
    pending: BytesMut,
    event_size_max: usize,
    /// `[DONE]` was passed on; whatever follows is ignored.
    done: bool,
    /// A chunk gave its reason to finish.
    finished: bool,
    /// Output tokens, as the usage said.
    usage: Option<u32>,
    /// Events with data, about one token each.
    events: u32,
    problem: Option<Problem>,
}

/// What one line of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    /// Passed on: data, or an event's name or a field that nobody knows.
    Keep(Option<&'a [u8]>),
    /// Taken out: `id:`, `retry:`, a comment.
    Drop,
    Blank,
    Done,
}

impl Framer {
    /// Makes a framer for events of at most `event_size_max` bytes.
    pub fn new(event_size_max: usize) -> Self {
        Self {
            pending: BytesMut::new(),
            event_size_max,
            done: false,
            finished: false,
            usage: None,
            events: 0,
            problem: None,
        }
    }

    /// Takes the next bytes and returns the events that are complete now, if any carries data.
    pub fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        if self.done || self.problem.is_some() {
            return None;
        }
        let mut whole = if self.pending.is_empty() {
            chunk
        } else {
            // A blank line may lie across the seam: three bytes back is the longest of its beginnings.
            let searched = self.pending.len().saturating_sub(3);
            self.pending.extend_from_slice(&chunk);
            if end_of_events(&self.pending[searched..]) == 0 {
                self.bound_pending();
                return None;
            }
            self.pending.split().freeze()
        };
        let end = end_of_events(&whole);
        let rest = whole.split_off(end);
        self.pending.extend_from_slice(&rest);
        self.bound_pending();
        self.inspect(&whole)
    }

    /// Takes the end of the bytes: what is left counts as an event. Returns the last events and whether the
    /// stream was whole.
    pub fn end(&mut self) -> (Option<Bytes>, bool) {
        let mut rest = self.pending.split();
        if !rest.is_empty() && !self.done && self.problem.is_none() {
            rest.extend_from_slice(b"\n\n");
            let events = self.inspect(&rest.freeze());
            let whole = self.done || self.finished;
            return (self.with_done(events), whole && self.problem.is_none());
        }
        let whole = self.done || self.finished;
        (self.with_done(None), whole && self.problem.is_none())
    }

    /// Returns `true` if `[DONE]` was passed on.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Returns what made it impossible to go on.
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// Returns the output tokens: what the usage said, or the number of events with data.
    pub fn tokens(&self) -> u32 {
        self.usage.unwrap_or(self.events)
    }

    /// Adds the `[DONE]` that a server left out after it gave its reason to finish.
    fn with_done(&mut self, events: Option<Bytes>) -> Option<Bytes> {
        if self.done || !self.finished || self.problem.is_some() {
            return events;
        }
        self.done = true;
        let Some(events) = events else {
            return Some(Bytes::from_static(DONE));
        };
        let mut more = BytesMut::from(events);
        more.extend_from_slice(DONE);
        Some(more.freeze())
    }

    fn bound_pending(&mut self) {
        if self.pending.len() > self.event_size_max {
            self.problem = Some(Problem::TooLarge);
            self.pending.clear();
        }
    }

    /// Looks at complete events; returns them as they are, or rewritten when something must go.
    fn inspect(&mut self, events: &Bytes) -> Option<Bytes> {
        let mut clean = true;
        let mut any_data = false;
        // The current event has data; one without is no event to a caller, and an SDK trips over it.
        let mut has_data = false;
        // Where the current event begins: an error or `[DONE]` cuts there.
        let mut event_start = 0;
        let mut done = false;
        let mut place = 0;
        for line in lines(events) {
            let next = place + line.len() + 1;
            let kind = kind_of(line);
            clean &=
                kind != Line::Drop && !line.ends_with(b"\r") && (kind != Line::Blank || has_data);
            match kind {
                Line::Keep(Some(data)) => self.data(data, events),
                Line::Done => done = true,
                _ => {}
            }
            if done || self.problem.is_some() {
                break;
            }
            has_data |= matches!(kind, Line::Keep(Some(_)));
            place = next;
            if kind == Line::Blank {
                any_data |= has_data;
                has_data = false;
                event_start = next;
            }
        }
        let cut = if done || self.problem.is_some() {
            event_start
        } else {
            events.len()
        };
        let exact = done && events[cut..].starts_with(DONE);
        self.done = done;
        if !any_data && !done {
            return None;
        }
        if clean && (exact || !done) {
            let end = if done { cut + DONE.len() } else { cut };
            return Some(events.slice(..end));
        }
        let mut kept = rewritten(&events[..cut]);
        if done {
            kept.extend_from_slice(DONE);
        }
        Some(kept.freeze())
    }

    /// Notes what one line of data tells.
    fn data(&mut self, data: &[u8], events: &Bytes) {
        if data.first() != Some(&b'{') {
            self.problem = Some(Problem::Garbage);
            return;
        }
        self.events = self.events.saturating_add(1);
        if memmem::find(data, b"\"error\"").is_some() && has_error(data) {
            self.problem = Some(Problem::Error(events.slice_ref(data)));
            return;
        }
        if let Some(at) = memmem::find(data, b"\"finish_reason\"") {
            let value = data[at + 15..].iter().find(|byte| !b" :".contains(byte));
            self.finished |= value == Some(&b'"');
        }
        if let Some(at) = memmem::find(data, b"\"usage\"") {
            let value = data[at + 7..].iter().find(|byte| !b" :".contains(byte));
            if value == Some(&b'{') {
                self.usage = completion_tokens(data).or(self.usage);
            }
        }
    }
}

/// Copies events without what callers must not see.
fn rewritten(events: &[u8]) -> BytesMut {
    let mut kept = BytesMut::with_capacity(events.len() + DONE.len());
    let mut has_data = false;
    let mut event_start = 0;
    for line in lines(events) {
        match kind_of(line) {
            Line::Drop => {}
            Line::Blank => {
                if has_data {
                    kept.extend_from_slice(b"\n");
                } else {
                    kept.truncate(event_start);
                }
                event_start = kept.len();
                has_data = false;
            }
            kind @ (Line::Keep(_) | Line::Done) => {
                kept.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                kept.extend_from_slice(b"\n");
                has_data |= kind != Line::Keep(None);
            }
        }
    }
    kept
}

/// Returns the lines of complete events, without their line feeds.
fn lines(events: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..length];
        rest = rest.get(length + 1..).unwrap_or_default();
        Some(line)
    })
}

/// Classifies a line.
fn kind_of(line: &[u8]) -> Line<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_field = |name: &[u8]| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b':')
    };
    match line.first() {
        None => Line::Blank,
        Some(b'd') if line.starts_with(b"data:") => {
            let data = &line[5..];
            let data = data.strip_prefix(b" ").unwrap_or(data);
            if data.trim_ascii() == b"[DONE]" {
                Line::Done
            } else {
                Line::Keep(Some(data))
            }
        }
        Some(b':') => Line::Drop,
        Some(b'i') if is_field(b"id") => Line::Drop,
        Some(b'r') if is_field(b"retry") => Line::Drop,
        Some(_) => Line::Keep(None),
    }
}

/// Returns the length of everything up to and including the last blank line.
fn end_of_events(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    while let Some(at) = memrchr(b'\n', &bytes[..end]) {
        let before = &bytes[..at];
        let before = before.strip_suffix(b"\r").unwrap_or(before);
        if before.ends_with(b"\n") {
            return at + 1;
        }
        end = at;
    }
    0
}

/// Returns `true` if the object has an error that is not null.
fn has_error(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Reported<'a> {
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
    }
    serde_json::from_slice::<Reported<'_>>(data).is_ok_and(|reported| reported.error.is_some())
}

/// Reads the output tokens out of an answer or a chunk.
pub fn completion_tokens(data: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Counted {
        usage: Option<Usage>,
    }
    #[derive(Deserialize)]
    struct Usage {
        completion_tokens: Option<u32>,
    }
    serde_json::from_slice::<Counted>(data)
        .ok()?
        .usage?
        .completion_tokens
}

#[cfg(test)]
mod tests;
