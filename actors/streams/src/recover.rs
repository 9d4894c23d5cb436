//! Recovery: continues with another source after a failure.
//!
//! Owns the number of recoveries. The next source follows at once; [`restart_source`](super::restart_source) waits
//! before it. Source: Pekko `FlowRecoverWithSpec`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

/// A stream that continues with another source after a failure; see
/// [`FlowExt::recover_with_retries`](super::FlowExt::recover_with_retries).
pub struct Recover<S, R, F> {
    source: Current<S, R>,
    replace: F,
    /// The remaining number of recoveries; `None` is unlimited.
    left: Option<u32>,
}

enum Current<S, R> {
    First(Pin<Box<S>>),
    Other(Pin<Box<R>>),
    Ended,
}

impl<S, R, F> Recover<S, R, F> {
    pub(super) fn new(source: S, attempts: Option<u32>, recover: F) -> Self {
        Self {
            source: Current::First(Box::pin(source)),
            replace: recover,
            left: attempts,
        }
    }
}

impl<S, R, F> Unpin for Recover<S, R, F> {}

impl<S, R, F, T, E> Stream for Recover<S, R, F>
where
    S: Stream<Item = Result<T, E>>,
    R: Stream<Item = Result<T, E>>,
    F: FnMut(&E) -> Option<R>,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let item = match &mut this.source {
                Current::First(source) => ready!(source.as_mut().poll_next(context)),
                Current::Other(source) => ready!(source.as_mut().poll_next(context)),
                Current::Ended => return Poll::Ready(None),
            };
            let error = match item {
                Some(Err(error)) => error,
                Some(Ok(item)) => return Poll::Ready(Some(Ok(item))),
                None => {
                    this.source = Current::Ended;
                    return Poll::Ready(None);
                }
            };
            // The failed source is dropped before another one is created.
            this.source = Current::Ended;
            if this.left == Some(0) {
                return Poll::Ready(Some(Err(error)));
            }
            let Some(other) = (this.replace)(&error) else {
                return Poll::Ready(Some(Err(error)));
            };
            this.left = this.left.map(|left| left - 1);
            this.source = Current::Other(Box::pin(other));
        }
    }
}

impl<S, R, F> fmt::Debug for Recover<S, R, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Recover")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
