//! The body of a whole answer. The call ends when the answer is written, not when it is handed over.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};
use kebne_lane::{CallGuard, Ending};

use crate::stages::notes::Notes;

/// The number of bytes that are handed to the connection at once. The connection requests more when it has written
/// most of what it holds, so a caller who stops reading is noticed before the answer is written.
pub(super) const PART: usize = 32 << 10;

/// The size of an answer that counts as written as soon as the connection has it. The kernel takes so few bytes at once, and
/// the connection has just been checked for a caller that has left, so another step would only cost time.
const AT_ONCE: usize = 4 << 10;

/// A whole answer that is being sent, and the guard of the call.
pub(super) struct WholeBody {
    rest: Bytes,
    size: u64,
    guard: Option<CallGuard>,
    notes: Notes,
    /// `true` if the connection has had the time to write the last part.
    is_flushed: bool,
}

impl WholeBody {
    pub(super) fn new(body: Bytes, guard: CallGuard, notes: Notes) -> Self {
        Self {
            size: u64::try_from(body.len()).unwrap_or(u64::MAX),
            is_flushed: body.len() <= AT_ONCE,
            rest: body,
            guard: Some(guard),
            notes,
        }
    }
}

impl WholeBody {
    /// Creates the body of an answer whose ending in the lane is counted elsewhere.
    pub(super) fn without_lane(body: Bytes, notes: Notes) -> Self {
        Self {
            size: u64::try_from(body.len()).unwrap_or(u64::MAX),
            is_flushed: body.len() <= AT_ONCE,
            rest: body,
            guard: None,
            notes,
        }
    }
}

impl Drop for WholeBody {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            let counted = if thread::panicking() {
                guard.finish(Ending::Panic)
            } else {
                guard.leave()
            };
            self.notes.set_ending(counted, None);
        }
    }
}

impl MessageBody for WholeBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        if !this.rest.is_empty() {
            let part = this.rest.split_to(this.rest.len().min(PART));
            return Poll::Ready(Some(Ok(part)));
        }
        if !this.is_flushed {
            // A connection writes when its body has nothing to return.
            this.is_flushed = true;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(guard) = this.guard.take() {
            let counted = guard.finish(Ending::Success);
            this.notes.set_ending(counted, None);
        }
        Poll::Ready(None)
    }
}
