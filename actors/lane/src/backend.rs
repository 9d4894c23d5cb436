//! The interface between a lane and any asynchronous operation that can succeed, refuse, fail or answer in two parts.
//!
//! A backend makes one attempt and classifies its ending. Retries, queueing and counting belong to the lane. Each
//! attempt runs in a task of its own on the tokio runtime of its caller, so a panic in a backend affects only that
//! attempt, and what an attempt uses of the runtime (connections, timers) is that of the caller's thread.

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use kebne_control::{Outcome, QuotaHints};
use tokio_util::sync::CancellationToken;

/// Makes one attempt at a time against one capacity domain (an endpoint, a model, a key).
///
/// **One call may become several attempts.** The lane repeats an attempt:
///
/// - that the backend refused (`Outcome::Limit`, `Cold`, `Rate`): **return these only if the backend did nothing**;
/// - that failed or timed out (`Outcome::Fault`, `Outcome::Timeout`), **only if the caller says that the call is
///   [idempotent](crate::Repeats::Failures)**, or the failure is [safe to repeat](Failure::safe_to_repeat);
/// - that panicked, only if the caller asks for it ([`crate::Repeats::FailuresAndPanics`]);
/// - that is late and still runs, if the caller allows it ([`crate::CallOptions::hedge`]).
///
/// **An attempt is not repeated once its answer has begun.**
pub trait Backend: Send + Sync + 'static {
    /// The request. It must be cheap to clone: each attempt gets a copy.
    type Request: Clone + Send + Sync + 'static;
    /// The answer, or the part of it that is available at once; the rest of a streamed answer is driven by
    /// [`Answer::tail`].
    type Response: Send + 'static;

    /// Makes one attempt.
    ///
    /// Dropping the future cancels the attempt, and must cancel the work behind it too.
    ///
    /// # Errors
    /// Returns a [`Failure`] that names the class of the ending.
    fn attempt(
        &self,
        attempt: Attempt<Self::Request>,
    ) -> impl Future<Output = Result<Answer<Self::Response>, Failure>> + Send;
}

/// One attempt as the backend sees it.
#[derive(Clone, Debug)]
pub struct Attempt<R> {
    /// The request of the caller.
    pub request: R,
    /// The number of the attempt among those of its call, from 1.
    pub number: u32,
    /// `true` if this attempt is the wake call of a cold lane. A dialect in which servers can hold a call may request
    /// that.
    pub wake: bool,
    /// Time left to the first part of the answer. The lane enforces it; a backend may also pass it on.
    pub first_part_timeout: Option<Duration>,
    /// Time between two parts of a streamed answer; the tail enforces it.
    pub idle_timeout: Duration,
    /// Cancelled when the caller leaves or the lane gives up; a tail must watch it.
    pub cancelled: CancellationToken,
}

/// A successful answer: the response, and a tail if more is to be streamed.
pub struct Answer<T> {
    /// Passed to the caller at once. After that the call cannot be retried.
    pub response: T,
    /// Drives the rest of the answer to its end while the call keeps its place in flight.
    pub tail: Option<Tail>,
    /// Output tokens, if the answer is complete and reports them.
    pub tokens: Option<u32>,
    /// The quota headers of the answer.
    pub quota: QuotaHints,
}

/// The rest of a streamed answer, run to its end by the worker.
pub type Tail = Pin<Box<dyn Future<Output = TailEnding> + Send>>;

/// How a streamed answer ended.
#[derive(Clone, Debug)]
pub struct TailEnding {
    /// The class of the ending.
    pub outcome: Outcome,
    /// The reason, if it was not a success.
    pub error: Option<String>,
}

impl<T> Answer<T> {
    /// Creates a complete answer.
    pub fn complete(response: T) -> Self {
        Self {
            response,
            tail: None,
            tokens: None,
            quota: QuotaHints::default(),
        }
    }

    /// Creates an answer whose rest is driven by `tail`.
    pub fn streamed(response: T, tail: Tail) -> Self {
        Self {
            response,
            tail: Some(tail),
            tokens: None,
            quota: QuotaHints::default(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Answer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Answer")
            .field("response", &self.response)
            .field("streamed", &self.tail.is_some())
            .finish_non_exhaustive()
    }
}

/// The reason why an attempt did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The class that control reacts to.
    pub outcome: Outcome,
    /// A description for the log. It may contain text from the backend, so it is not sent to callers.
    pub message: String,
    /// The reason code for the caller; `None` if the outcome is sufficient.
    pub reason: Option<&'static str>,
    /// The backend's status code, if it answered with one.
    pub status: Option<u16>,
    /// The body of the backend's answer, passed on unchanged if the caller is at fault.
    pub body: Option<bytes::Bytes>,
    /// The quota headers of the answer.
    pub quota: QuotaHints,
    /// What the backend adds for whoever made the call. The lane only carries it.
    pub attachment: Option<Arc<dyn Any + Send + Sync>>,
    /// `true` if the backend has done nothing for this attempt, for example because the connection was refused. It may
    /// then be repeated even if the call is not idempotent. Refusals are always repeated.
    pub safe_to_repeat: bool,
    /// `true` if this process refused the answer for a reason of its own, such as a lack of memory. The backend has not
    /// failed, and the call counts as shed.
    pub is_shed: bool,
}

impl Failure {
    /// Creates a failure without status and body, after which the backend may have done its work.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            safe_to_repeat: false,
            is_shed: false,
            outcome,
            message: message.into(),
            reason: None,
            status: None,
            body: None,
            quota: QuotaHints::default(),
            attachment: None,
        }
    }

    /// Adds the reason code for the caller.
    #[must_use]
    pub fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Marks the failure as one after which the backend has done nothing. See [`Failure::safe_to_repeat`].
    #[must_use]
    pub fn safe_to_repeat(mut self) -> Self {
        self.safe_to_repeat = true;
        self
    }

    /// Marks the failure as a refusal by this process. See [`Failure::is_shed`].
    #[must_use]
    pub fn shed(mut self) -> Self {
        self.is_shed = true;
        self
    }

    /// Adds the status code that the backend answered with.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}
