//! What the pool is told and asked.

use std::sync::Arc;

use actix::Message;
use kebne_control::{AttemptId, CallId, PoolReport};

use crate::lane::{Backend, attempt::AttemptEnd, job::Job, kept::WorkerId};

/// Offers a call; the answer goes to the call's outbox.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Enqueue<B: Backend>(pub(crate) Arc<Job<B>>);

/// Takes a waiting call out, because its caller is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Cancel(pub(crate) CallId);

/// A worker pulls: it is fresh and has nothing to do.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct WorkerReady {
    pub(crate) worker: WorkerId,
}

/// A streamed answer began.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FirstPart {
    pub(crate) attempt: AttemptId,
}

/// An attempt ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptEnded {
    pub(crate) worker: WorkerId,
    pub(crate) attempt: AttemptId,
    pub(crate) end: AttemptEnd,
    /// The worker pulls its next attempt with this; a worker that failed pulls once it is restarted.
    pub(crate) ready: bool,
}

/// Refuses new calls from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

/// Gives up every call, waiting or running; says how many were cut off.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(crate) struct CutOff;

/// Spends one retry on an attempt at another lane; says whether the budget had one.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct SpendRetry;

/// Asks for the pool's report.
#[derive(Debug, Message)]
#[rtype(result = "PoolView")]
pub(crate) struct GetPool;

/// The pool as `/state` shows it.
#[derive(Debug, actix::MessageResponse)]
pub(crate) struct PoolView {
    pub(crate) report: PoolReport,
    pub(crate) workers: usize,
    pub(crate) workers_idle: usize,
}

/// The time that the pool asked for has come.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct WakeupDue;
