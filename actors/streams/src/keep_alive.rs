//! Heartbeats: elements injected when a stream emits nothing.
//!
//! Owns the timer of the pause. Injected elements are never queued, and an element of the source takes precedence.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

pin_project! {
    /// A stream that is never without an element for longer than its limit while it is polled.
    pub struct KeepAlive<S, F> {
        #[pin]
        source: S,
        inject: F,
        idle: Duration,
        // Created at the first poll, because the time before the stream is used does not count.
        silence: Option<Pin<Box<Sleep>>>,
        ended: bool,
    }
}

impl<S, F> KeepAlive<S, F> {
    pub(super) fn new(source: S, idle: Duration, inject: F) -> Self {
        Self {
            source,
            inject,
            idle,
            silence: None,
            ended: false,
        }
    }
}

impl<S: Stream, F: FnMut() -> S::Item> Stream for KeepAlive<S, F> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let idle = *this.idle;
        let silence = this.silence.get_or_insert_with(|| Box::pin(sleep(idle)));
        let item = match this.source.poll_next(context) {
            Poll::Ready(Some(item)) => item,
            Poll::Ready(None) => {
                *this.ended = true;
                return Poll::Ready(None);
            }
            Poll::Pending if silence.as_mut().poll(context).is_ready() => (this.inject)(),
            Poll::Pending => return Poll::Pending,
        };
        silence.as_mut().reset(Instant::now() + idle);
        Poll::Ready(Some(item))
    }
}

impl<S, F> fmt::Debug for KeepAlive<S, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeepAlive")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}
