//! A rate limit for a stream: shaping waits, enforcing fails.
//!
//! Owns the wait before an element; it pulls the next element only when it is asked for one.

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

/// The default burst is worth this much time of the rate, as in Pekko.
const AUTOMATIC_BURST: Duration = Duration::from_millis(100);

/// The rate limit: how much may pass in how much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval: Duration,
    burst: u64,
}

impl Pace {
    /// Lets cost `cost` (1 per element unless a cost function says otherwise) pass `per` this time, with a
    /// burst of 100 ms worth, at least 1. `cost` is at least 1, `per` at least 1 ns for each.
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

    /// Lets this much pass at once after a silence, and at the start; 0 makes even the first element wait.
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
#[error("an element of cost {cost} came {early:?} too early for its pace")]
pub struct RateExceeded {
    /// The element's cost.
    pub cost: u64,
    /// How long shaping would have made it wait.
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
