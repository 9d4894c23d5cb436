//! The events of one streamed answer, as they arrive from the server, in any dialect.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use kebne_lane::Failure;
use kebne_wire::{framing::Framing, usage::Usage};
use tokio::time::{Instant, Sleep, sleep};

use crate::backend::{
    failure,
    pump::{self, EventSource},
    upstream::Incoming,
};

/// Time for the end of a body after `[DONE]`. If it is read to its end, the connection can be reused.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);

/// The time after which a timer whose end cannot be represented is looked at again.
const FAR: Duration = Duration::from_hours(8760);

/// The largest number of parts held back at the head of a stream. One chunk per choice is usual, and few callers
/// request several; a message begins with `message_start` and `ping`.
const PREAMBLES_MAX: usize = 8;

/// The events of one answer.
pub(crate) struct Events<F> {
    body: Incoming,
    framer: F,
    /// Longest time without a byte.
    idle_timeout: Duration,
    /// The timer of the waits for bytes. It is set again when it fires, not for each wait.
    silence: Option<Pin<Box<Sleep>>>,
    /// `true` once all bytes have arrived.
    ended: bool,
    /// `true` once the first event was sent to the caller, after which an error cannot be a refusal.
    started: bool,
}

impl<F: Framing> EventSource for Events<F> {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(problem) = self.framer.problem() {
                let failure = failure::of_problem(problem, self.started);
                return Err(self.body.hide_secrets_in(failure));
            }
            if self.framer.is_done() {
                return Ok(None);
            }
            if self.ended {
                return Err(failure::cut(
                    "the backend's stream ended before it was done",
                ));
            }
            let (pending, waits) = (self.framer.pending(), self.started);
            self.body.reserve_event(pending, waits).await?;
            let events = match self.bytes().await {
                Ok(Some(chunk)) => self.framer.push(chunk),
                Ok(None) => self.end(),
                // Every choice has ended; only the end of the stream is missing.
                Err(_) if self.framer.is_answered() => self.end(),
                Err(failure) => return Err(failure),
            };
            if let Some(events) = events {
                let held = self.body.hold_events(events, pending, waits).await;
                return held.map(Some);
            }
        }
    }

    fn tokens(&self) -> Option<u32> {
        Some(self.framer.tokens())
    }

    fn usage(&self) -> Usage {
        self.framer.usage()
    }

    fn is_complete(&self) -> bool {
        self.framer.is_done()
    }

    /// Reads the body to its end if that arrives soon, so that the connection can be reused.
    async fn finish(&mut self) {
        if self.ended {
            return;
        }
        let to_the_end = async { while let Ok(Some(_)) = self.body.chunk().await {} };
        // A server that keeps the body open only costs its connection.
        self.ended = tokio::time::timeout(DRAIN_TIMEOUT, to_the_end)
            .await
            .is_ok();
    }
}

impl<F: Framing> Events<F> {
    pub(crate) fn new(body: Incoming, framer: F, idle_timeout: Duration) -> Self {
        Self {
            body,
            framer,
            idle_timeout,
            silence: None,
            ended: false,
            started: false,
        }
    }

    /// Waits for the first events with content. Chunks that only contain the role are held back: servers send them
    /// before they have read the prompt, and until more arrives the call can still be retried.
    pub(crate) async fn head(&mut self) -> Result<Bytes, Failure> {
        let mut held = BytesMut::new();
        for _ in 0..PREAMBLES_MAX {
            let Some(events) = self.next().await? else {
                break;
            };
            let speaks = self.framer.has_spoken();
            if speaks && held.is_empty() {
                self.started = true;
                return Ok(events);
            }
            held.extend_from_slice(&events);
            drop(events);
            if speaks {
                break;
            }
        }
        let held = self.body.hold_events(held.freeze(), 0, false).await?;
        self.started = true;
        Ok(held)
    }

    /// Waits for the next bytes. Comments also show that the server is alive: the bound is the time without any byte.
    /// The lane bounds the time to the first event.
    async fn bytes(&mut self) -> Result<Option<Bytes>, Failure> {
        if !self.started {
            return self.body.chunk().await;
        }
        let Self {
            body,
            silence,
            idle_timeout,
            ..
        } = self;
        let idle_timeout = *idle_timeout;
        let mut chunk = pin!(body.chunk());
        let mut since = None;
        poll_fn(|task| {
            if let Poll::Ready(chunk) = chunk.as_mut().poll(task) {
                return Poll::Ready(chunk);
            }
            let since = *since.get_or_insert_with(Instant::now);
            let silence = silence.get_or_insert_with(|| Box::pin(sleep(idle_timeout)));
            loop {
                ready!(silence.as_mut().poll(task));
                let until = since.checked_add(idle_timeout);
                let until = until.unwrap_or_else(|| Instant::now() + FAR);
                if Instant::now() >= until {
                    return Poll::Ready(Err(pump::silent(idle_timeout)));
                }
                silence.as_mut().reset(until);
            }
        })
        .await
    }

    fn end(&mut self) -> Option<Bytes> {
        self.ended = true;
        self.framer.end()
    }
}
