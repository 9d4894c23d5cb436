//! The actor that makes one attempt at a time.
//!
//! It pulls: it says when it is ready, gets one attempt, and says how that ended. The attempt runs in a
//! task of its own, so a panic in a backend ends that attempt; the worker then fails, and its supervisor
//! starts a fresh one after a backoff. It never keeps a call: the pool does.

use std::{panic::AssertUnwindSafe, sync::Arc};

use actix::{Actor, Handler, Message};
use futures_util::FutureExt;
use kebne_control::{AttemptId, Outcome, QuotaHints, Span, Timestamp};
use tokio::task::AbortHandle;

use kebne_actors::{Context, Recipient};

use crate::{
    attempt::{AttemptEnd, Run},
    backend::Backend,
    call::Ending,
    clock::Clock,
    job::Lost,
};

/// A worker's number within its lane. Numbers are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// Emitted when a worker has started or restarted and has nothing to do: it pulls.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct WorkerReady {
    pub(crate) worker: WorkerId,
}

/// Emitted when a streamed answer has begun.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FirstPart {
    pub(crate) attempt: AttemptId,
    /// When the attempt began, and when the answer did.
    pub(crate) span: Span,
}

/// Emitted when an attempt has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptEnded {
    pub(crate) worker: WorkerId,
    pub(crate) attempt: AttemptId,
    pub(crate) end: AttemptEnd,
    /// When the attempt began and ended.
    pub(crate) span: Span,
    /// The worker pulls its next attempt with this event. A worker that failed pulls once it is restarted.
    pub(crate) ready: bool,
}

/// Where a worker's events go.
#[derive(Debug)]
pub(crate) struct Reports {
    pub(crate) ready: Recipient<WorkerReady>,
    pub(crate) first_part: Recipient<FirstPart>,
    pub(crate) ended: Recipient<AttemptEnded>,
}

impl Reports {
    /// Emits an event. A receiver that has stopped needs none.
    fn emit<M>(receiver: &Recipient<M>, event: M) {
        let _needless_if_stopped = receiver.tell(event);
    }
}

/// Gives a worker an attempt to make.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RunAttempt<B: Backend>(pub(crate) Run<B>);

/// The attempt panicked.
#[derive(Message)]
#[rtype(result = "()")]
struct AttemptPanicked<B: Backend>(Run<B>, Span);

/// An attempt panicked: the error that the worker fails with.
#[derive(Debug, thiserror::Error)]
#[error("the attempt panicked")]
struct Panicked;

/// Makes attempts at a backend, one at a time.
pub(crate) struct Worker<B: Backend> {
    id: WorkerId,
    clock: Clock,
    backend: Arc<B>,
    reports: Arc<Reports>,
    /// The attempt that runs; aborted when the worker stops.
    running: Option<AbortHandle>,
}

impl<B: Backend> Worker<B> {
    pub(crate) fn new(id: WorkerId, clock: Clock, backend: Arc<B>, reports: Arc<Reports>) -> Self {
        Self {
            id,
            clock,
            backend,
            reports,
            running: None,
        }
    }
}

fn until_now(sent: Timestamp, clock: Clock) -> Span {
    let at = clock.now();
    Span { sent, at }
}

impl<B: Backend> Actor for Worker<B> {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Context<Self>) {
        Reports::emit(&self.reports.ready, WorkerReady { worker: self.id });
    }

    fn stopped(&mut self, _ctx: &mut Context<Self>) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

impl<B: Backend> Handler<RunAttempt<B>> for Worker<B> {
    type Result = ();

    fn handle(&mut self, RunAttempt(run): RunAttempt<B>, ctx: &mut Context<Self>) {
        let backend = Arc::clone(&self.backend);
        let reports = Arc::clone(&self.reports);
        let myself = ctx.self_ref();
        let worker = self.id;
        let clock = self.clock;
        let task = actix_rt::spawn(async move {
            let begun = Arc::clone(&reports);
            let attempt = run.attempt;
            let sent = clock.now();
            let first_part = move || {
                let span = until_now(sent, clock);
                Reports::emit(&begun.first_part, FirstPart { attempt, span });
            };
            let made = AssertUnwindSafe(run.make(&*backend, first_part));
            let made = made.catch_unwind().await;
            let span = until_now(sent, clock);
            match made {
                Ok(end) => {
                    let ended = AttemptEnded {
                        worker,
                        attempt,
                        end,
                        span,
                        ready: true,
                    };
                    Reports::emit(&reports.ended, ended);
                }
                Err(_) => {
                    myself.inform(AttemptPanicked(run, span));
                }
            }
        });
        self.running = Some(task.abort_handle());
    }
}

impl<B: Backend> Handler<AttemptPanicked<B>> for Worker<B> {
    type Result = ();

    fn handle(&mut self, AttemptPanicked(run, span): AttemptPanicked<B>, ctx: &mut Context<Self>) {
        run.job.ended(run.attempt);
        run.job.lose(Lost::Panic);
        let committed = run.job.is_answered_by(run.attempt);
        if committed {
            run.job.shared().condemn(Ending::Panic);
        }
        let end = AttemptEnd {
            outcome: Outcome::Fault,
            quota: QuotaHints::default(),
            committed,
        };
        let ended = AttemptEnded {
            worker: self.id,
            attempt: run.attempt,
            end,
            span,
            ready: false,
        };
        Reports::emit(&self.reports.ended, ended);
        ctx.fail(Panicked);
    }
}
