//! State that survives a restart of the pool: the queue and the attempts in flight.

use std::sync::Arc;

use kebne_actors::{Recipient, work_pulling::ledger::Ledger};
use kebne_control::{AttemptId, Dispatch, Hedge, Pool, Timestamp};

use super::wake::LastWake;
use crate::{
    attempt::Progress,
    backend::Backend,
    call::{CallError, Ending},
    job::Job,
    open_slots::{Begun, WorkerId},
    rate_controller::Observe,
};

/// An attempt in flight.
pub(crate) struct InFlight<B: Backend> {
    pub(crate) job: Arc<Job<B>>,
    pub(crate) progress: Arc<Progress>,
    /// `true` if it probes a backend that is not known to serve.
    pub(crate) probe: bool,
}

/// The state that survives restarts of the pool.
pub(crate) struct PoolMemory<B: Backend> {
    pub(crate) pool: Pool<Arc<Job<B>>>,
    /// The workers, and the attempts in flight.
    pub(crate) ledger: Ledger<WorkerId, AttemptId, InFlight<B>>,
    pub(crate) next_worker: u64,
    /// The lane's own wake call.
    pub(crate) last_wake: LastWake,
    /// The recipient of attempt events: the controller, once it has started.
    pub(crate) observer: Option<Recipient<Observe>>,
    /// The number of attempt events sent. Kept across restarts, so that an answer to an earlier incarnation is not
    /// mistaken for one to this.
    pub(crate) reported: u64,
}

impl<B: Backend> PoolMemory<B> {
    /// Creates the state of a pool that has not started.
    pub(crate) fn new(pool: Pool<Arc<Job<B>>>) -> Self {
        Self {
            pool,
            ledger: Ledger::new(),
            next_worker: 0,
            last_wake: LastWake::default(),
            observer: None,
            reported: 0,
        }
    }

    /// Records an attempt that began without being offered.
    pub(crate) fn begin(&mut self, begun: Begun<B>) -> Dispatch<()> {
        let dispatch = self.pool.begun(&begun.call, begun.attempt, begun.at);
        // A call that has ended meanwhile was served; the note of its end follows.
        if let Some(job) = begun.job.upgrade() {
            job.shared().admitted(dispatch.call);
            let held = InFlight {
                job,
                progress: begun.progress,
                probe: false,
            };
            self.ledger.hand(begun.worker, begun.attempt, held);
        }
        dispatch
    }

    /// Takes the hedge that is due, with the call of the attempt that it doubles.
    pub(crate) fn hedge(&mut self, now: Timestamp) -> Option<Dispatch<Arc<Job<B>>>> {
        let Hedge { doubles, dispatch } = self.pool.hedge(now)?;
        if let Some((_, held)) = self.ledger.held(doubles) {
            return Some(dispatch.with(Arc::clone(&held.job)));
        }
        self.pool.released(dispatch.attempt, now);
        None
    }

    /// Returns `true` if an attempt of the call is in flight.
    pub(crate) fn is_in_flight(&self, job: &Arc<Job<B>>) -> bool {
        self.ledger.things().any(|held| Arc::ptr_eq(&held.job, job))
    }

    /// Gives up all calls, waiting or in flight; returns how many.
    pub(crate) fn cut_off(&mut self) -> usize {
        let waiting = self.pool.take_waiting();
        let in_flight = self.ledger.things().map(|held| Arc::clone(&held.job));
        let mut jobs: Vec<_> = waiting.into_iter().chain(in_flight).collect();
        // A call may have two attempts in flight.
        jobs.sort_by_key(|job| job.shared().number());
        jobs.dedup_by_key(|job| job.shared().number());
        for job in &jobs {
            job.shared().condemn(Ending::Drained);
            job.refuse(CallError::Drained);
            job.shared().cancelled.cancel();
        }
        jobs.len()
    }
}
