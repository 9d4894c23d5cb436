//! What a lane calls: any asynchronous operation that can succeed, refuse, fail or answer in two parts.
//!
//! A backend makes one attempt and classifies how it ended. It does not retry, wait for a turn or count: the lane does.
//! Each attempt runs in a task of its own, so a panic in a backend costs that attempt.

use std::{fmt, future::Future, pin::Pin, time::Duration};

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
/// - that is late, while it still runs, if the caller allows it ([`crate::CallOptions::hedge`]).
///
/// **An attempt is not repeated once its answer has begun.**
pub trait Backend: Send + Sync + 'static {
    /// The request. Cheap to clone: each attempt gets its own copy.
    type Request: Clone + Send + Sync + 'static;
    /// The answer, or the part of it that is known at once; a streamed rest goes into [`Answer::tail`].
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
    /// What the caller asks.
    pub request: R,
    /// Which attempt of the call this is; the first is 1.
    pub number: u32,
    /// This attempt is the one wake call of a cold lane: a dialect that can hold may ask for that.
    pub wake: bool,
    /// Time left to the first part of the answer. The lane enforces it too; a backend may pass it on.
    pub first_part_timeout: Option<Duration>,
    /// Time between two parts of a streamed answer; the tail enforces it.
    pub idle_timeout: Duration,
    /// Cancelled when the caller goes away or the lane gives up; a tail must watch it.
    pub cancelled: CancellationToken,
}

/// A successful answer: what is known now, and perhaps a rest that is still to be streamed.
pub struct Answer<T> {
    /// Handed to the caller at once. From here on the call cannot be retried.
    pub response: T,
    /// Drives the rest of the answer to its end while the call keeps its place in flight.
    pub tail: Option<Tail>,
    /// Output tokens, when the answer is complete and said so.
    pub tokens: Option<u32>,
    /// What the answer's headers said of quotas.
    pub quota: QuotaHints,
}

/// The rest of a streamed answer, run to its end by the worker.
pub type Tail = Pin<Box<dyn Future<Output = TailEnding> + Send>>;

/// How a streamed answer ended.
#[derive(Clone, Debug)]
pub struct TailEnding {
    /// The class of the ending.
    pub outcome: Outcome,
    /// Why, when it was no success.
    pub error: Option<String>,
}

impl<T> Answer<T> {
    /// Makes an answer that is complete.
    pub fn complete(response: T) -> Self {
        Self {
            response,
            tail: None,
            tokens: None,
            quota: QuotaHints::default(),
        }
    }

    /// Makes an answer whose rest is driven by `tail`.
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

/// Why an attempt did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The class that control reacts to.
    pub outcome: Outcome,
    /// What happened, for the log. It may hold what the backend said, so callers never get it.
    pub message: String,
    /// The reason code for the caller; `None` when the outcome says enough.
    pub reason: Option<&'static str>,
    /// The backend's status code, when it answered with one.
    pub status: Option<u16>,
    /// The backend's answer body, to be passed on unchanged when the fault is the caller's.
    pub body: Option<bytes::Bytes>,
    /// What the answer's headers said of quotas.
    pub quota: QuotaHints,
    /// The backend did nothing for this attempt (the connection was refused, say), so that it may be repeated even if the
    /// call is not idempotent. Refusals are repeated in any case.
    pub safe_to_repeat: bool,
}

impl Failure {
    /// Makes a failure without status or body, after which the backend may have done its work.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            safe_to_repeat: false,
            outcome,
            message: message.into(),
            reason: None,
            status: None,
            body: None,
            quota: QuotaHints::default(),
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

    /// Adds the status code that the backend answered with.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}
