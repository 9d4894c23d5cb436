//! The four timeouts of a stream: to the first element, between elements, over all, and of a slow consumer.
//!
//! Owns the timers. For a stream of tokens these are the time to the first token, the time between tokens, the total
//! time, and the time of a slow client. A stream that fails drops its source first. Source: Pekko `TimeoutsSpec`.

use std::{
    fmt,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use futures_util::{StreamExt, stream::Fuse};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::{detached::Detached, link::Outlet};

/// The kind of a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutKind {
    /// The first element took too long.
    Initial,
    /// Two elements were too far apart.
    Idle,
    /// The whole stream took too long.
    Completion,
    /// The consumer took too long to ask for the next element.
    Backpressure,
}

/// The error of a stream that exceeded a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream exceeded its {kind:?} timeout of {limit:?}")]
pub struct StreamTimeout {
    /// The timeout that passed.
    pub kind: TimeoutKind,
    /// Its limit.
    pub limit: Duration,
}

/// A stream with an initial, an idle or a completion timeout. The clock starts at the first poll.
pub struct Timed<S> {
    /// `None` once the stream has ended.
    source: Option<Pin<Box<S>>>,
    kind: TimeoutKind,
    limit: Duration,
    /// `None` before the first poll, and after the first element of an initial timeout.
    clock: Option<Pin<Box<Sleep>>>,
    started: bool,
}

impl<S> Timed<S> {
    pub(super) fn new(source: S, kind: TimeoutKind, limit: Duration) -> Self {
        Self {
            source: Some(Box::pin(source)),
            kind,
            limit,
            clock: None,
            started: false,
        }
    }
}

impl<S: Stream> Stream for Timed<S> {
    type Item = Result<S::Item, StreamTimeout>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(source) = &mut this.source else {
            return Poll::Ready(None);
        };
        let limit = this.limit;
        if !this.started {
            this.started = true;
            this.clock = Some(Box::pin(sleep(limit)));
        }
        if let Some(clock) = &mut this.clock
            && clock.as_mut().poll(context).is_ready()
        {
            this.source = None;
            let kind = this.kind;
            return Poll::Ready(Some(Err(StreamTimeout { kind, limit })));
        }
        let Some(item) = ready!(source.as_mut().poll_next(context)) else {
            this.source = None;
            return Poll::Ready(None);
        };
        match (this.kind, &mut this.clock) {
            (TimeoutKind::Initial, clock) => *clock = None,
            (TimeoutKind::Idle, Some(clock)) => clock.as_mut().reset(Instant::now() + limit),
            _ => {}
        }
        Poll::Ready(Some(Ok(item)))
    }
}

impl<S> fmt::Debug for Timed<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Timed")
            .field("kind", &self.kind)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

type Guarded<T> = Outlet<Result<T, StreamTimeout>>;

/// Fails if the consumer does not request an element within `limit` of the last one. Meanwhile the source is read one
/// element ahead, to find whether it has ended; the consumer is not late then.
pub(super) fn backpressure_timeout<S>(
    source: S,
    limit: Duration,
) -> Detached<Result<S::Item, StreamTimeout>>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    Detached::new(async move |outlet: Guarded<S::Item>| {
        if let Err(timeout) = guard(source, limit, &outlet).await {
            outlet.send(Err(timeout)).await;
        }
    })
}

async fn guard<S: Stream>(
    source: S,
    limit: Duration,
    outlet: &Guarded<S::Item>,
) -> Result<(), StreamTimeout> {
    let mut source = pin!(source.fuse());
    let mut ahead = source.next().await;
    while ahead.is_some() {
        if let Some(item) = ahead.take() {
            outlet.send(Ok(item)).await;
        }
        ahead = demanded(source.as_mut(), limit, outlet).await?;
    }
    Ok(())
}

/// Waits for a request, within the limit, and for the next element, without a limit.
async fn demanded<S: Stream>(
    mut source: Pin<&mut Fuse<S>>,
    limit: Duration,
    outlet: &Guarded<S::Item>,
) -> Result<Option<S::Item>, StreamTimeout> {
    let due = Instant::now() + limit;
    let mut ahead = None;
    loop {
        tokio::select! {
            biased;
            () = outlet.wanted() => break,
            item = source.next(), if ahead.is_none() => {
                if item.is_none() {
                    return Ok(None);
                }
                ahead = item;
            }
            () = sleep_until(due) => {
                let kind = TimeoutKind::Backpressure;
                return Err(StreamTimeout { kind, limit });
            }
        }
    }
    Ok(match ahead {
        Some(item) => Some(item),
        None => source.next().await,
    })
}
