//! One attempt from its dispatch to its end: the clocks, the answer, the rest of a stream.
//!
//! Runs in a task of its own. It never decides what follows; it says how it ended.

use std::{sync::Arc, time::Duration};

use kebne_control::{AttemptId, Outcome, QuotaHints};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    backend::{Answer, Attempt, Backend, Failure, Tail},
    call::Ending,
    job::{Delivery, Job, Lost},
};

/// An attempt to be made now.
pub(crate) struct Run<B: Backend> {
    pub(crate) job: Arc<Job<B>>,
    pub(crate) attempt: AttemptId,
    /// Which attempt of the call this is, refused ones not counted.
    pub(crate) number: u32,
    /// The one wake call of a lane that is not known to serve.
    pub(crate) wake: bool,
    /// Time until the answer, or the first part of a streamed one.
    pub(crate) timeout: Duration,
    /// When the caller stops waiting.
    pub(crate) deadline: Instant,
    /// Time since the call was offered.
    pub(crate) waited: Duration,
    /// Longest silence within a streamed answer.
    pub(crate) idle_timeout: Duration,
}

impl<B: Backend> Clone for Run<B> {
    fn clone(&self) -> Self {
        Self {
            job: Arc::clone(&self.job),
            ..*self
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptEnd {
    pub(crate) outcome: Outcome,
    pub(crate) quota: QuotaHints,
    /// Part of the answer went to the caller, so there is no going back.
    pub(crate) committed: bool,
}

impl AttemptEnd {
    fn uncommitted(outcome: Outcome) -> Self {
        Self {
            outcome,
            quota: QuotaHints::default(),
            committed: false,
        }
    }
}

impl<B: Backend> Run<B> {
    /// Makes the attempt; `first_part` is called when a streamed answer begins.
    pub(crate) async fn make(&self, backend: &B, first_part: impl FnOnce()) -> AttemptEnd {
        let end = self.run(backend, first_part).await;
        self.job.ended(self.attempt);
        end
    }

    async fn run(&self, backend: &B, first_part: impl FnOnce()) -> AttemptEnd {
        let cancelled = self.job.begin(self.attempt);
        let (limit, clock) = self.first_clock();
        let attempt = Attempt {
            request: self.job.request.clone(),
            number: self.number,
            wake: self.wake,
            first_part_timeout: Some(limit),
            idle_timeout: self.idle_timeout,
            cancelled: cancelled.clone(),
        };
        let answer = tokio::select! {
            biased;
            () = cancelled.cancelled() => return AttemptEnd::uncommitted(Outcome::Cancelled),
            answer = timeout(limit, backend.attempt(attempt)) => answer,
        };
        // A backend that watches the token may answer with a failure before the arm above is polled.
        if cancelled.is_cancelled() {
            return AttemptEnd::uncommitted(Outcome::Cancelled);
        }
        match answer {
            Ok(Ok(answer)) => self.answered(answer, first_part).await,
            Ok(Err(failure)) => self.failed(failure),
            Err(_) => {
                self.job.lose(Lost::Timeout(clock));
                AttemptEnd::uncommitted(Outcome::Timeout)
            }
        }
    }

    /// Returns the time until the first part is due, and the name of the clock that sets it. A wake call
    /// is given the time that loading takes: its first-token clock does not run.
    fn first_clock(&self) -> (Duration, &'static str) {
        let first = self.job.options.first_part_timeout;
        let left = self.deadline.saturating_duration_since(Instant::now());
        match first.filter(|_| !self.wake) {
            Some(first) if first < self.timeout && first < left => (first, "first_token"),
            _ if self.timeout < left => (self.timeout, "attempt"),
            _ => (left, "total"),
        }
    }

    fn failed(&self, failure: Failure) -> AttemptEnd {
        let end = AttemptEnd {
            outcome: failure.outcome,
            quota: failure.quota,
            committed: false,
        };
        self.job.lose(Lost::Failure(failure));
        end
    }

    async fn answered(&self, answer: Answer<B::Response>, first_part: impl FnOnce()) -> AttemptEnd {
        let delivery = Delivery {
            response: answer.response,
            attempts: self.number,
            waited: self.waited,
        };
        let quota = answer.quota;
        if answer.tail.is_some() {
            first_part();
        }
        let delivered = self.job.answer(self.attempt, delivery);
        let outcome = match answer.tail {
            None => Outcome::Success {
                tokens: answer.tokens,
            },
            Some(_) if !delivered => Outcome::Cancelled,
            Some(tail) => self.stream(tail).await,
        };
        AttemptEnd {
            outcome,
            quota,
            committed: self.job.is_answered_by(self.attempt),
        }
    }

    /// Runs the rest of a streamed answer to its end, its caller's end or its deadline.
    async fn stream(&self, tail: Tail) -> Outcome {
        let shared = self.job.shared();
        let ending = tokio::select! {
            biased;
            () = shared.cancelled.cancelled() => return Outcome::Cancelled,
            ending = timeout_at(self.deadline, tail) => ending,
        };
        let Ok(ending) = ending else {
            shared.condemn(Ending::Timeout);
            return Outcome::Timeout;
        };
        if let Some(error) = ending.error {
            tracing::debug!(attempt = self.attempt.0, %error, "a streamed answer broke");
            self.job
                .lose(Lost::Failure(Failure::new(ending.outcome, error)));
        }
        ending.outcome
    }
}
