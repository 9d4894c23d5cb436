//! The commands and queries of the pool.

use std::sync::Arc;

use actix::Message;
use kebne_control::PoolReport;

use crate::{backend::Backend, job::Job, snapshot::Question};

/// Offers a call; the answer is sent to the call's outbox.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Enqueue<B: Backend>(pub(crate) Arc<Job<B>>);

/// Refuses new calls from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

/// Admits new calls again after [`Close`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Resume;

/// Gives up all calls, waiting or running; the answer is the number of calls cut off.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(crate) struct CutOff;

/// Requests the pool's report.
#[derive(Debug, Message)]
#[rtype(result = "PoolView")]
pub(crate) struct GetPool(pub(crate) Question);

/// The pool's report, for `/state`.
#[derive(Debug, actix::MessageResponse)]
pub(crate) struct PoolView {
    pub(crate) report: PoolReport,
    pub(crate) workers: usize,
    pub(crate) workers_idle: usize,
}

/// The wakeup that the pool requested is due.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct WakeupDue;
