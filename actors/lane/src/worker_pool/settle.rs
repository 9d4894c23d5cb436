//! Handles the end of an attempt.

use kebne_control::{AfterAttempt, AttemptId, Exhaustion, Outcome, controller};

use super::WorkerPool;
use crate::{
    attempt::{AttemptEnd, Cause, Stage, lost},
    backend::Backend,
    call::{CallError, CallOptions, Repeats},
    job::Job,
};

impl<B: Backend> WorkerPool<B> {
    /// Settles an attempt's end with the pool, the caller and the controller.
    pub(super) fn settle(&mut self, attempt: AttemptId, end: AttemptEnd) {
        let now = self.parts.clock.now();
        let dice = &mut self.dice;
        let (after, outcome) = {
            let mut kept = self.parts.kept.lock();
            let Some((_, held)) = kept.ledger.take(attempt) else {
                drop(kept);
                self.settle_served(attempt, end);
                return;
            };
            let job = held.job;
            if !matches!(end.outcome, Outcome::Success { .. } | Outcome::Cancelled)
                && let Some(failure) = job.last_failure(end.outcome, now)
            {
                self.parts.status.failed(failure);
            }
            let taught = taught_outcome(&job, end, held.probe);
            if job.is_cancelled() && !matches!(end.outcome, Outcome::Success { .. }) {
                kept.pool.released(attempt, now);
                (None, taught)
            } else {
                // While the call's other attempt runs, the other attempt decides.
                let is_last = !may_repeat(&job.options, end) && !kept.is_in_flight(&job);
                let (outcome, committed) = (end.outcome, end.committed || is_last);
                let after = kept
                    .pool
                    .ended(attempt, job, outcome, committed, now, &mut || dice.unit());
                (Some(after), taught)
            }
        };
        // A success cannot forbid what the current grant allows; every other outcome may.
        let binding = !matches!(end.outcome, Outcome::Success { .. });
        let event = controller::Message::Ended {
            attempt,
            span: end.span,
            outcome,
            quota: end.quota,
        };
        self.observe(event, end.span.at, binding);
        match after {
            None
            | Some(AfterAttempt::Held(_) | AfterAttempt::Retry { .. } | AfterAttempt::Doubled) => {}
            Some(AfterAttempt::Done(job)) => finish(&job),
            Some(AfterAttempt::Exhausted(job, why)) => self.exhaust(&job, why),
        }
    }

    /// Settles an attempt whose call had been served before its beginning was read.
    fn settle_served(&mut self, attempt: AttemptId, end: AttemptEnd) {
        let Outcome::Success { tokens } = end.outcome else {
            return;
        };
        let now = self.parts.clock.now();
        if self.parts.kept.lock().pool.served(attempt, tokens, now) {
            let event = controller::Message::Ended {
                attempt,
                span: end.span,
                outcome: end.outcome,
                quota: end.quota,
            };
            self.observe(event, end.span.at, false);
        }
    }

    fn exhaust(&mut self, job: &Job<B>, why: Exhaustion) {
        match why {
            Exhaustion::Refused(reason) if !job.was_lost() => {
                let now = self.parts.clock.now();
                let refusal = self.parts.kept.lock().pool.refusal(reason, now);
                job.refuse(CallError::from(refusal));
            }
            _ => job.fail(),
        }
    }

    /// Takes over the attempts in flight of an earlier pool: running attempts continue and report to this pool.
    pub(super) fn adopt(&mut self) {
        let notes = self.parts.attempts.slots.close();
        let attempts = {
            let mut kept = self.parts.kept.lock();
            // The earlier pool's workers have stopped.
            kept.ledger.dismiss_all();
            drop(kept);
            self.read(notes);
            self.parts.kept.lock().ledger.numbers()
        };
        for attempt in attempts {
            self.settle_if_over(attempt);
        }
    }

    /// Settles an attempt in flight that has ended or was lost.
    pub(super) fn settle_if_over(&mut self, attempt: AttemptId) {
        let end = {
            let kept = self.parts.kept.lock();
            let Some((_, held)) = kept.ledger.held(attempt) else {
                return;
            };
            match held.progress.stage() {
                Stage::Runs => return,
                Stage::Ended(end) => end,
                Stage::Lost { begun } => lost(&held.job, attempt, begun, self.parts.clock.now()),
            }
        };
        self.settle(attempt, end);
    }
}

/// Returns `true` if the call may be sent again after this end of an attempt. A refused attempt had no effect at the
/// backend.
fn may_repeat(options: &CallOptions, end: AttemptEnd) -> bool {
    match end.outcome {
        Outcome::Fault | Outcome::Timeout => {
            let needed = match end.cause {
                _ if end.safe_to_repeat => Repeats::Undone,
                Cause::Panic => Repeats::FailuresAndPanics,
                Cause::Outside | Cause::Lane => Repeats::Failures,
            };
            options.repeats >= needed
        }
        _ => true,
    }
}

/// Returns the outcome that the law learns: at most one fault of each call, and no failure of the lane itself. The
/// outcome of a probe is always reported, because the law requested it.
fn taught_outcome<B: Backend>(job: &Job<B>, end: AttemptEnd, probe: bool) -> Outcome {
    let is_fault = matches!(end.outcome, Outcome::Fault | Outcome::Timeout);
    if end.cause == Cause::Lane || (is_fault && !probe && !job.teaches_fault()) {
        return Outcome::Cancelled;
    }
    end.outcome
}

/// Ends a call after its final attempt, which was answered or must not be repeated.
fn finish<B: Backend>(job: &Job<B>) {
    if !job.is_answered() {
        job.fail();
    }
}
