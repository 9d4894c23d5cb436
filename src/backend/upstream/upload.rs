//! A request body. A large one is sent in pieces, so that an answer that arrives before its end is read.
//!
//! A server that refuses a large body answers before it has read it, and closes the connection. If the client is
//! writing at that moment, the write fails and the answer is lost. Pieces make this moment short. The second, careful
//! upload waits for an early answer before it sends anything.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// The size of a piece; larger bodies are sent in pieces.
pub(super) const PIECE: usize = 64 << 10;

/// The time within which a server refuses a body by its announced size.
const EARLY: Duration = Duration::from_millis(250);

/// One body.
#[derive(Debug, Default)]
pub(super) struct Upload {
    rest: Bytes,
    /// Becomes `true` once the last piece was handed over, so that the server may have the whole request.
    is_sent: Option<Arc<AtomicBool>>,
    /// The wait before the first piece.
    early: Option<Pin<Box<Sleep>>>,
    /// `true` to pause after each piece, so that an answer can be read.
    pauses: bool,
    is_paused: bool,
}

impl Upload {
    pub(super) fn new(body: Bytes) -> Self {
        Self {
            rest: body,
            ..Self::default()
        }
    }

    /// Creates an upload that sets `is_sent` once its last piece was handed over.
    pub(super) fn observed(body: Bytes, is_sent: Arc<AtomicBool>) -> Self {
        Self {
            is_sent: Some(is_sent),
            ..Self::new(body)
        }
    }

    /// Creates an upload that gives the server time to refuse the body before it begins.
    pub(super) fn careful(body: Bytes) -> Self {
        Self {
            early: Some(Box::pin(tokio::time::sleep(EARLY))),
            pauses: true,
            ..Self::new(body)
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(early) = &mut self.early {
            if early.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            self.early = None;
        }
        if self.pauses && !self.is_paused {
            self.is_paused = true;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_paused = false;
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        if self.rest.is_empty()
            && let Some(is_sent) = &self.is_sent
        {
            is_sent.store(true, Relaxed);
        }
        if piece.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}
