//! The body of a streamed answer: the backend's events as they arrive, never more than a few in memory.
//!
//! While the next token is awaited, comments keep the connection alive. A loss is reported within the stream and never
//! looks like a normal end. The body owns the call's guard, so a caller who disconnects is noticed when the body is
//! dropped.

mod guarded;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use kebne_lane::Ending;
use kebne_wire::responses::not_stored;
use tokio::time::{Instant, Interval};

use crate::{
    llm::ModelBody,
    stages::{
        Call,
        guard::{GuardedStream, OutputGuard, StreamCheck},
        lane::{
            finish::{Finish, Keeping, Part},
            source::{Item, Source, Started},
            whole_body::PART,
        },
    },
    surface::error::ApiError,
};

use guarded::joined;

/// A call whose answer has not begun.
pub(super) type PendingCall = Pin<Box<dyn Future<Output = Result<Started, ApiError>>>>;

enum State {
    Waiting(PendingCall),
    Streaming(Source),
    /// A guard checks a part of the answer.
    Checking {
        check: StreamCheck,
        source: Source,
    },
    /// The last part waits until the answer is kept.
    Keeping {
        keeping: Keeping,
        last: Bytes,
        source: Source,
    },
    Over,
}

/// A streamed answer on its way to the caller.
pub(super) struct StreamBody {
    call: Call,
    state: State,
    /// The last steps of the answer.
    finish: Finish,
    /// The checks of the answer.
    guarded: Option<GuardedStream>,
    /// The end of the stream, which waits for the check of what was before it.
    waiting: Option<Item>,
    comments: Interval,
    /// What the connection has not taken yet of the last part.
    rest: Bytes,
    /// `true` if something was written since the last comment was due.
    is_flowing: bool,
}

impl StreamBody {
    /// Creates a body without an answer. Call [`StreamBody::begun`] or [`StreamBody::waiting`] next.
    pub(super) fn new(
        call: Call,
        finish: Finish,
        output: Option<OutputGuard>,
        comment_every: Duration,
    ) -> Self {
        // Nothing is written at once: the first comment is due after one interval.
        let comments = tokio::time::interval_at(Instant::now() + comment_every, comment_every);
        Self {
            call,
            state: State::Over,
            finish,
            guarded: output.map(OutputGuard::stream),
            waiting: None,
            comments,
            rest: Bytes::new(),
            is_flowing: false,
        }
    }

    /// Sets an answer that has begun.
    ///
    /// # Errors
    /// Returns an error if the backend did not stream.
    pub(super) fn begun(mut self, started: Started) -> Result<Self, ApiError> {
        self.take(started).map(|()| self)
    }

    /// Sets the call whose answer is awaited.
    pub(super) fn waiting(mut self, pending: PendingCall) -> Self {
        self.state = State::Waiting(pending);
        self
    }

    fn take(&mut self, started: Started) -> Result<(), ApiError> {
        let reply = match started {
            Started::Lane(reply) => reply,
            Started::Shared(ridden) => {
                self.state = State::Streaming(Source::Shared(ridden.rider));
                return Ok(());
            }
            #[cfg(feature = "mcp")]
            Started::Rounds(rounds) => {
                self.state = State::Streaming(Source::Rounds(rounds));
                return Ok(());
            }
        };
        let usage = reply.reply.response().usage.clone();
        self.call.notes.set_usage(usage);
        let (response, guard) = reply.reply.into_parts();
        match response.body {
            ModelBody::Stream(items) => {
                self.state = State::Streaming(Source::Lane(items, guard));
                Ok(())
            }
            ModelBody::Whole(_) | ModelBody::Opaque(..) => {
                let message = "the backend sent a whole answer, but a stream was requested";
                let error = ApiError::internal(message);
                guard.finish(error.ending());
                Err(error)
            }
        }
    }

    /// Ends the stream; the call counts in one ending, in its lane and among the requests.
    fn end(&mut self, ending: Ending, reason: Option<&'static str>) {
        let counted = match std::mem::replace(&mut self.state, State::Over) {
            State::Streaming(source)
            | State::Checking { source, .. }
            | State::Keeping { source, .. } => source.finish(ending),
            State::Waiting(_) | State::Over => ending,
        };
        self.call.notes.set_ending(counted, reason);
    }

    /// Ends the stream with an error that the caller can see.
    fn fail(&mut self, error: &ApiError) -> Bytes {
        self.end(error.ending(), Some(error.reason()));
        let own = self.finish.writer.failed(error);
        own.unwrap_or_else(|| self.call.surface.error_event(error, &self.call.id))
    }

    fn cut(&mut self) -> Bytes {
        self.fail(&ApiError::upstream("the backend's answer is incomplete"))
    }

    /// Ends a stream whose attempt has ended without an end of the answer.
    fn ended_by_lane(&mut self) -> Bytes {
        let verdict = match &self.state {
            State::Streaming(source)
            | State::Checking { source, .. }
            | State::Keeping { source, .. } => source.verdict(),
            State::Waiting(_) | State::Over => None,
        };
        match verdict {
            Some(Ending::Timeout) => self.fail(&ApiError::deadline_passed()),
            Some(Ending::Panic) => self.fail(&ApiError::attempt_lost()),
            Some(Ending::Drained) => self.fail(&ApiError::drained()),
            _ => self.cut(),
        }
    }

    /// Ends the stream normally, with the end that the caller's dialect requires.
    fn finished(&mut self) -> Bytes {
        match self.finish.writer.end() {
            Ok(last) => {
                self.end(Ending::Success, None);
                last
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Writes events. The last events of an answer that is kept wait until it is kept.
    fn pass(&mut self, events: Bytes) -> Bytes {
        let (keeping, last) = match self.finish.events(events) {
            Ok(Part::Now(written)) => return written,
            Ok(Part::OnceKept(keeping, last)) => (keeping, last),
            Err(error) => return self.fail(&error),
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Streaming(source) => {
                self.state = State::Keeping {
                    keeping,
                    last,
                    source,
                };
                Bytes::new()
            }
            other => {
                self.state = other;
                last
            }
        }
    }

    /// Continues after the answer was kept, or ends with an error if it could not be kept.
    fn kept(&mut self, kept: Result<bool, ApiError>) -> Bytes {
        let is_kept = match kept {
            Ok(is_kept) => is_kept,
            Err(error) => return self.fail(&error),
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Keeping { last, source, .. } => {
                self.state = State::Streaming(source);
                if is_kept { last } else { not_stored(&last) }
            }
            other => {
                self.state = other;
                Bytes::new()
            }
        }
    }

    /// Sets the answer that was awaited. Returns the event of an error.
    fn begin(&mut self, answer: Result<Started, ApiError>) -> Option<Bytes> {
        // The lane has already counted the ending of a call that failed.
        self.state = State::Over;
        let begun = answer.and_then(|started| self.take(started));
        begun.err().map(|error| self.fail(&error))
    }

    /// Returns the next part of the answer. An empty part means that more follows.
    fn poll_part(&mut self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.state {
            State::Over => Poll::Ready(None),
            State::Waiting(call) => match call.as_mut().poll(task) {
                Poll::Ready(answer) => Poll::Ready(Some(self.begin(answer).unwrap_or_default())),
                Poll::Pending => self.poll_comment(task),
            },
            State::Checking { check, .. } => match check.as_mut().poll(task) {
                Poll::Pending => self.poll_comment(task),
                Poll::Ready(checked) => Poll::Ready(Some(self.checked(checked))),
            },
            State::Keeping { keeping, .. } => match keeping.as_mut().poll(task) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(kept) => Poll::Ready(Some(self.kept(kept))),
            },
            State::Streaming(source) => {
                if let Some(item) = self.waiting.take() {
                    return Poll::Ready(Some(self.on_end(item)));
                }
                let Poll::Ready(item) = source.poll(task) else {
                    return self.poll_comment(task);
                };
                self.is_flowing = true;
                Poll::Ready(Some(self.on_item(item)))
            }
        }
    }

    /// Returns a comment if nothing was written for at least one interval.
    fn poll_comment(&mut self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            std::task::ready!(self.comments.poll_tick(task));
            if !std::mem::take(&mut self.is_flowing) {
                return Poll::Ready(Some(self.call.surface.keep_alive()));
            }
        }
    }

    fn on_item(&mut self, item: Item) -> Bytes {
        let Some(guarded) = &mut self.guarded else {
            return match item {
                Item::Events(events) => self.pass(events),
                #[cfg(feature = "mcp")]
                Item::Step(step) => self.finish.writer.step(&step),
                end => self.on_end(end),
            };
        };
        match item {
            Item::Events(events) => {
                let step = guarded.push(&events);
                self.step(step)
            }
            Item::End => {
                let step = guarded.end();
                self.waiting = Some(Item::End);
                self.step(step)
            }
            lost => {
                let held = guarded.lost();
                let passed = self.pass_some(held);
                joined(passed, self.on_end(lost))
            }
        }
    }

    /// Takes the end of the answer.
    fn on_end(&mut self, end: Item) -> Bytes {
        match end {
            // The client library does not see this, because it stops at `[DONE]`: the turn was not kept.
            Item::End if self.finish.waits_for_the_end() => self.cut(),
            Item::End => self.finished(),
            Item::Lost(error) => self.fail(&error),
            Item::Events(events) => self.pass(events),
            #[cfg(feature = "mcp")]
            Item::Step(step) => self.finish.writer.step(&step),
            Item::Died => self.ended_by_lane(),
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Over);
        if let State::Streaming(source)
        | State::Checking { source, .. }
        | State::Keeping { source, .. } = state
        {
            let counted = if thread::panicking() {
                source.finish(Ending::Panic)
            } else {
                source.leave()
            };
            self.call.notes.set_ending(counted, None);
        }
    }
}

impl MessageBody for StreamBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        loop {
            // An empty chunk would end a body of unknown length.
            if !this.rest.is_empty() {
                let part = this.rest.split_to(this.rest.len().min(PART));
                return Poll::Ready(Some(Ok(part)));
            }
            match std::task::ready!(this.poll_part(task)) {
                None => return Poll::Ready(None),
                Some(part) => this.rest = part,
            }
        }
    }
}

impl std::fmt::Debug for StreamBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StreamBody").finish_non_exhaustive()
    }
}
