//! What survives a restart of a lane's actors: the queue, the attempts in flight, what was learned.
//!
//! An actor's state is fresh after a restart; what must not be lost lives here, owned by the lane and
//! lent to one incarnation at a time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kebne_control::{AttemptId, Dispatch, Hedge, LaneState, Pool, Snapshot, Timestamp, Verdict};

use crate::{
    lane::{Backend, job::Job},
    rate_controller::Observe,
    system::Recipient,
    work_pulling::ledger::Ledger,
    worker_pool::wake::LastWake,
};

/// Verdicts kept for `/state`: enough to see the last climb.
const VERDICTS_KEPT: usize = 32;
/// State changes kept for `/state`: enough to see the last cold start and what led to it.
const STATES_KEPT: usize = 16;

/// A worker's number within its lane; numbers are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// The pool's memory.
pub(crate) struct KeptPool<B: Backend> {
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

impl<B: Backend> KeptPool<B> {
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

/// The controller's memory.
#[derive(Debug)]
pub(crate) struct KeptController {
    pub(crate) learned: Option<Snapshot>,
    verdicts: VecDeque<Verdict>,
    states: VecDeque<(LaneState, LaneState)>,
}

/// A memory lent to one incarnation at a time.
#[derive(Debug)]
pub(crate) struct Kept<T>(Arc<Mutex<T>>);

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Locks it. Only one actor at a time does, so nobody ever waits; a panic while it was held is no
    /// reason to lose what it holds.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl KeptController {
    pub(crate) fn new(learned: Option<Snapshot>) -> Self {
        Self {
            learned,
            verdicts: VecDeque::new(),
            states: VecDeque::new(),
        }
    }

    pub(crate) fn note(&mut self, verdict: Verdict) {
        if self.verdicts.len() >= VERDICTS_KEPT {
            self.verdicts.pop_front();
        }
        self.verdicts.push_back(verdict);
    }

    pub(crate) fn moved(&mut self, from: LaneState, to: LaneState) {
        if self.states.len() >= STATES_KEPT {
            self.states.pop_front();
        }
        self.states.push_back((from, to));
    }

    /// Returns the last state changes, oldest first, like `idle->probe`.
    pub(crate) fn states(&self) -> Vec<String> {
        let label =
            |(from, to): &(LaneState, LaneState)| format!("{}->{}", from.label(), to.label());
        self.states.iter().map(label).collect()
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        self.verdicts.iter().copied().collect()
    }
}
