//! One call inside a lane: what its caller, the pool and its attempts share.
//!
//! The pool's memory keeps one reference while the call is admitted and a running attempt another, so a panic anywhere
//! costs an attempt and not the call. The permit is returned with the last reference.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst},
};
use std::time::Duration;

use kebne_control::{AttemptId, CallId, Outcome, Timestamp};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use kebne_actors::work_pulling::permits::Permit;

use crate::{
    backend::{Backend, Failure},
    call::{CallError, CallOptions, Ending},
    status::LastFailure,
};

/// What the caller's future waits for.
pub(crate) type Outbox<R> = oneshot::Sender<Result<Delivery<R>, CallError>>;

/// A successful answer on its way to the caller.
#[derive(Debug)]
pub(crate) struct Delivery<R> {
    pub(crate) response: R,
    pub(crate) attempts: u32,
    pub(crate) waited: Duration,
}

/// No call number was given yet.
const UNNUMBERED: u64 = u64::MAX;
/// The lane did not end the call by itself.
const NO_VERDICT: usize = usize::MAX;

/// One call.
pub(crate) struct Job<B: Backend> {
    /// What is asked; each attempt gets a clone.
    pub(crate) request: B::Request,
    /// What the caller said besides.
    pub(crate) options: CallOptions,
    /// When the caller stops waiting.
    pub(crate) deadline: Timestamp,
    outlet: Mutex<Outlet<B::Response>>,
    /// The last attempt's failure, which becomes the call's when no retry is left.
    last: Mutex<Option<Lost>>,
    /// An attempt of this call has been told to the law as a fault.
    taught_fault: AtomicBool,
    shared: std::sync::Arc<Shared>,
}

/// Where the answer goes, and the attempts that may bring it.
struct Outlet<R> {
    /// Empty once the answer went.
    outbox: Option<Outbox<R>>,
    /// The attempt whose answer went.
    answered_by: Option<AttemptId>,
    /// The attempts that run, each with what cancels it alone.
    running: Vec<(AttemptId, CancellationToken)>,
}

/// The part of a call that does not depend on what is asked; the caller's guard holds it too.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Cancelled when the caller goes away or the lane is cut off.
    pub(crate) cancelled: CancellationToken,
    /// The pool's number for the call, once it is admitted.
    number: AtomicU64,
    /// Why the lane itself ended the call after its answer had begun: an ending's place in
    /// [`Ending::ALL`], or [`NO_VERDICT`].
    verdict: AtomicUsize,
    /// Attempts made, refused ones included.
    attempts: AtomicU32,
    _permit: Permit,
}

/// How the last attempt was lost.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    /// The backend failed.
    Failure(Failure),
    /// A clock ran out, named here.
    Timeout(&'static str),
    /// The attempt panicked.
    Panic,
}

impl Shared {
    pub(crate) fn new(permit: Permit) -> Self {
        Self {
            cancelled: CancellationToken::new(),
            number: AtomicU64::new(UNNUMBERED),
            verdict: AtomicUsize::new(NO_VERDICT),
            attempts: AtomicU32::new(0),
            _permit: permit,
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

    /// Notes the pool's number. The pool asks for `cancelled` after this, the guard cancels before it
    /// reads the number: so one of the two sees the other.
    pub(crate) fn admitted(&self, call: CallId) {
        self.number.store(call.0, SeqCst);
    }

    /// Says why the lane ended the call after its answer had begun; the first reason counts.
    pub(crate) fn condemn(&self, ending: Ending) {
        let first = self
            .verdict
            .compare_exchange(NO_VERDICT, ending as usize, SeqCst, SeqCst);
        if let Err(earlier) = first {
            tracing::trace!(earlier, ?ending, "the call was condemned before");
        }
    }

    /// Returns why the lane ended the call, if it did.
    pub(crate) fn verdict(&self) -> Option<Ending> {
        Ending::ALL.get(self.verdict.load(SeqCst)).copied()
    }
}

impl<B: Backend> Job<B> {
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

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns `true` if nobody waits for the answer any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.shared.cancelled.is_cancelled()
    }

    /// Counts an attempt; returns how many there were.
    pub(crate) fn count_attempt(&self) -> u32 {
        self.shared.attempts.fetch_add(1, SeqCst) + 1
    }

    /// Returns `true` for the first fault of the call only: what is wrong with one request must not make the law take
    /// the backend for broken.
    pub(crate) fn teaches_fault(&self) -> bool {
        !self.taught_fault.swap(true, SeqCst)
    }

    /// Returns what cancels an attempt that begins: its caller leaves, or the call's other attempt answers.
    pub(crate) fn begin(&self, attempt: AttemptId) -> CancellationToken {
        let token = self.shared.cancelled.child_token();
        let mut outlet = lock(&self.outlet);
        if outlet.outbox.is_none() {
            token.cancel();
        }
        outlet.running.push((attempt, token.clone()));
        token
    }

    /// Forgets an attempt that has ended.
    pub(crate) fn ended(&self, attempt: AttemptId) {
        lock(&self.outlet)
            .running
            .retain(|(other, _)| *other != attempt);
    }

    /// Remembers how an attempt was lost.
    pub(crate) fn lose(&self, lost: Lost) {
        *lock(&self.last) = Some(lost);
    }

    /// Returns the record of how the last attempt was lost.
    pub(crate) fn last_failure(&self, outcome: Outcome, now: Timestamp) -> Option<LastFailure> {
        let class = outcome.label();
        match &*lock(&self.last) {
            None => None,
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

    /// Returns `true` if an attempt was lost to more than a refusal, so that the failure is the call's ending.
    pub(crate) fn was_lost(&self) -> bool {
        match &*lock(&self.last) {
            None => false,
            Some(Lost::Failure(failure)) => !failure.outcome.is_refusal(),
            Some(Lost::Timeout(_) | Lost::Panic) => true,
        }
    }

    /// Gives the caller the answer of an attempt; the first answer counts, and cancels the call's other attempt. Returns
    /// `true` if this was the first and the caller was still there.
    pub(crate) fn answer(&self, attempt: AttemptId, delivery: Delivery<B::Response>) -> bool {
        let outbox = {
            let mut outlet = lock(&self.outlet);
            let outbox = outlet.outbox.take();
            if outbox.is_some() {
                outlet.answered_by = Some(attempt);
                outlet.cancel_all_but(Some(attempt));
            }
            outbox
        };
        outbox.is_some_and(|outbox| outbox.send(Ok(delivery)).is_ok())
    }

    /// Ends the call without an answer, unless it had one; attempts that still run are cancelled.
    pub(crate) fn refuse(&self, error: CallError) {
        let outbox = {
            let mut outlet = lock(&self.outlet);
            let outbox = outlet.outbox.take();
            if outbox.is_some() {
                outlet.cancel_all_but(None);
            }
            outbox
        };
        // A caller that has left needs no reason.
        let _left = outbox.map(|outbox| outbox.send(Err(error)));
    }

    /// Returns `true` if an answer, or the reason why there is none, was sent to the caller.
    pub(crate) fn is_answered(&self) -> bool {
        lock(&self.outlet).outbox.is_none()
    }

    /// Returns `true` if the answer of this attempt was sent to the caller: the call cannot be repeated then.
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
