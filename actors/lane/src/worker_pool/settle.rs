//! What follows the end of an attempt.

use kebne_control::{AfterAttempt, AttemptId, Exhaustion, Outcome, Span, controller};

use super::{WorkerPool, lost};
use crate::{
    attempt::AttemptEnd,
    backend::Backend,
    call::{CallError, Ending},
    job::{Job, Lost},
    worker::WorkerId,
};

impl<B: Backend> WorkerPool<B> {
    /// Settles an attempt's end with the pool, the caller and the controller.
    pub(super) fn settle(&mut self, attempt: AttemptId, end: AttemptEnd, span: Span) {
        let now = self.parts.clock.now();
        let dice = &mut self.dice;
        let after = {
            let mut kept = self.parts.kept.lock();
            let Some((_, job)) = kept.ledger.take(attempt) else {
                return;
            };
            if !matches!(end.outcome, Outcome::Success { .. } | Outcome::Cancelled)
                && let Some(failure) = job.last_failure(end.outcome, now)
            {
                self.parts.status.failed(failure);
            }
            if job.is_cancelled() && !matches!(end.outcome, Outcome::Success { .. }) {
                kept.pool.released(attempt, now);
                None
            } else {
                let (outcome, committed) = (end.outcome, end.committed);
                let after = kept
                    .pool
                    .ended(attempt, job, outcome, committed, now, &mut || dice.unit());
                Some(after)
            }
        };
        // Success opens nothing that the grant in force forbids; all else may forbid what it allows.
        let binding = !matches!(end.outcome, Outcome::Success { .. });
        let event = controller::Message::Ended {
            attempt,
            span,
            outcome: end.outcome,
            quota: end.quota,
        };
        self.observe(event, binding);
        match after {
            None
            | Some(AfterAttempt::Held(_) | AfterAttempt::Retry { .. } | AfterAttempt::Doubled) => {}
            Some(AfterAttempt::Done(job)) => finish(&job),
            Some(AfterAttempt::Exhausted(job, why)) => self.exhaust(&job, why),
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

    /// Settles the attempts of an earlier incarnation's workers: they died with it.
    pub(super) fn settle_lost(&mut self) {
        let attempts = {
            let mut kept = self.parts.kept.lock();
            kept.ledger.dismiss_all();
            kept.ledger.numbers()
        };
        for attempt in attempts {
            self.settle_as_lost(attempt);
        }
    }

    /// Settles the attempt that a worker had when it was restarted, if nobody reported its end.
    pub(super) fn settle_lost_by(&mut self, worker: WorkerId) {
        let attempts = self.parts.kept.lock().ledger.numbers_of(worker);
        for attempt in attempts {
            self.settle_as_lost(attempt);
        }
    }

    fn settle_as_lost(&mut self, attempt: AttemptId) {
        let mut end = lost();
        if let Some((_, job)) = self.parts.kept.lock().ledger.held(attempt) {
            job.ended(attempt);
            job.lose(Lost::Panic);
            end.committed = job.is_answered_by(attempt);
            if end.committed {
                job.shared().condemn(Ending::Panic);
            }
        }
        let span = Span::until(self.parts.clock.now());
        self.settle(attempt, end, span);
    }
}

/// Ends a call whose last attempt is final: answered already, or failed through its caller's fault.
fn finish<B: Backend>(job: &Job<B>) {
    if !job.is_answered() {
        job.fail();
    }
}
