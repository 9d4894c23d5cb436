//! The actor that starts one attempt at a time.
//!
//! It pulls work: it announces that it is ready, receives one attempt, and is ready again when the attempt has ended.
//! The attempt runs in a task of its own on the runtime of its caller, so a lane uses as many threads as its callers. A
//! panic in a backend ends only that attempt; the worker then fails and restarts after a backoff. Calls are kept by the
//! pool, and an attempt does not end with its worker. An attempt that began in an open slot is started by its caller, in
//! the place of the slot's worker.

use actix::{Actor, Handler, Message};

use kebne_actors::{Context, Recipient};

use crate::{
    attempt::Run,
    attempt_task::{AttemptParts, AttemptTask},
    backend::Backend,
    open_slots::{AttemptPanicked, Seat, WorkerId},
};

/// Emitted when a worker has started or restarted and is idle.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct WorkerReady {
    pub(crate) worker: WorkerId,
}

/// Assigns an attempt to a worker.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RunAttempt<B: Backend>(pub(crate) Run<B>);

/// The error with which a worker fails after a panic of its attempt.
#[derive(Debug, thiserror::Error)]
#[error("the attempt panicked")]
struct Panicked;

/// Makes attempts at a backend, one at a time.
pub(crate) struct Worker<B: Backend> {
    id: WorkerId,
    parts: AttemptParts<B>,
    ready: Recipient<WorkerReady>,
}

impl<B: Backend> Worker<B> {
    pub(crate) fn new(id: WorkerId, parts: AttemptParts<B>, ready: Recipient<WorkerReady>) -> Self {
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
        let seat = Seat {
            worker: self.id,
            supervisor: ctx.self_ref().control_recipient(),
        };
        AttemptTask::new(run, self.parts.clone(), seat).start_from_actor();
    }
}

impl<B: Backend> Handler<AttemptPanicked> for Worker<B> {
    type Result = ();

    fn handle(&mut self, _: AttemptPanicked, ctx: &mut Context<Self>) {
        ctx.fail(Panicked);
    }
}
