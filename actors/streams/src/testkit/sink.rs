//! A sink that takes only what a test asks for.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use futures_util::StreamExt;

use super::WAIT_MAX;

/// Takes the elements of a stream one by one. Dropping it drops the stream.
pub struct SinkProbe<S> {
    stream: Pin<Box<S>>,
}

impl<S: Stream> SinkProbe<S> {
    /// Creates a sink, which does not poll the stream yet.
    pub fn new(stream: S) -> Self {
        Self {
            stream: Box::pin(stream),
        }
    }

    /// Requests an element, and waits for it or the end.
    ///
    /// # Panics
    /// When neither comes within 3 s.
    pub async fn next(&mut self) -> Option<S::Item> {
        let next = tokio::time::timeout(WAIT_MAX, self.stream.next()).await;
        next.unwrap_or_else(|late| panic!("expected an element or the end: {late} in {WAIT_MAX:?}"))
    }

    /// Requests an element, and expects this one.
    ///
    /// # Panics
    /// When another comes, the end, or nothing within 3 s.
    pub async fn expect_next(&mut self, wanted: &S::Item) -> &mut Self
    where
        S::Item: PartialEq + fmt::Debug,
    {
        let next = self.next().await;
        assert_eq!(next.as_ref(), Some(wanted), "expected another element");
        self
    }

    /// Requests elements, and expects these in this order.
    ///
    /// # Panics
    /// As [`SinkProbe::expect_next`].
    pub async fn expect_next_all(&mut self, wanted: &[S::Item]) -> &mut Self
    where
        S::Item: PartialEq + fmt::Debug,
    {
        for element in wanted {
            self.expect_next(element).await;
        }
        self
    }

    /// Requests an element, and expects the end.
    ///
    /// # Panics
    /// When an element comes, or nothing within 3 s.
    pub async fn expect_complete(&mut self)
    where
        S::Item: fmt::Debug,
    {
        let next = self.next().await;
        assert!(next.is_none(), "expected the end, and received {next:?}");
    }

    /// Requests an element, and expects that neither one nor the end comes for this time. The request is withdrawn then.
    ///
    /// # Panics
    /// When something comes.
    pub async fn expect_nothing_for(&mut self, time: Duration)
    where
        S::Item: fmt::Debug,
    {
        if let Ok(next) = tokio::time::timeout(time, self.stream.next()).await {
            panic!("expected nothing for {time:?}, and received {next:?}");
        }
    }

    /// Returns the element or the end that is ready now, without waiting.
    pub fn ready_now(&mut self) -> Option<Option<S::Item>> {
        let mut task = Context::from_waker(Waker::noop());
        match self.stream.as_mut().poll_next(&mut task) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    /// Drops the stream: Pekko's `cancel`.
    pub fn cancel(self) {}
}

impl<T: fmt::Debug, E: fmt::Debug, S: Stream<Item = Result<T, E>>> SinkProbe<S> {
    /// Requests an element, and expects an error, which it returns.
    ///
    /// # Panics
    /// When a value comes, the end, or nothing within 3 s.
    pub async fn expect_error(&mut self) -> E {
        match self.next().await {
            Some(Err(error)) => error,
            other => panic!("expected an error, and received {other:?}"),
        }
    }
}

impl<S> fmt::Debug for SinkProbe<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SinkProbe").finish_non_exhaustive()
    }
}
