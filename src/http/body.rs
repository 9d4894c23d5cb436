//! The body of a streamed answer: the backend's events as they come, never more than a few in memory.
//!
//! While the first token is waited for, comments keep the connection alive. A loss is told within the stream
//! and never looks like an end. The call's guard lives here, so that a caller who goes away is noticed by the
//! body being dropped.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use kebne_lane::{CallGuard, Ending};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval},
};

use crate::{
    gateway::{GatewayError, GatewayReply},
    http::{
        error::ApiError,
        turn::{Follow, Keeping},
    },
    llm::{ModelResponse, StreamItem},
};

/// A call that is still being made.
pub type PendingCall = Pin<Box<dyn Future<Output = Result<GatewayReply, GatewayError>>>>;

enum State {
    Waiting(PendingCall),
    Streaming {
        items: mpsc::Receiver<StreamItem>,
        guard: CallGuard,
    },
    /// The last events wait until the session's turn is kept: who sees the end finds the turn.
    Keeping {
        keeping: Keeping,
        last: Bytes,
        items: mpsc::Receiver<StreamItem>,
        guard: CallGuard,
    },
    Over,
}

/// A streamed answer on its way to the caller.
pub struct StreamBody {
    state: State,
    /// Who reads along for the session, until the end.
    follow: Option<Follow>,
    comments: Interval,
}

/// The comment that keeps a waiting connection alive.
const COMMENT: Bytes = Bytes::from_static(b": waiting for the first token\n\n");

impl StreamBody {
    /// Makes the body of an answer that has begun.
    pub(super) fn streaming(
        items: mpsc::Receiver<StreamItem>,
        guard: CallGuard,
        follow: Option<Follow>,
        comment_every: Duration,
    ) -> Self {
        Self::new(State::Streaming { items, guard }, follow, comment_every)
    }

    /// Makes the body of an answer that is still waited for.
    pub(super) fn waiting(
        call: PendingCall,
        follow: Option<Follow>,
        comment_every: Duration,
    ) -> Self {
        Self::new(State::Waiting(call), follow, comment_every)
    }

    fn new(state: State, follow: Option<Follow>, comment_every: Duration) -> Self {
        // Nothing is said at once: the first comment is due after one interval.
        let comments = tokio::time::interval_at(Instant::now() + comment_every, comment_every);
        Self {
            state,
            follow,
            comments,
        }
    }

    /// Ends the stream, counting the call.
    fn end(&mut self, ending: Ending) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Streaming { guard, .. } | State::Keeping { guard, .. } => guard.finish(ending),
            State::Waiting(_) | State::Over => {}
        }
    }

    fn lost(&mut self, error: &ApiError) -> Bytes {
        self.end(Ending::Error);
        error.event()
    }

    fn cut(&mut self) -> Bytes {
        let message = "the backend's answer broke off";
        self.lost(&ApiError::upstream(message))
    }

    /// Passes events on, unless they are the last of a session's call: those wait until the turn is kept.
    fn pass(&mut self, events: Bytes) -> Option<Bytes> {
        let is_last = |follow: &mut Follow| follow.feed(&events);
        let Some(follow) = self.follow.take_if(is_last) else {
            return Some(events);
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Streaming { items, guard } => {
                self.state = State::Keeping {
                    keeping: follow.keep(),
                    last: events,
                    items,
                    guard,
                };
                None
            }
            other => {
                self.state = other;
                Some(events)
            }
        }
    }

    /// Goes on after the turn was kept, or tells that it was not.
    fn kept(&mut self, kept: Result<u64, ApiError>) -> Bytes {
        if let Err(error) = kept {
            self.end(Ending::Error);
            return error.event();
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Keeping {
                last, items, guard, ..
            } => {
                self.state = State::Streaming { items, guard };
                last
            }
            other => {
                self.state = other;
                Bytes::new()
            }
        }
    }

    /// Takes the answer that was waited for.
    fn begin(&mut self, answer: Result<GatewayReply, GatewayError>) -> Option<Bytes> {
        match answer {
            Err(error) => {
                // The lane has counted this ending.
                self.state = State::Over;
                Some(ApiError::from_gateway(&error).event())
            }
            Ok(reply) => match reply.reply.response {
                ModelResponse::Stream(items) => {
                    let guard = reply.reply.guard;
                    self.state = State::Streaming { items, guard };
                    None
                }
                ModelResponse::Whole(_) => {
                    reply.reply.guard.finish(Ending::Error);
                    Some(self.lost(&ApiError::internal("the answer is not a stream")))
                }
            },
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
            match &mut this.state {
                State::Over => return Poll::Ready(None),
                State::Waiting(call) => match call.as_mut().poll(task) {
                    Poll::Ready(answer) => {
                        if let Some(event) = this.begin(answer) {
                            return Poll::Ready(Some(Ok(event)));
                        }
                    }
                    Poll::Pending => {
                        return this.comments.poll_tick(task).map(|_| Some(Ok(COMMENT)));
                    }
                },
                State::Keeping { keeping, .. } => match keeping.as_mut().poll(task) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(kept) => return Poll::Ready(Some(Ok(this.kept(kept)))),
                },
                State::Streaming { items, .. } => match items.poll_recv(task) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(StreamItem::Events(events))) => {
                        if let Some(events) = this.pass(events) {
                            return Poll::Ready(Some(Ok(events)));
                        }
                    }
                    Poll::Ready(Some(StreamItem::End)) if this.follow.is_some() => {
                        // Unseen, because a clean stream says `[DONE]`: its turn was not kept.
                        let event = this.cut();
                        return Poll::Ready(Some(Ok(event)));
                    }
                    Poll::Ready(Some(StreamItem::End)) => this.end(Ending::Success),
                    Poll::Ready(Some(StreamItem::Lost(failure))) => {
                        let event = this.lost(&ApiError::failed(&failure));
                        return Poll::Ready(Some(Ok(event)));
                    }
                    Poll::Ready(None) => {
                        let event = this.cut();
                        return Poll::Ready(Some(Ok(event)));
                    }
                },
            }
        }
    }
}

impl std::fmt::Debug for StreamBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StreamBody").finish_non_exhaustive()
    }
}
