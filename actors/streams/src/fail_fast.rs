//! Ends a stream at its first error.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

pin_project! {
    /// A stream whose first error is its last element; the source is not polled after it.
    #[derive(Debug)]
    pub struct FailFast<S> {
        #[pin]
        source: S,
        ended: bool,
    }
}

impl<S> FailFast<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            ended: false,
        }
    }
}

impl<T, E, S: Stream<Item = Result<T, E>>> Stream for FailFast<S> {
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let item = ready!(this.source.poll_next(context));
        *this.ended = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}
