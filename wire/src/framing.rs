//! The readers of streamed answers, one for each dialect, behind one trait.

use bytes::Bytes;

use crate::{
    error::ErrorView,
    sse::events,
    stream::{Framer, Problem},
    usage::Usage,
};

/// Reads one streamed answer, passes its events on, and determines whether it ended completely.
///
/// The result does not depend on how the bytes are divided. Memory is bounded by the largest event.
pub trait Framing: Send + 'static {
    /// Takes the next bytes. Returns the events that are complete now, or `None` if none is passed on.
    fn push(&mut self, chunk: Bytes) -> Option<Bytes>;

    /// Takes the end of the bytes and returns the remaining events that are passed on. An incomplete event is
    /// discarded.
    fn end(&mut self) -> Option<Bytes>;

    /// Returns the number of bytes that are held of an event that is not complete.
    fn pending(&self) -> usize;

    /// Returns the problem that stopped the reading, or `None`.
    fn problem(&self) -> Option<&Problem>;

    /// Returns `true` if the answer is complete and its last event was passed on.
    fn is_done(&self) -> bool;

    /// Returns `true` if the answer is complete, even if its last event never arrives.
    fn is_answered(&self) -> bool {
        self.is_done()
    }

    /// Returns `true` if the answer has content, or ended without content.
    fn has_spoken(&self) -> bool;

    /// Returns the output tokens known so far.
    fn tokens(&self) -> u32;

    /// Returns the tokens that the server has reported so far.
    fn usage(&self) -> Usage;
}

/// Returns the error in an incomplete last event. Only an error can begin in this way.
pub(crate) fn error_at_end(rest: &[u8]) -> Option<Problem> {
    let event = events(rest).last()?;
    let data = event.data.as_deref().unwrap_or_default().trim_ascii();
    let text = event.stray.unwrap_or(data);
    let is_error = ErrorView::read(text).is_some();
    is_error.then(|| Problem::Error(Bytes::copy_from_slice(text)))
}

impl Framing for Framer {
    fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        self.push(chunk)
    }

    fn end(&mut self) -> Option<Bytes> {
        self.end().0
    }

    fn pending(&self) -> usize {
        self.pending()
    }

    fn problem(&self) -> Option<&Problem> {
        self.problem()
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }

    fn is_answered(&self) -> bool {
        self.is_answered()
    }

    fn has_spoken(&self) -> bool {
        self.has_spoken()
    }

    fn tokens(&self) -> u32 {
        self.tokens()
    }

    fn usage(&self) -> Usage {
        self.usage()
    }
}
