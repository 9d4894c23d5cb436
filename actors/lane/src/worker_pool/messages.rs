//! The commands and queries of the pool.

use std::sync::Arc;

use actix::Message;
use kebne_control::PoolReport;

use crate::{backend::Backend, job::Job};

/// Offers a call; the answer goes to the call's outbox.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Enqueue<B: Backend>(pub(crate) Arc<Job<B>>);

/// Refuses new calls from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

/// Gives up every call, waiting or running; the answer is how many were cut off.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(crate) struct CutOff;

/// Spends one retry on an attempt at another lane; the answer is whether the budget had one.
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
