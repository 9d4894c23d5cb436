//! A kill switch: ends one or several streams from outside, by completion or by an error.
//!
//! Owns the end, which is set once; later calls have no effect. Source: Pekko `FlowKillSwitchSpec`.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Ends every stream to which it was added. Clones share it. `E` is the error of an abort.
pub struct KillSwitch<E> {
    inner: Arc<Inner<E>>,
}

struct Inner<E> {
    /// The inner `None` is a completion.
    ending: OnceLock<Option<E>>,
    pulled: CancellationToken,
}

impl<E: Clone> KillSwitch<E> {
    /// Creates a switch. Used for one stream it is Pekko's unique kill switch, for several its shared one.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                ending: OnceLock::new(),
                pulled: CancellationToken::new(),
            }),
        }
    }

    /// Completes the streams; streams to which it is added later complete at once. Returns `true` for the first call;
    /// later calls have no effect.
    pub fn shutdown(&self) -> bool {
        self.pull(None)
    }

    /// Fails the streams with `error`; streams to which it is added later fail at once. Returns `true` for the first
    /// call; later calls have no effect.
    pub fn abort(&self, error: E) -> bool {
        self.pull(Some(error))
    }

    /// Returns `true` if the switch was used.
    pub fn is_pulled(&self) -> bool {
        self.inner.pulled.is_cancelled()
    }

    fn pull(&self, ending: Option<E>) -> bool {
        let first = self.inner.ending.set(ending).is_ok();
        self.inner.pulled.cancel();
        first
    }
}

impl<E: Clone> Default for KillSwitch<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// A stream that a [`KillSwitch`] can end; its source is dropped when it is next polled.
pub struct Killable<S, E> {
    /// `None` once the stream has ended.
    source: Option<Pin<Box<S>>>,
    switch: KillSwitch<E>,
    pulled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S, E: Clone> Killable<S, E> {
    pub(super) fn new(source: S, switch: &KillSwitch<E>) -> Self {
        Self {
            source: Some(Box::pin(source)),
            switch: switch.clone(),
            pulled: Box::pin(switch.inner.pulled.clone().cancelled_owned()),
        }
    }
}

impl<S, E> Unpin for Killable<S, E> {}

impl<S: Stream, E: Clone> Stream for Killable<S, E> {
    type Item = Result<S::Item, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(source) = &mut this.source else {
            return Poll::Ready(None);
        };
        if this.pulled.as_mut().poll(context).is_ready() {
            this.source = None;
            let ending = this.switch.inner.ending.get().cloned().flatten();
            return Poll::Ready(ending.map(Err));
        }
        let polled = source.as_mut().poll_next(context);
        if let Poll::Ready(None) = polled {
            this.source = None;
        }
        polled.map(|item| item.map(Ok))
    }
}

impl<E> Clone for KillSwitch<E> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<E> fmt::Debug for KillSwitch<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KillSwitch")
            .field("pulled", &self.inner.pulled.is_cancelled())
            .finish()
    }
}

impl<S, E> fmt::Debug for Killable<S, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Killable")
            .field("switch", &self.switch)
            .finish_non_exhaustive()
    }
}
