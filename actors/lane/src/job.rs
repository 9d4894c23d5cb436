//! A call inside a lane, shared by its caller, the pool and its attempts.
//!
//! The pool's memory keeps one reference while the call is admitted and each running attempt another, so a panic loses
//! an attempt and not the call.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst},
};
use std::time::Duration;

use kebne_control::{AttemptId, CallId, OfferedCall, Outcome, Timestamp};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::sync::CancellationToken;

use kebne_actors::work_pulling::permits::Permit;

use crate::{
    backend::{Backend, Failure},
    call::{CallError, CallOptions, Ending, Withdrawal},
    status::LastFailure,
};

/// The channel on which the caller's future waits.
pub(crate) type Outbox<R> = oneshot::Sender<Result<CallSuccess<R>, CallError>>;

/// A successful answer for the caller.
#[derive(Debug)]
pub(crate) struct CallSuccess<R> {
    pub(crate) response: R,
    pub(crate) attempts: u32,
    pub(crate) waited: Duration,
}

/// The value before the pool has given a number.
const UNNUMBERED: u64 = u64::MAX;
/// The value while the lane has not ended the call.
const NO_ENDING: usize = usize::MAX;

/// One call.
pub(crate) struct Job<B: Backend> {
    /// The request; each attempt gets a clone.
    pub(crate) request: B::Request,
    /// The options of the call.
    pub(crate) options: CallOptions,
    /// The deadline of the caller.
    pub(crate) deadline: Timestamp,
    /// The runtime of the caller, on which the attempts run.
    pub(crate) home: Handle,
    outlet: Mutex<Outlet<B::Response>>,
    /// The last attempt's failure, which becomes the call's when no retry is left.
    last: Mutex<Option<Lost>>,
    /// `true` once a fault of this call was reported to the law.
    taught_fault: AtomicBool,
    shared: std::sync::Arc<Shared>,
}

/// The channel for the answer, and the attempts that may send it.
struct Outlet<R> {
    /// `None` once the answer was sent.
    outbox: Option<Outbox<R>>,
    /// The attempt whose answer was sent.
    answered_by: Option<AttemptId>,
    /// The running attempts, each with its own cancellation token.
    running: Vec<(AttemptId, CancellationToken)>,
}

/// The part of a call that does not depend on the request type; also held by the caller's guard.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Cancelled when the caller leaves or the lane is cut off.
    pub(crate) cancelled: CancellationToken,
    /// The pool's number for the call, once it is admitted.
    number: AtomicU64,
    /// The ending with which the lane itself ended the call after its answer had begun: an index into [`Ending::ALL`],
    /// or [`NO_ENDING`].
    verdict: AtomicUsize,
    /// Attempts made, refused ones included.
    attempts: AtomicU32,
    /// `true` once the caller has the whole answer.
    served: AtomicBool,
    /// The attempts that run.
    running: AtomicU32,
    /// Given back as soon as the call was served and its attempts have ended; at the latest with the last reference.
    permit: Mutex<Option<Permit>>,
}

/// The cause of the loss of the last attempt.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    /// The backend failed.
    Failure(Failure),
    /// The timeout with this name ran out.
    Timeout(&'static str),
    /// The attempt panicked.
    Panic,
}

impl Shared {
    pub(crate) fn new(permit: Permit) -> Self {
        Self {
            cancelled: CancellationToken::new(),
            number: AtomicU64::new(UNNUMBERED),
            verdict: AtomicUsize::new(NO_ENDING),
            attempts: AtomicU32::new(0),
            served: AtomicBool::new(false),
            running: AtomicU32::new(0),
            permit: Mutex::new(Some(permit)),
        }
    }

    /// Notes that the caller has the whole answer.
    pub(crate) fn served(&self) {
        self.served.store(true, SeqCst);
        self.give_permit_back();
    }

    fn give_permit_back(&self) {
        if self.served.load(SeqCst) && self.running.load(SeqCst) == 0 {
            drop(lock(&self.permit).take());
        }
    }

    /// Returns the attempts made, refused ones included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.load(SeqCst)
    }

    /// Returns the pool's number for the call.
    pub(crate) fn number(&self) -> Option<CallId> {
        Some(self.number.load(SeqCst))
            .filter(|number| *number != UNNUMBERED)
            .map(CallId)
    }

    /// Records the pool's number. The pool checks `cancelled` after this, and the guard cancels before it reads the
    /// number, so at least one of them notices the other.
    pub(crate) fn admitted(&self, call: CallId) {
        self.number.store(call.0, SeqCst);
    }

    /// Records the ending with which the lane ends the call after its answer has begun; only the first counts.
    pub(crate) fn condemn(&self, ending: Ending) {
        let first = self
            .verdict
            .compare_exchange(NO_ENDING, ending as usize, SeqCst, SeqCst);
        if let Err(earlier) = first {
            tracing::trace!(earlier, ?ending, "the call was condemned before");
        }
    }

    /// Returns the ending with which the lane ended the call, if it did.
    pub(crate) fn verdict(&self) -> Option<Ending> {
        Ending::ALL.get(self.verdict.load(SeqCst)).copied()
    }
}

impl<B: Backend> Job<B> {
    /// Creates a call of the current task, whose runtime makes the attempts.
    pub(crate) fn new(
        request: B::Request,
        options: CallOptions,
        deadline: Timestamp,
        outbox: Outbox<B::Response>,
        shared: std::sync::Arc<Shared>,
    ) -> Self {
        Self {
            request,
            options,
            deadline,
            home: Handle::current(),
            outlet: Mutex::new(Outlet {
                outbox: Some(outbox),
                answered_by: None,
                running: Vec::new(),
            }),
            last: Mutex::new(None),
            taught_fault: AtomicBool::new(false),
            shared,
        }
    }

    /// Returns the call as the pool takes it.
    pub(crate) fn offered<T>(&self, payload: T) -> OfferedCall<T> {
        let options = &self.options;
        OfferedCall {
            deadline: self.deadline,
            bytes: options.bytes,
            tokens: options.cost,
            output_tokens_max: options.cost_uncertain,
            tenant: options.tenant,
            priority: options.priority,
            weight: options.weight,
            refuse_when_cold: options.refuse_when_cold,
            hedge: options.hedge,
            kind: options.kind,
            payload,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns `true` if the caller no longer waits.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.shared.cancelled.is_cancelled()
    }

    /// Counts an attempt; returns the number of attempts so far.
    pub(crate) fn count_attempt(&self) -> u32 {
        self.shared.attempts.fetch_add(1, SeqCst) + 1
    }

    /// Returns `true` only for the first fault of the call, so that a faulty request cannot make the law treat the
    /// backend as broken.
    pub(crate) fn teaches_fault(&self) -> bool {
        !self.taught_fault.swap(true, SeqCst)
    }

    /// Registers an attempt that begins and returns its cancellation token, which is cancelled when the caller leaves
    /// or the call's other attempt answers.
    pub(crate) fn begin(&self, attempt: AttemptId) -> CancellationToken {
        let token = self.shared.cancelled.child_token();
        self.shared.running.fetch_add(1, SeqCst);
        let mut outlet = lock(&self.outlet);
        if outlet.outbox.is_none() {
            token.cancel();
        }
        outlet.running.push((attempt, token.clone()));
        token
    }

    /// Removes an attempt that has ended.
    pub(crate) fn ended(&self, attempt: AttemptId) {
        let has_ended = {
            let running = &mut lock(&self.outlet).running;
            let before = running.len();
            running.retain(|(other, _)| *other != attempt);
            running.len() < before
        };
        if has_ended {
            self.shared.running.fetch_sub(1, SeqCst);
            self.shared.give_permit_back();
        }
    }

    /// Records the loss of an attempt.
    pub(crate) fn lose(&self, lost: Lost) {
        *lock(&self.last) = Some(lost);
    }

    /// Returns the record of the last loss.
    pub(crate) fn last_failure(&self, outcome: Outcome, now: Timestamp) -> Option<LastFailure> {
        let class = outcome.label();
        match &*lock(&self.last) {
            None => None,
            Some(Lost::Failure(failure)) if failure.is_shed => None,
            Some(Lost::Failure(failure)) => Some(LastFailure::new(
                class,
                failure.reason,
                failure.status,
                &failure.message,
                now,
            )),
            Some(Lost::Timeout(what)) => {
                let message = format!("the backend did not answer in time (`{what}` timeout)");
                Some(LastFailure::new(class, None, None, &message, now))
            }
            Some(Lost::Panic) => Some(LastFailure::new(
                class,
                Some("panic"),
                None,
                "the attempt panicked",
                now,
            )),
        }
    }

    /// Returns the reason code of the last loss, or the timeout that ran out; empty if there is neither.
    pub(crate) fn last_reason(&self) -> &'static str {
        match &*lock(&self.last) {
            Some(Lost::Failure(failure)) => failure.reason.unwrap_or_default(),
            Some(Lost::Timeout(what)) => what,
            Some(Lost::Panic) => "panic",
            None => "",
        }
    }

    /// Returns `true` if an attempt was lost other than by a refusal, so the failure is the ending of the call.
    pub(crate) fn was_lost(&self) -> bool {
        match &*lock(&self.last) {
            None => false,
            Some(Lost::Failure(failure)) => !failure.outcome.is_refusal(),
            Some(Lost::Timeout(_) | Lost::Panic) => true,
        }
    }

    /// Sends the answer of an attempt to the caller. Only the first answer counts; it cancels the call's other attempt.
    /// Returns `true` if it was the first and the caller still waits.
    pub(crate) fn answer(&self, attempt: AttemptId, success: CallSuccess<B::Response>) -> bool {
        let outbox = {
            let mut outlet = lock(&self.outlet);
            let outbox = outlet.outbox.take();
            if outbox.is_some() {
                outlet.answered_by = Some(attempt);
                outlet.cancel_all_but(Some(attempt));
            }
            outbox
        };
        outbox.is_some_and(|outbox| outbox.send(Ok(success)).is_ok())
    }

    /// Ends the call with an error, unless it was answered; running attempts are cancelled.
    pub(crate) fn refuse(&self, error: CallError) {
        let outbox = {
            let mut outlet = lock(&self.outlet);
            let outbox = outlet.outbox.take();
            if outbox.is_some() {
                outlet.cancel_all_but(None);
            }
            outbox
        };
        // The caller may have left.
        let _left = outbox.map(|outbox| outbox.send(Err(error)));
    }

    /// Takes the call back if it was not answered and, for [`Withdrawal::Waiting`], no attempt of it runs and none has
    /// failed other than by a refusal. Returns `true` if it was taken back: attempts that run are cancelled, and one that
    /// begins later is cancelled before it reaches the backend.
    pub(crate) fn withdraw(&self, withdrawal: Withdrawal) -> bool {
        let mut outlet = lock(&self.outlet);
        let is_open = outlet.outbox.is_some();
        let waits = outlet.running.is_empty() && !self.was_lost();
        let is_taken_back = is_open && (waits || withdrawal == Withdrawal::Running);
        if is_taken_back {
            outlet.outbox = None;
            outlet.cancel_all_but(None);
        }
        is_taken_back
    }

    /// Returns `true` if an answer or an error was sent to the caller.
    pub(crate) fn is_answered(&self) -> bool {
        lock(&self.outlet).outbox.is_none()
    }

    /// Returns `true` if the answer of this attempt was sent to the caller, so the call cannot be repeated.
    pub(crate) fn is_answered_by(&self, attempt: AttemptId) -> bool {
        lock(&self.outlet).answered_by == Some(attempt)
    }

    /// Ends the call with the last attempt's failure.
    pub(crate) fn fail(&self) {
        let attempts = self.shared.attempts();
        let error = match lock(&self.last).take() {
            Some(Lost::Failure(failure)) => CallError::Failed { failure, attempts },
            Some(Lost::Timeout(what)) => CallError::Timeout { what, attempts },
            Some(Lost::Panic) => CallError::Panicked { attempts },
            None => CallError::Stopped,
        };
        self.refuse(error);
    }
}

impl<R> Outlet<R> {
    fn cancel_all_but(&self, winner: Option<AttemptId>) {
        for (attempt, token) in &self.running {
            if Some(*attempt) != winner {
                token.cancel();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
