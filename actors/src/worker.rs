//! The actor that makes one attempt at a time.
//!
//! It pulls: it says when it is ready, gets one attempt, and says how that ended. The attempt runs in a
//! task of its own, so a panic in a backend ends that attempt; the worker then fails, and its supervisor
//! starts a fresh one after a backoff. It never keeps a call: the pool does.

use std::{panic::AssertUnwindSafe, sync::Arc};

use actix::{Actor, Handler, Message};
use futures_util::FutureExt;
use kebne_control::{Outcome, QuotaHints};
use tokio::task::AbortHandle;

use crate::{
    lane::{
        Backend, Ending,
        attempt::{AttemptEnd, Run},
        job::Lost,
        kept::WorkerId,
    },
    system::{ActorRef, Context},
    worker_pool::{AttemptEnded, FirstPart, WorkerPool, WorkerReady},
};

/// Gives a worker an attempt to make.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RunAttempt<B: Backend>(pub(crate) Run<B>);

/// The attempt panicked.
#[derive(Message)]
#[rtype(result = "()")]
struct AttemptPanicked<B: Backend>(Run<B>);

/// An attempt panicked: the error that the worker fails with.
#[derive(Debug, thiserror::Error)]
#[error("the attempt panicked")]
struct Panicked;

/// Makes attempts at a backend, one at a time.
pub(crate) struct Worker<B: Backend> {
    id: WorkerId,
    backend: Arc<B>,
    pool: ActorRef<WorkerPool<B>>,
    /// The attempt that runs; aborted when the worker stops.
    running: Option<AbortHandle>,
}

impl<B: Backend> Worker<B> {
    pub(crate) fn new(id: WorkerId, backend: Arc<B>, pool: ActorRef<WorkerPool<B>>) -> Self {
        Self {
            id,
            backend,
            pool,
            running: None,
        }
    }
}

impl<B: Backend> Actor for Worker<B> {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Context<Self>) {
        self.pool.inform(WorkerReady { worker: self.id });
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
        let pool = self.pool.clone();
        let myself = ctx.self_ref();
        let worker = self.id;
        let task = actix_rt::spawn(async move {
            let begun = pool.clone();
            let attempt = run.attempt;
            let first_part = move || {
                begun.inform(FirstPart { attempt });
            };
            let made = AssertUnwindSafe(run.make(&*backend, first_part));
            match made.catch_unwind().await {
                Ok(end) => {
                    pool.inform(AttemptEnded {
                        worker,
                        attempt,
                        end,
                        ready: true,
                    });
                }
                Err(_) => {
                    myself.inform(AttemptPanicked(run));
                }
            }
        });
        self.running = Some(task.abort_handle());
    }
}

impl<B: Backend> Handler<AttemptPanicked<B>> for Worker<B> {
    type Result = ();

    fn handle(&mut self, AttemptPanicked(run): AttemptPanicked<B>, ctx: &mut Context<Self>) {
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
        self.pool.inform(AttemptEnded {
            worker: self.id,
            attempt: run.attempt,
            end,
            ready: false,
        });
        ctx.fail(Panicked);
    }
}
