//! The actor that starts one attempt at a time.
//!
//! It pulls work: it announces that it is ready, receives one attempt, and is ready again when the attempt has ended.
//! The attempt runs in a task of its own on the runtime of its caller, so a lane uses as many threads as its callers. A
//! panic in a backend ends only that attempt; the worker then fails and restarts after a backoff. Calls are kept by the
//! pool, and an attempt does not end with its worker.

use std::sync::Arc;

use actix::{Actor, Handler, Message};
use kebne_control::{AttemptId, Span};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use kebne_actors::{ActorRef, Context, Recipient};

use crate::{
    attempt::{AttemptEnd, Cause, Run},
    backend::Backend,
    clock::Clock,
    kept::Kept,
};

/// The number of a worker in its lane. Numbers are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// Emitted when a worker has started or restarted and is idle.
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
    /// The time from the beginning of the attempt to the beginning of the answer.
    pub(crate) span: Span,
}

/// Emitted when an attempt has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptEnded {
    pub(crate) worker: WorkerId,
    pub(crate) attempt: AttemptId,
    pub(crate) end: AttemptEnd,
    /// `true` if the worker is ready for its next attempt. A worker that failed is ready once it has restarted.
    pub(crate) ready: bool,
}

/// The recipients of attempt events: the current pool, or the lane while it is closed.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    pub(crate) first_part: Recipient<FirstPart>,
    pub(crate) ended: Recipient<AttemptEnded>,
}

/// The parts of the lane that workers and their attempts use.
pub(crate) struct WorkerParts<B: Backend> {
    pub(crate) backend: Arc<B>,
    pub(crate) clock: Clock,
    /// `None` until the lane's first pool has started.
    pub(crate) reports: Kept<Option<Reports>>,
    /// Cancelled when the lane stops for good; attempts end then.
    pub(crate) lane_stops: CancellationToken,
}

impl<B: Backend> WorkerParts<B> {
    /// Emits an event of an attempt. If a pool misses an end because it restarts, the next pool finds it in
    /// [`Run::progress`].
    fn emit<M>(&self, receiver: impl FnOnce(&Reports) -> &Recipient<M>, event: M) {
        let receiver = self.reports.lock().as_ref().map(|to| receiver(to).clone());
        let _may_be_missed = receiver.map(|receiver| receiver.tell(event));
    }
}

impl<B: Backend> Clone for WorkerParts<B> {
    fn clone(&self) -> Self {
        Self {
            backend: Arc::clone(&self.backend),
            clock: self.clock,
            reports: self.reports.clone(),
            lane_stops: self.lane_stops.clone(),
        }
    }
}

/// Assigns an attempt to a worker.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RunAttempt<B: Backend>(pub(crate) Run<B>);

/// The attempt panicked.
#[derive(Message)]
#[rtype(result = "()")]
struct AttemptPanicked;

/// The error with which a worker fails after a panic of its attempt.
#[derive(Debug, thiserror::Error)]
#[error("the attempt panicked")]
struct Panicked;

/// Makes attempts at a backend, one at a time.
pub(crate) struct Worker<B: Backend> {
    id: WorkerId,
    parts: WorkerParts<B>,
    ready: Recipient<WorkerReady>,
}

impl<B: Backend> Worker<B> {
    pub(crate) fn new(id: WorkerId, parts: WorkerParts<B>, ready: Recipient<WorkerReady>) -> Self {
        Self { id, parts, ready }
    }
}

impl<B: Backend> Actor for Worker<B> {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Context<Self>) {
        // The pool may have stopped.
        let _needless_if_stopped = self.ready.tell(WorkerReady { worker: self.id });
    }
}

impl<B: Backend> Handler<RunAttempt<B>> for Worker<B> {
    type Result = ();

    fn handle(&mut self, RunAttempt(run): RunAttempt<B>, ctx: &mut Context<Self>) {
        let home = run.job.home.clone();
        let task = AttemptTask {
            run,
            parts: self.parts.clone(),
            worker: self.id,
            supervisor: ctx.self_ref(),
            over: false,
        };
        let is_here = Handle::try_current().is_ok_and(|here| here.id() == home.id());
        if is_here {
            // Joins the tasks of the actors, so that what is due at the same time goes on in the order of its start.
            actix_rt::spawn(task.run());
        } else {
            home.spawn(task.run());
        }
    }
}

/// The task of one attempt. If it is dropped before the attempt has ended, because the runtime of its caller stops, it
/// reports the attempt as lost.
struct AttemptTask<B: Backend> {
    run: Run<B>,
    parts: WorkerParts<B>,
    worker: WorkerId,
    supervisor: ActorRef<Worker<B>>,
    over: bool,
}

impl<B: Backend> AttemptTask<B> {
    async fn run(mut self) {
        let (parts, attempt) = (&self.parts, self.run.attempt);
        let first_part = |span| {
            parts.emit(|to| &to.first_part, FirstPart { attempt, span });
        };
        let end = tokio::select! {
            biased;
            () = parts.lane_stops.cancelled() => None,
            end = self.run.make(&*parts.backend, parts.clock, first_part) => Some(end),
        };
        self.over = true;
        if let Some(end) = end {
            self.report(end);
        }
    }

    fn report(&self, end: AttemptEnd) {
        let panicked = end.cause == Cause::Panic;
        let ended = AttemptEnded {
            worker: self.worker,
            attempt: self.run.attempt,
            end,
            ready: !panicked,
        };
        self.parts.emit(|to| &to.ended, ended);
        if panicked {
            self.supervisor.inform(AttemptPanicked);
        }
    }
}

impl<B: Backend> Drop for AttemptTask<B> {
    fn drop(&mut self) {
        if !self.over {
            let end = self.run.abandoned(self.parts.clock);
            self.report(end);
        }
    }
}

impl<B: Backend> Handler<AttemptPanicked> for Worker<B> {
    type Result = ();

    fn handle(&mut self, _: AttemptPanicked, ctx: &mut Context<Self>) {
        ctx.fail(Panicked);
    }
}
