//! The events of one streamed answer, as they come or as chat chunks.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kebne_lane::Failure;
use kebne_wire::{
    anthropic::{ChunkWriter, Progress},
    sse::{Splitter, events, write},
    stream::Problem,
};

use super::{Form, bad};
use crate::backend::{
    failure,
    pump::{self, EventSource},
    upstream::Incoming,
};

/// Time that the end of a body may take after the last event: read to its end, the connection can be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);
/// Parts held back at the head of a stream at most: `message_start` and `ping` come before the prompt is read.
const PREAMBLES_MAX: usize = 8;

/// The events of one answer.
pub(super) struct Events {
    body: Incoming,
    splitter: Splitter,
    progress: Progress,
    /// Translates the events; without it they go as they are.
    writer: Option<ChunkWriter>,
    /// Longest time without a byte.
    idle_timeout: Duration,
    /// The bytes have come to their end.
    ended: bool,
    /// The first event is with the caller: an error can no longer be a refusal.
    started: bool,
    /// An error that came behind events which the caller gets first.
    failed: Option<Failure>,
}

impl EventSource for Events {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(failure) = self.failed.take() {
                return Err(failure);
            }
            if self.progress.is_done() {
                return Ok(None);
            }
            let Some(chunk) = self.bytes().await? else {
                self.ended = true;
                return Err(failure::cut(
                    "the backend's stream ended before it was done",
                ));
            };
            let lines = self.splitter.push(chunk);
            let lines = lines.map_err(|_| failure::of_problem(&Problem::TooLarge, self.started))?;
            let Some(lines) = lines else {
                continue;
            };
            let out = self.take(&lines)?;
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
    }

    fn tokens(&self) -> Option<u32> {
        u32::try_from(self.progress.output_tokens()).ok()
    }

    fn is_complete(&self) -> bool {
        self.progress.is_done()
    }

    /// Reads the body to its end, if that is near: then the connection can be used again.
    async fn finish(&mut self) {
        if self.ended {
            return;
        }
        let to_the_end = async { while let Ok(Some(_)) = self.body.chunk().await {} };
        // A server that keeps the body open costs its connection, nothing else.
        self.ended = tokio::time::timeout(DRAIN_TIMEOUT, to_the_end)
            .await
            .is_ok();
    }
}

impl Events {
    pub(super) fn new(
        body: Incoming,
        form: Form,
        event_size_max: usize,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            body,
            splitter: Splitter::new(event_size_max),
            progress: Progress::default(),
            writer: form.writer(),
            idle_timeout,
            ended: false,
            started: false,
            failed: None,
        }
    }

    /// Waits for the first events that say something: until there are some the call can still be retried.
    pub(super) async fn head(&mut self) -> Result<Bytes, Failure> {
        let mut held = BytesMut::new();
        for _ in 0..PREAMBLES_MAX {
            let Some(events) = self.next().await? else {
                break;
            };
            held.extend_from_slice(&events);
            if self.progress.has_spoken() {
                break;
            }
        }
        self.started = true;
        Ok(held.freeze())
    }

    /// Takes whole events and returns what goes to the caller.
    fn take(&mut self, lines: &[u8]) -> Result<Bytes, Failure> {
        let mut own = BytesMut::new();
        let mut chunks = String::new();
        for event in events(lines) {
            let Some(data) = event
                .data
                .as_deref()
                .filter(|data| !data.trim_ascii().is_empty())
            else {
                continue;
            };
            let mut noted = self.progress.note(data);
            match &mut self.writer {
                Some(writer) => noted = noted.and_then(|()| writer.data(data, &mut chunks)),
                None if noted.is_ok() => write(event.name, data, &mut own),
                None => {}
            }
            if let Err(error) = noted {
                let failure = bad(&error, data, self.started);
                if !self.started {
                    return Err(failure);
                }
                self.failed = Some(failure);
                break;
            }
            if self.progress.is_done() {
                break;
            }
        }
        if self.writer.is_some() {
            return Ok(chunks.into());
        }
        Ok(own.freeze())
    }

    /// Waits for the next bytes. A `ping` is a sign of life too: what is bounded is the time without any byte.
    async fn bytes(&mut self) -> Result<Option<Bytes>, Failure> {
        if !self.started {
            return self.body.chunk().await;
        }
        let chunk = tokio::time::timeout(self.idle_timeout, self.body.chunk()).await;
        chunk.unwrap_or_else(|_| Err(pump::silent(self.idle_timeout)))
    }
}
