//! Supervision of stages: what a stage does when it fails on an element.
//!
//! Owns the choice between failing, skipping an element, and skipping it with a fresh state. This is Pekko's stream
//! supervision, where a failure is an `Err` of the stage's function. It never catches a panic. Source: Pekko
//! `Supervision`, and the cases of `FlowMapSpec` and `FlowScanSpec` with deciders.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

/// What a stage does after it failed on an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Fail the stream.
    Stop,
    /// Skip the element and keep the stage's state.
    Resume,
    /// Skip the element and reset the stage's state.
    Restart,
}

pin_project! {
    /// A supervised stage with a state; see [`FlowExt::scan_supervised`](super::FlowExt::scan_supervised).
    pub struct Scan<S, A, F, D> {
        #[pin]
        source: S,
        zero: A,
        // `None` before `zero` was emitted.
        state: Option<A>,
        step: F,
        decide: D,
        ended: bool,
    }
}

impl<S, A, F, D> Scan<S, A, F, D> {
    pub(super) fn new(source: S, zero: A, step: F, decide: D) -> Self {
        Self {
            source,
            zero,
            state: None,
            step,
            decide,
            ended: false,
        }
    }
}

impl<S, A, E, F, D> Stream for Scan<S, A, F, D>
where
    S: Stream,
    A: Clone,
    F: FnMut(&A, S::Item) -> Result<A, E>,
    D: FnMut(&E) -> Directive,
{
    type Item = Result<A, E>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        loop {
            let Some(state) = this.state else {
                *this.state = Some(this.zero.clone());
                return Poll::Ready(Some(Ok(this.zero.clone())));
            };
            let Some(item) = ready!(this.source.as_mut().poll_next(context)) else {
                *this.ended = true;
                return Poll::Ready(None);
            };
            let error = match (this.step)(state, item) {
                Ok(next) => {
                    *state = next.clone();
                    return Poll::Ready(Some(Ok(next)));
                }
                Err(error) => error,
            };
            match (this.decide)(&error) {
                Directive::Resume => {}
                Directive::Restart => *this.state = None,
                Directive::Stop => {
                    *this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl<S, A: fmt::Debug, F, D> fmt::Debug for Scan<S, A, F, D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scan")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// A stream that skips some of its errors; see [`FlowExt::supervise`](super::FlowExt::supervise).
    pub struct Supervise<S, D> {
        #[pin]
        source: S,
        decide: D,
        ended: bool,
    }
}

impl<S, D> Supervise<S, D> {
    pub(super) fn new(source: S, decide: D) -> Self {
        Self {
            source,
            decide,
            ended: false,
        }
    }
}

impl<S, T, E, D> Stream for Supervise<S, D>
where
    S: Stream<Item = Result<T, E>>,
    D: FnMut(&E) -> Directive,
{
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        loop {
            let item = ready!(this.source.as_mut().poll_next(context));
            match &item {
                Some(Ok(_)) => return Poll::Ready(item),
                Some(Err(error)) if (this.decide)(error) != Directive::Stop => {}
                Some(Err(_)) | None => {
                    *this.ended = true;
                    return Poll::Ready(item);
                }
            }
        }
    }
}

impl<S, D> fmt::Debug for Supervise<S, D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Supervise")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
