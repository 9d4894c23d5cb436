//! The task of one attempt, on the runtime of its caller or inside the future of its call.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    attempt::{AttemptEnd, Cause, Run},
    backend::Backend,
    clock::Clock,
    open_slots::{AttemptPanicked, OpenSlots, Seat},
};

/// The parts of the lane that attempts use.
pub(crate) struct AttemptParts<B: Backend> {
    pub(crate) backend: Arc<B>,
    pub(crate) clock: Clock,
    pub(crate) slots: Arc<OpenSlots<B>>,
    /// Cancelled when the lane stops for good; attempts end then.
    pub(crate) lane_stops: CancellationToken,
}

impl<B: Backend> Clone for AttemptParts<B> {
    fn clone(&self) -> Self {
        Self {
            backend: Arc::clone(&self.backend),
            clock: self.clock,
            slots: Arc::clone(&self.slots),
            lane_stops: self.lane_stops.clone(),
        }
    }
}

/// The task of one attempt. If it is dropped before the attempt has ended, because the runtime of its caller stops, it
/// reports the attempt as lost.
pub(crate) struct AttemptTask<B: Backend> {
    run: Run<B>,
    parts: AttemptParts<B>,
    seat: Seat,
    over: bool,
}

impl<B: Backend> AttemptTask<B> {
    pub(crate) fn new(run: Run<B>, parts: AttemptParts<B>, seat: Seat) -> Self {
        Self {
            run,
            parts,
            seat,
            over: false,
        }
    }

    /// Returns the runtime of the caller.
    pub(crate) fn home(&self) -> Handle {
        self.run.job.home.clone()
    }

    /// Starts the task on the runtime of the caller.
    pub(crate) fn start(self) {
        self.home().spawn(self.run());
    }

    /// Starts the task on the runtime of the caller; if that is the runtime of this actor, among the actor's tasks, so
    /// that what is due at the same time goes on in the order of its start.
    pub(crate) fn start_from_actor(self) {
        let home = self.run.job.home.id();
        if Handle::try_current().is_ok_and(|here| here.id() == home) {
            actix_rt::spawn(self.run());
        } else {
            self.start();
        }
    }

    /// Makes the attempt and reports its end.
    pub(crate) async fn run(mut self) {
        let (parts, attempt) = (&self.parts, self.run.attempt);
        let first_part = |span| parts.slots.first_part(attempt, span);
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
        self.parts.slots.ended(&self.seat, &self.run, end);
        if end.cause == Cause::Panic {
            // The worker may have stopped.
            let _needless_if_stopped = self.seat.supervisor.tell(AttemptPanicked);
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
