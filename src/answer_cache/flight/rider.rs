//! One who reads the answer of a flight.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep};

use super::{Begun, Ended, Flight, NotBegun, RideItem};
use crate::surface::error::ApiError;

/// A reader of the answer.
#[derive(Debug)]
pub(crate) struct Rider {
    flight: Arc<Flight>,
    next: usize,
    /// When it stops to wait.
    until: Option<Pin<Box<Sleep>>>,
}

impl Rider {
    pub(super) fn of(flight: Arc<Flight>) -> Self {
        Self {
            flight,
            next: 0,
            until: None,
        }
    }

    /// Stops to wait at this time.
    pub(crate) fn until(&mut self, due: Option<Instant>) {
        self.until = due.map(|due| Box::pin(tokio::time::sleep_until(due)));
    }

    /// Waits until the answer begins, or for at most this time.
    ///
    /// # Errors
    /// Returns why there is none.
    pub(crate) async fn begun(&self, time: Option<Duration>) -> Result<Arc<Begun>, NotBegun> {
        let begun = poll_fn(|task| self.poll_begun(task));
        let Some(time) = time else {
            return begun.await;
        };
        let begun = tokio::time::timeout(time, begun).await;
        begun.unwrap_or(Err(NotBegun::Late))
    }

    fn poll_begun(&self, task: &mut Context<'_>) -> Poll<Result<Arc<Begun>, NotBegun>> {
        let mut log = self.flight.log();
        if let Some(begun) = &log.begun {
            return Poll::Ready(Ok(Arc::clone(begun)));
        }
        match &log.end {
            Some(Ended::Failed(error)) => Poll::Ready(Err(NotBegun::Failed(error.clone()))),
            Some(Ended::Gone | Ended::Complete) => Poll::Ready(Err(NotBegun::Gone)),
            None => {
                log.wait(task);
                Poll::Pending
            }
        }
    }

    /// Returns the next part.
    pub(crate) fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<RideItem> {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(task).is_ready()
        {
            return Poll::Ready(RideItem::Lost(ApiError::deadline_passed()));
        }
        let mut log = self.flight.log();
        let Some(place) = self.next.checked_sub(log.dropped) else {
            let why = "the answer was read too slowly to be shared with other callers";
            return Poll::Ready(RideItem::Lost(ApiError::too_slow(why)));
        };
        if let Some(part) = log.parts.get(place).cloned() {
            self.next += 1;
            if self.next > log.fastest {
                log.fastest = self.next;
                log.ahead = log.ahead.saturating_sub(part.len());
                log.shorten(self.flight.size_max);
                log.wake_leader();
            }
            return Poll::Ready(RideItem::Part(part));
        }
        match &log.end {
            Some(Ended::Complete) => Poll::Ready(RideItem::End),
            Some(Ended::Failed(error)) => Poll::Ready(RideItem::Lost(error.clone())),
            Some(Ended::Gone) => Poll::Ready(RideItem::Lost(ApiError::attempt_lost())),
            None => {
                log.wait(task);
                Poll::Pending
            }
        }
    }

    /// Returns the whole answer.
    ///
    /// # Errors
    /// Returns an error if it is lost.
    pub(crate) async fn whole(&mut self) -> Result<Bytes, ApiError> {
        let mut body: Option<Bytes> = None;
        loop {
            match poll_fn(|task| self.poll_next(task)).await {
                RideItem::Part(part) => {
                    body = Some(match body {
                        None => part,
                        Some(before) => {
                            let mut joined = BytesMut::from(&*before);
                            joined.extend_from_slice(&part);
                            joined.freeze()
                        }
                    });
                }
                RideItem::End => return Ok(body.unwrap_or_default()),
                RideItem::Lost(error) => return Err(error),
            }
        }
    }
}

impl Drop for Rider {
    fn drop(&mut self) {
        let mut log = self.flight.log();
        log.riders = log.riders.saturating_sub(1);
        if log.riders == 0 {
            log.wake_leader();
        }
    }
}
