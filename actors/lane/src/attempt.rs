//! One attempt from its dispatch to its end: timeouts, answer, and the rest of a stream.
//!
//! Runs in a task of its own on the runtime of its caller, so that an answer crosses no thread. The task outlives the
//! worker that started it and the pool that dispatched it. It reports its end and does not decide what follows.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::FutureExt;
use kebne_control::{AttemptId, Outcome, QuotaHints, Span, Timestamp};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    backend::{Answer, Attempt, Backend, Failure, Tail},
    call::Ending,
    clock::Clock,
    job::{CallSuccess, Job, Lost},
    trail::AttemptEnding,
};

/// An attempt to be made now.
pub(crate) struct Run<B: Backend> {
    pub(crate) job: Arc<Job<B>>,
    pub(crate) attempt: AttemptId,
    /// The number of the attempt among those of its call, refused ones not counted; from 1.
    pub(crate) number: u32,
    /// `true` for the wake call of a lane whose backend is not known to serve.
    pub(crate) wake: bool,
    /// Time until the answer, or the first part of a streamed one.
    pub(crate) timeout: Duration,
    /// The deadline of the caller.
    pub(crate) deadline: Instant,
    /// Time since the call was offered.
    pub(crate) waited: Duration,
    /// Longest silence within a streamed answer.
    pub(crate) idle_timeout: Duration,
    /// The progress of the attempt; shared with the pool's memory.
    pub(crate) progress: Arc<Progress>,
}

/// The progress of an attempt, for pools that did not dispatch it. The attempt holds it while it runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    begun: AtomicBool,
    end: Mutex<Option<AttemptEnd>>,
}

/// The stage of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// It runs, or waits in the mailbox of a worker.
    Runs,
    /// It has ended; its report may not have been handled.
    Ended(AttemptEnd),
    /// It was dropped without reporting an end.
    Lost {
        /// `true` if the request had been sent to the backend.
        begun: bool,
    },
}

impl Progress {
    fn ended(&self, end: AttemptEnd) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Returns the stage of the attempt. Called by the only other holder.
    pub(crate) fn stage(self: &Arc<Self>) -> Stage {
        // Read before the end, because an attempt sets its end before it drops its reference.
        let holders = Arc::strong_count(self);
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        match end {
            Some(end) => Stage::Ended(end),
            None if holders > 1 => Stage::Runs,
            None => Stage::Lost {
                begun: self.begun.load(SeqCst),
            },
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptEnd {
    pub(crate) outcome: Outcome,
    pub(crate) quota: QuotaHints,
    /// `true` if a part of the answer was sent to the caller, so the call cannot be repeated.
    pub(crate) committed: bool,
    /// The cause of the end.
    pub(crate) cause: Cause,
    /// `true` if the backend has done nothing for it.
    pub(crate) safe_to_repeat: bool,
    /// The beginning and the end of the attempt.
    pub(crate) span: Span,
}

/// The cause of an attempt's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The backend, a clock or the caller.
    Outside,
    /// A panic in the backend's code.
    Panic,
    /// A failure of the lane's own actors, unrelated to the backend.
    Lane,
}

impl AttemptEnd {
    fn uncommitted(outcome: Outcome) -> Self {
        Self {
            outcome,
            quota: QuotaHints::default(),
            committed: false,
            cause: Cause::Outside,
            safe_to_repeat: false,
            // Set at the end of the attempt.
            span: Span::until(Timestamp::ZERO),
        }
    }

    /// Returns the end of an attempt that panicked.
    fn panicked(committed: bool) -> Self {
        Self {
            committed,
            cause: Cause::Panic,
            ..Self::uncommitted(Outcome::Fault)
        }
    }

    /// Returns the end of an attempt that was dropped without reporting one.
    pub(crate) fn lost(committed: bool, begun: bool, now: Timestamp) -> Self {
        Self {
            committed,
            cause: Cause::Lane,
            safe_to_repeat: !begun,
            span: Span::until(now),
            ..Self::uncommitted(Outcome::Fault)
        }
    }
}

impl<B: Backend> Run<B> {
    /// Returns the end of an attempt whose task was dropped, because the runtime of its caller has stopped.
    pub(crate) fn abandoned(&self, clock: Clock) -> AttemptEnd {
        let begun = self.progress.begun.load(SeqCst);
        let end = lost(&self.job, self.attempt, begun, clock.now());
        self.progress.ended(end);
        end
    }

    /// Makes the attempt; `first_part` is called when a streamed answer begins. A panic is handled like any other
    /// ending.
    pub(crate) async fn make(
        &self,
        backend: &B,
        clock: Clock,
        first_part: impl FnOnce(Span),
    ) -> AttemptEnd {
        self.progress.begun.store(true, SeqCst);
        let sent = clock.now();
        if let Some(trail) = &self.job.options.trail {
            trail.begin(self.attempt, self.wake, clock.instant(sent));
        }
        let until_now = || Span {
            sent,
            at: clock.now(),
        };
        let made = AssertUnwindSafe(self.run(backend, || first_part(until_now())));
        let mut end = made.catch_unwind().await.unwrap_or_else(|_| {
            self.job.lose(Lost::Panic);
            let committed = self.job.is_answered_by(self.attempt);
            if committed {
                self.job.shared().condemn(Ending::Panic);
            }
            AttemptEnd::panicked(committed)
        });
        end.span = until_now();
        note_end(&self.job, self.attempt, &end);
        self.job.ended(self.attempt);
        self.progress.ended(end);
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
        // A backend that watches the token may return a failure before the arm above is polled.
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

    /// Returns the time until the first part is due, and the name of the timeout that sets it. For a wake call the
    /// first-token timeout does not apply, because the backend may load first.
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
            quota: failure.quota,
            safe_to_repeat: failure.safe_to_repeat,
            ..AttemptEnd::uncommitted(failure.outcome)
        };
        self.job.lose(Lost::Failure(failure));
        end
    }

    async fn answered(&self, answer: Answer<B::Response>, first_part: impl FnOnce()) -> AttemptEnd {
        let success = CallSuccess {
            response: answer.response,
            attempts: self.number,
            waited: self.waited,
        };
        let quota = answer.quota;
        if answer.tail.is_some() {
            first_part();
        }
        if let Some(trail) = &self.job.options.trail {
            trail.answered(self.attempt, Clock::instant_now());
        }
        let delivered = self.job.answer(self.attempt, success);
        let outcome = match answer.tail {
            None => Outcome::Success {
                tokens: answer.tokens,
            },
            Some(_) if !delivered => Outcome::Cancelled,
            Some(tail) => self.stream(tail).await,
        };
        AttemptEnd {
            quota,
            committed: self.job.is_answered_by(self.attempt),
            ..AttemptEnd::uncommitted(outcome)
        }
    }

    /// Runs the rest of a streamed answer until it ends or its caller leaves, or its deadline passes, if that bounds
    /// streams.
    async fn stream(&self, mut tail: Tail) -> Outcome {
        let shared = self.job.shared();
        let ending = tokio::select! {
            biased;
            () = shared.cancelled.cancelled() => return Outcome::Cancelled,
            ending = &mut tail => ending,
            () = sleep_until(self.deadline), if self.job.options.bounds_stream => {
                // Before the tail is dropped, because the reader asks why it ended.
                shared.condemn(Ending::Timeout);
                tracing::debug!(attempt = self.attempt.0, "the deadline ended a streamed answer");
                return Outcome::Timeout;
            }
        };
        if let Some(error) = ending.error {
            tracing::debug!(attempt = self.attempt.0, %error, "a streamed answer broke");
            self.job
                .lose(Lost::Failure(Failure::new(ending.outcome, error)));
        }
        ending.outcome
    }
}

/// Returns the end of an attempt that was lost without reporting one.
pub(crate) fn lost<B: Backend>(
    job: &Job<B>,
    attempt: AttemptId,
    begun: bool,
    now: Timestamp,
) -> AttemptEnd {
    job.ended(attempt);
    job.lose(Lost::Panic);
    let committed = job.is_answered_by(attempt);
    if committed {
        job.shared().condemn(Ending::Panic);
    }
    let end = AttemptEnd::lost(committed, begun, now);
    note_end(job, attempt, &end);
    end
}

/// Records the end of an attempt in the trail of its call.
fn note_end<B: Backend>(job: &Job<B>, attempt: AttemptId, end: &AttemptEnd) {
    let Some(trail) = &job.options.trail else {
        return;
    };
    let reason = match (end.cause, &end.outcome) {
        (Cause::Panic, _) => "panic",
        (Cause::Lane, _) => "lane",
        (Cause::Outside, Outcome::Success { .. } | Outcome::Cancelled) => "",
        (Cause::Outside, _) => job.last_reason(),
    };
    let outcome = end.outcome.label();
    trail.end(
        attempt,
        AttemptEnding { outcome, reason },
        Clock::instant_now(),
    );
}
