//! Reads the stream of a message and passes its events on, unchanged or as chat chunks.
//!
//! A message is complete when `message_stop` arrives after a stop reason; any other end means that the answer is
//! incomplete. `id:` and `retry:` lines and comments are removed.

use bytes::{Bytes, BytesMut};

use crate::{
    anthropic::{ChunkWriter, Progress},
    error::ErrorView,
    framing::{Framing, error_at_end},
    json,
    sse::{Event, Splitter, events, write},
    stream::Problem,
    translate::BadAnswer,
    usage::Usage,
};

/// Reads one stream.
#[derive(Debug)]
pub struct MessageFramer {
    splitter: Splitter,
    event_size_max: usize,
    progress: Progress,
    /// Translates the events; if it is `None`, the events are passed on unchanged.
    writer: Option<ChunkWriter>,
    problem: Option<Problem>,
}

impl MessageFramer {
    /// Creates a framer for events of at most `event_size_max` bytes; with `writer` they become chat chunks.
    pub fn new(event_size_max: usize, writer: Option<ChunkWriter>) -> Self {
        Self {
            splitter: Splitter::new(event_size_max),
            event_size_max,
            progress: Progress::default(),
            writer,
            problem: None,
        }
    }

    /// Reads whole events and returns the bytes for the caller.
    fn take(&mut self, lines: &[u8]) -> Bytes {
        let mut own = BytesMut::new();
        let mut chunks = String::new();
        for event in events(lines) {
            match self.note(&event, &mut own, &mut chunks) {
                Ok(()) if self.progress.is_done() => break,
                Ok(()) => {}
                Err(problem) => {
                    self.problem = Some(problem);
                    break;
                }
            }
        }
        if self.writer.is_some() {
            return chunks.into();
        }
        own.freeze()
    }

    fn note(
        &mut self,
        event: &Event<'_>,
        own: &mut BytesMut,
        chunks: &mut String,
    ) -> Result<(), Problem> {
        if event.span.len() > self.event_size_max {
            return Err(Problem::TooLarge);
        }
        if let Some(stray) = event.stray
            && ErrorView::read(stray).is_some()
        {
            return Err(Problem::Error(Bytes::copy_from_slice(stray)));
        }
        let data = event.data.as_deref().unwrap_or_default();
        if data.trim_ascii().is_empty() {
            return Ok(());
        }
        let noted = self.progress.note(data);
        let kind = noted.map_err(|error| problem(&error, event.name, data))?;
        match &mut self.writer {
            Some(writer) => {
                let before = chunks.len();
                let written = writer.data(data, chunks);
                if let Err(error) = written {
                    chunks.truncate(before);
                    return Err(problem(&error, event.name, data));
                }
            }
            // The official clients require the names of events.
            None => write(Some(event.name.unwrap_or(name_of(&kind))), data, own),
        }
        Ok(())
    }
}

impl Framing for MessageFramer {
    fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        if self.progress.is_done() || self.problem.is_some() {
            return None;
        }
        let Ok(lines) = self.splitter.push(chunk) else {
            self.problem = Some(Problem::TooLarge);
            return None;
        };
        let passed = self.take(&json::as_utf8(lines?));
        Some(passed).filter(|passed| !passed.is_empty())
    }

    fn end(&mut self) -> Option<Bytes> {
        let rest = self.splitter.take_incomplete();
        if self.progress.is_done() || self.problem.is_some() {
            return None;
        }
        self.problem = error_at_end(&rest);
        None
    }

    fn pending(&self) -> usize {
        self.splitter.pending()
    }

    fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    fn is_done(&self) -> bool {
        self.progress.is_done()
    }

    fn has_spoken(&self) -> bool {
        self.progress.has_spoken()
    }

    fn tokens(&self) -> u32 {
        self.progress.usage().output_tokens().unwrap_or_default()
    }

    fn usage(&self) -> Usage {
        self.progress.usage()
    }
}

/// Returns the event name of a type.
fn name_of(kind: &str) -> &[u8] {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if kind.chars().all(is_word) {
        kind.as_bytes()
    } else {
        b"message"
    }
}

/// Returns the reason why an event cannot be passed on.
fn problem(error: &BadAnswer, name: Option<&[u8]>, data: &[u8]) -> Problem {
    let is_error = name == Some(b"error") || ErrorView::read(data).is_some();
    match error {
        BadAnswer::Reported(_) => Problem::Error(Bytes::copy_from_slice(data)),
        BadAnswer::Incomplete => Problem::Cut,
        BadAnswer::TooLarge(_) => Problem::TooLarge,
        _ if is_error => Problem::Error(Bytes::copy_from_slice(data)),
        BadAnswer::NotJson(_) | BadAnswer::Lacks(_) | BadAnswer::Contradicts(_) => {
            Problem::Unreadable
        }
    }
}
