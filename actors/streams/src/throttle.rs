//! A rate limit for a stream: shaping delays elements, enforcing fails.
//!
//! Owns the wait before an element. It pulls the next element only when one is requested.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::bucket::TokenBucket;
use crate::backoff::{InvalidSetting, require};

/// The default burst is the amount of this much time, as in Pekko.
const AUTOMATIC_BURST: Duration = Duration::from_millis(100);

/// The rate limit: an amount per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval: Duration,
    burst: u64,
}

impl Pace {
    /// Lets elements with a total cost of `cost` (1 per element without a cost function) pass `per` this time, with a
    /// burst of the amount of 100 ms, at least 1. `cost` is at least 1, and `per` is at least 1 ns for each unit of
    /// cost.
    ///
    /// # Errors
    /// Returns the parameter that is out of its range.
    pub fn new(cost: u32, per: Duration) -> Result<Self, InvalidSetting> {
        require(cost > 0, "cost", "at least 1")?;
        let interval = per / cost;
        require(
            !interval.is_zero(),
            "per",
            "at least 1 ns for each of `cost`",
        )?;
        let worth = AUTOMATIC_BURST.as_nanos() / interval.as_nanos();
        let burst = u64::try_from(worth).unwrap_or(u64::MAX).max(1);
        Ok(Self { interval, burst })
    }

    /// Sets the amount that can pass at once at the start and after a pause. With 0, even the first element waits.
    #[must_use]
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = burst;
        self
    }

    fn bucket(self) -> TokenBucket {
        TokenBucket::new(self.burst, self.interval, Instant::now())
    }
}

/// The error of an element that exceeded the rate of
/// [`FlowExt::throttle_enforcing`](super::FlowExt::throttle_enforcing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an element of cost {cost} arrived {early:?} too early for the rate limit")]
pub struct RateExceeded {
    /// The element's cost.
    pub cost: u64,
    /// The time for which shaping would have delayed it.
    pub early: Duration,
}

pin_project! {
    /// A stream with a limited rate, whose early elements wait.
    pub struct Throttle<S: Stream, F> {
        #[pin]
        source: S,
        cost: F,
        pace: Pace,
        bucket: Option<TokenBucket>,
        waiting: Option<(S::Item, Pin<Box<Sleep>>)>,
    }
}

pin_project! {
    /// A stream that fails if an element exceeds the rate.
    pub struct Enforce<S, F> {
        #[pin]
        source: S,
        cost: F,
        pace: Pace,
        bucket: Option<TokenBucket>,
        failed: bool,
    }
}

impl<S: Stream, F> Throttle<S, F> {
    pub(super) fn new(source: S, pace: Pace, cost: F) -> Self {
        Self {
            source,
            cost,
            pace,
            bucket: None,
            waiting: None,
        }
    }
}

impl<S, F> Enforce<S, F> {
    pub(super) fn new(source: S, pace: Pace, cost: F) -> Self {
        Self {
            source,
            cost,
            pace,
            bucket: None,
            failed: false,
        }
    }
}

impl<S: Stream, F: FnMut(&S::Item) -> u64> Stream for Throttle<S, F> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        let pace = *this.pace;
        let bucket = this.bucket.get_or_insert_with(|| pace.bucket());
        if this.waiting.is_none() {
            let Some(item) = ready!(this.source.as_mut().poll_next(context)) else {
                return Poll::Ready(None);
            };
            let wait = bucket.offer(Instant::now(), (this.cost)(&item));
            if wait.is_zero() {
                return Poll::Ready(Some(item));
            }
            *this.waiting = Some((item, Box::pin(sleep(wait))));
        }
        if let Some((_, wait)) = this.waiting {
            ready!(wait.as_mut().poll(context));
        }
        Poll::Ready(this.waiting.take().map(|(item, _)| item))
    }
}

impl<S: Stream, F: FnMut(&S::Item) -> u64> Stream for Enforce<S, F> {
    type Item = Result<S::Item, RateExceeded>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.failed {
            return Poll::Ready(None);
        }
        let pace = *this.pace;
        let bucket = this.bucket.get_or_insert_with(|| pace.bucket());
        let Some(item) = ready!(this.source.poll_next(context)) else {
            return Poll::Ready(None);
        };
        let cost = (this.cost)(&item);
        let early = bucket.offer(Instant::now(), cost);
        if early.is_zero() {
            return Poll::Ready(Some(Ok(item)));
        }
        *this.failed = true;
        Poll::Ready(Some(Err(RateExceeded { cost, early })))
    }
}

impl<S: Stream, F> fmt::Debug for Throttle<S, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Throttle")
            .field("pace", &self.pace)
            .field("waiting", &self.waiting.is_some())
            .finish_non_exhaustive()
    }
}

impl<S, F> fmt::Debug for Enforce<S, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Enforce")
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}
