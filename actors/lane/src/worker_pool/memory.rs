//! What survives a restart of the pool: the queue and the attempts in flight.

use std::sync::Arc;

use kebne_actors::{Recipient, work_pulling::ledger::Ledger};
use kebne_control::{AttemptId, Dispatch, Hedge, Pool, Timestamp};

use super::wake::LastWake;
use crate::{backend::Backend, job::Job, rate_controller::Observe, worker::WorkerId};

/// The pool's memory.
pub(crate) struct PoolMemory<B: Backend> {
    pub(crate) pool: Pool<Arc<Job<B>>>,
    /// Which workers there are, and whose attempts they make.
    pub(crate) ledger: Ledger<WorkerId, AttemptId, Arc<Job<B>>>,
    pub(crate) next_worker: u64,
    /// The lane's own call to wake the backend.
    pub(crate) last_wake: LastWake,
    /// Who is told how attempts go: the controller, once it has introduced itself.
    pub(crate) observer: Option<Recipient<Observe>>,
    /// Attempt events told; kept, so that an answer to an earlier incarnation is not taken for one to this.
    pub(crate) told: u64,
}

impl<B: Backend> PoolMemory<B> {
    /// Takes the hedge that is due, for the call of the attempt that it doubles.
    pub(crate) fn hedge(&mut self, now: Timestamp) -> Option<Dispatch<Arc<Job<B>>>> {
        let Hedge { doubles, dispatch } = self.pool.hedge(now)?;
        if let Some((_, job)) = self.ledger.held(doubles) {
            return Some(dispatch.with(Arc::clone(job)));
        }
        self.pool.released(dispatch.attempt, now);
        None
    }
}
