//! Server-sent events, as the HTML standard defines them, from bytes divided at arbitrary places.
//!
//! [`Splitter`] divides bytes into whole events; it copies nothing if a server ends its lines with line feeds.
//! [`events`] reads the events in its result. [`Decoder`] does both and returns owned events. An event without its
//! blank line at the end of the stream is discarded. Memory is bounded by the largest event.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2, memmem};

/// The byte order mark that a stream may begin with.
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// The error of an event that is larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {max} bytes")]
pub struct TooLarge {
    /// The bound.
    pub max: usize,
}

/// Divides one stream into whole events with line feeds as line ends.
#[derive(Debug)]
pub struct Splitter {
    /// The beginning of an event whose end has not arrived, with line feeds only.
    pending: BytesMut,
    event_size_max: usize,
    /// The number of bytes of a byte order mark with which the stream began; `None` once that is decided.
    mark: Option<usize>,
    /// `true` if the last byte was a carriage return, to which a following line feed belongs.
    after_return: bool,
}

impl Splitter {
    /// Creates a splitter for events of at most `event_size_max` bytes.
    pub fn new(event_size_max: usize) -> Self {
        Self {
            pending: BytesMut::new(),
            event_size_max,
            mark: Some(0),
            after_return: false,
        }
    }

    /// Takes the next bytes and returns the events that are complete now: lines that end with line feeds, the last of
    /// which is empty.
    ///
    /// # Errors
    /// Returns an error if an incomplete event is larger than allowed.
    pub fn push(&mut self, chunk: Bytes) -> Result<Option<Bytes>, TooLarge> {
        let chunk = self.with_line_feeds(chunk);
        let mut whole = if self.pending.is_empty() {
            chunk
        } else {
            // A blank line may span both chunks.
            let searched = self.pending.len() - 1;
            self.pending.extend_from_slice(&chunk);
            if memmem::find(&self.pending[searched..], b"\n\n").is_none() {
                return self.bounded(None);
            }
            // Events in the caller's hands do not share their memory with the next one.
            std::mem::take(&mut self.pending).freeze()
        };
        let end = memmem::rfind(&whole, b"\n\n").map_or(0, |at| at + 2);
        let rest = whole.split_off(end);
        self.pending.extend_from_slice(&rest);
        self.bounded(Some(whole).filter(|whole| !whole.is_empty()))
    }

    /// Returns the number of bytes that are held of an event that is not complete.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the incomplete event at the end of the stream, which the standard discards.
    pub fn take_incomplete(&mut self) -> Bytes {
        self.pending.split().freeze()
    }

    fn bounded(&mut self, whole: Option<Bytes>) -> Result<Option<Bytes>, TooLarge> {
        if self.pending.len() > self.event_size_max {
            self.pending.clear();
            return Err(TooLarge {
                max: self.event_size_max,
            });
        }
        Ok(whole)
    }

    /// Removes the byte order mark and converts every line end to a line feed.
    fn with_line_feeds(&mut self, chunk: Bytes) -> Bytes {
        let chunk = self.without_mark(chunk);
        if chunk.is_empty() || (!self.after_return && memchr(b'\r', &chunk).is_none()) {
            return chunk;
        }
        let mut lines = BytesMut::with_capacity(chunk.len());
        let mut rest: &[u8] = &chunk;
        if std::mem::take(&mut self.after_return) {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = memchr(b'\r', rest) {
            lines.extend_from_slice(&rest[..at]);
            lines.extend_from_slice(b"\n");
            rest = &rest[at + 1..];
            if rest.is_empty() {
                self.after_return = true;
            }
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        lines.extend_from_slice(rest);
        lines.freeze()
    }

    /// Removes the byte order mark, which may arrive in several pieces.
    fn without_mark(&mut self, mut chunk: Bytes) -> Bytes {
        let Some(begun) = self.mark else {
            return chunk;
        };
        let left = &BYTE_ORDER_MARK[begun..];
        let same = left.iter().zip(&chunk).take_while(|(a, b)| a == b).count();
        if same == left.len() {
            self.mark = None;
            return chunk.split_off(same);
        }
        if same == chunk.len() {
            self.mark = Some(begun + same);
            return Bytes::new();
        }
        self.mark = None;
        if begun == 0 {
            return chunk;
        }
        // It was not a byte order mark, so the bytes held back are text.
        let mut text = BytesMut::from(&BYTE_ORDER_MARK[..begun]);
        text.extend_from_slice(&chunk);
        text.freeze()
    }
}

/// One event of a stream, borrowed from the lines that contain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The position of the event, including its blank line.
    pub span: Range<usize>,
    /// The value of its last `event` field; `None` if it has none or if it is empty.
    pub name: Option<&'a [u8]>,
    /// The values of its `data` fields, joined by line feeds; `None` if it has none, in which case readers ignore the
    /// event.
    pub data: Option<Cow<'a, [u8]>>,
    /// `true` if the event is one line of data that is not empty, after at most one line with its name.
    pub is_plain: bool,
    /// Lines that are not fields but the text of a JSON value, or the object of a field `error`. The standard ignores
    /// both.
    pub stray: Option<&'a [u8]>,
}

/// Returns the events in whole lines, as returned by [`Splitter::push`].
pub fn events(lines: &[u8]) -> impl Iterator<Item = Event<'_>> {
    let mut place = 0;
    std::iter::from_fn(move || {
        if place >= lines.len() {
            return None;
        }
        let event = read_event(lines, place);
        place = event.span.end;
        Some(event)
    })
}

fn read_event(lines: &[u8], start: usize) -> Event<'_> {
    let mut event = Event {
        span: start..lines.len(),
        name: None,
        data: None,
        is_plain: true,
        stray: None,
    };
    let mut stray: Option<Range<usize>> = None;
    let mut place = start;
    while place < lines.len() {
        let length = memchr(b'\n', &lines[place..]).unwrap_or(lines.len() - place);
        let line = &lines[place..place + length];
        let next = (place + length + 1).min(lines.len());
        if line.is_empty() {
            event.span.end = next;
            break;
        }
        match field(line) {
            (b"data", value) => {
                event.is_plain &= event.data.is_none() && !value.is_empty();
                event.data = Some(match event.data.take() {
                    None => Cow::Borrowed(value),
                    Some(before) => {
                        let mut joined = before.into_owned();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                        Cow::Owned(joined)
                    }
                });
            }
            (b"event", value) => {
                event.is_plain &= event.name.is_none() && event.data.is_none() && !value.is_empty();
                event.name = Some(value).filter(|value| !value.is_empty());
            }
            // Older llama.cpp servers write errors in this form.
            (b"error", value) if stray.is_none() && value.starts_with(b"{") => {
                event.is_plain = false;
                stray = Some(place + length - value.len()..place + length);
            }
            _ => {
                event.is_plain = false;
                if stray.is_some() || matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) {
                    let begin = stray.map_or(place, |stray| stray.start);
                    stray = Some(begin..place + length);
                }
            }
        }
        place = next;
    }
    event.is_plain &= event.data.is_some();
    event.stray = stray.map(|stray| &lines[stray]);
    event
}

/// Divides a line into the name and the value of its field. A comment has an empty name.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b':', line) {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

/// An event with its own memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedEvent {
    /// The event's name; `message` if the stream does not give one.
    pub name: String,
    /// The event's data.
    pub data: String,
}

/// Decodes a stream into owned events.
#[derive(Debug)]
pub struct Decoder {
    splitter: Splitter,
}

impl Decoder {
    /// Creates a decoder for events of at most `event_size_max` bytes.
    pub fn new(event_size_max: usize) -> Self {
        Self {
            splitter: Splitter::new(event_size_max),
        }
    }

    /// Takes the next bytes and returns the events that are complete now.
    ///
    /// # Errors
    /// Returns an error if an event is larger than allowed.
    pub fn push(&mut self, chunk: Bytes) -> Result<Vec<OwnedEvent>, TooLarge> {
        let Some(lines) = self.splitter.push(chunk)? else {
            return Ok(Vec::new());
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let decoded = events(&lines).filter_map(|event| {
            Some(OwnedEvent {
                name: event.name.map_or_else(|| "message".to_owned(), text),
                data: text(&event.data?),
            })
        });
        Ok(decoded.collect())
    }
}

/// Writes an event with one line of data.
///
/// Line ends in `data` become spaces; in JSON they can only be between values.
pub fn write(name: Option<&[u8]>, data: &[u8], out: &mut BytesMut) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"data: ");
    let mut rest = data;
    while let Some(at) = memchr2(b'\n', b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b" ");
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
