//! One turn of the pool: send what may be sent, refuse what is hopeless, set the timer.

use std::{sync::Arc, time::Duration};

use kebne_control::{Dispatch, Timestamp, controller};

use kebne_actors::{Context, Props, Strategy};

use super::{PoolMemory, WakeupDue, WorkerPool};
use crate::{
    attempt::Run,
    backend::Backend,
    call::CallError,
    job::Job,
    rate_controller::Observe,
    worker::{Reports, RunAttempt, Worker, WorkerId},
};

/// First wait of a worker that failed before it is restarted: long enough to break a hot loop.
const WORKER_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest wait of a worker that keeps failing; the breaker acts long before it matters.
const WORKER_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Shortest timer, for something due now that waits for another actor's answer.
const TIMER_MIN: Duration = Duration::from_millis(1);
/// Messages that may wait for a worker: it has one attempt at a time.
const WORKER_MAILBOX: usize = 4;

impl<B: Backend> WorkerPool<B> {
    /// Does all that is due now.
    pub(super) fn turn(&mut self, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        self.hire(ctx);
        while self.answered >= self.binding {
            let next = {
                let mut kept = self.parts.kept.lock();
                // The last to finish goes first.
                let idle = kept.ledger.idle().next_back();
                idle.and_then(|worker| Some((worker, kept.pool.next(now)?)))
            };
            let Some((worker, dispatch)) = next else {
                break;
            };
            self.dispatch(worker, dispatch);
        }
        self.expire(now);
        self.hedge(now);
        self.tell_demand();
        self.arm(now, ctx);
    }

    /// Doubles late attempts, as far as there are workers that have nothing else to do.
    fn hedge(&mut self, now: Timestamp) {
        while self.answered >= self.binding {
            let next = {
                let mut kept = self.parts.kept.lock();
                let idle = kept.ledger.idle().next_back();
                idle.and_then(|worker| Some((worker, kept.hedge(now)?)))
            };
            let Some((worker, dispatch)) = next else {
                break;
            };
            self.dispatch(worker, dispatch);
        }
    }

    /// Starts workers for the calls that could be sent now, and one for a hedge that is due.
    fn hire(&mut self, ctx: &mut Context<Self>) {
        let missing = {
            let now = self.parts.clock.now();
            let kept = self.parts.kept.lock();
            let room = kept
                .pool
                .grant()
                .concurrency
                .saturating_sub(kept.pool.in_flight());
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let ready = kept.ledger.idle_count() + kept.ledger.starting_count();
            let late = kept.pool.hedge_due(now).is_some_and(|due| due <= now);
            let wanted = kept.pool.queued().max(usize::from(late));
            room.min(wanted).saturating_sub(ready)
        };
        let allowed = self.parts.workers_max.saturating_sub(self.workers.len());
        for _ in 0..missing.min(allowed) {
            let id = {
                let mut kept = self.parts.kept.lock();
                kept.next_worker += 1;
                let id = WorkerId(kept.next_worker);
                kept.ledger.hire(id);
                id
            };
            let backend = Arc::clone(&self.parts.backend);
            let reports = Self::reports(ctx);
            let clock = self.parts.clock;
            let restart = Strategy::restart().with_backoff(WORKER_BACKOFF_MIN, WORKER_BACKOFF_MAX);
            let props = Props::new(move || {
                Worker::new(id, clock, Arc::clone(&backend), Arc::clone(&reports))
            })
            .supervise(restart)
            .mailbox(WORKER_MAILBOX);
            let worker = ctx.spawn_child(props, &format!("worker-{}", id.0));
            self.workers.insert(id, worker);
        }
    }

    /// Returns where workers send their events: to this pool, ahead of the calls that wait in its mailbox.
    fn reports(ctx: &Context<Self>) -> Arc<Reports> {
        let pool = ctx.self_ref();
        Arc::new(Reports {
            ready: pool.control_recipient(),
            first_part: pool.control_recipient(),
            ended: pool.control_recipient(),
        })
    }

    fn dispatch(&mut self, worker: WorkerId, dispatch: Dispatch<Arc<Job<B>>>) {
        let job = dispatch.payload;
        let made = job.count_attempt();
        tracing::trace!(lane = %self.parts.lane, call = dispatch.call.0, attempt = dispatch.attempt.0, made, "dispatched");
        let run = Run {
            attempt: dispatch.attempt,
            number: dispatch.number,
            wake: dispatch.probe,
            timeout: dispatch.timeout,
            deadline: self.parts.clock.instant(dispatch.deadline),
            waited: dispatch.waited,
            idle_timeout: self.parts.idle_timeout,
            job: Arc::clone(&job),
        };
        self.parts
            .kept
            .lock()
            .ledger
            .hand(worker, dispatch.attempt, job);
        let event = controller::Message::Dispatched {
            attempt: dispatch.attempt,
            in_flight: dispatch.in_flight,
            tokens: dispatch.tokens,
            probe: dispatch.probe,
            kind: dispatch.kind,
        };
        self.observe(event, dispatch.probe);
        let sent = self
            .workers
            .get(&worker)
            .map(|worker| worker.tell(RunAttempt(run)));
        if !sent.is_some_and(kebne_actors::Offer::is_enqueued) {
            self.workers.remove(&worker);
            self.parts.kept.lock().ledger.dismiss(worker);
            self.settle_lost_by(worker);
        }
    }

    /// Tells the controller what happened; `binding` events hold dispatching back until it has answered.
    pub(super) fn observe(&mut self, event: controller::Message, binding: bool) {
        let mut kept = self.parts.kept.lock();
        let PoolMemory { observer, told, .. } = &mut *kept;
        let Some(observer) = observer else {
            return;
        };
        *told += 1;
        let number = *told;
        if observer.tell(Observe { event, number }).is_enqueued() && binding {
            self.binding = number;
        }
    }

    /// Answers the calls that can no longer be served.
    fn expire(&mut self, now: Timestamp) {
        let expired = self.parts.kept.lock().pool.expire(now);
        for (job, refusal) in expired {
            if job.was_lost() {
                job.fail();
            } else {
                job.refuse(CallError::from(refusal));
            }
        }
    }

    fn tell_demand(&mut self) {
        let queued = self.parts.kept.lock().pool.queued();
        if (queued > 0) != self.demand_told {
            self.demand_told = queued > 0;
            let queued = u32::try_from(queued).unwrap_or(u32::MAX);
            self.observe(controller::Message::Demand { queued }, false);
        }
    }

    /// Keeps one timer, no later than the pool's next wakeup; one that fires early does no harm.
    fn arm(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let Some(next) = self.parts.kept.lock().pool.next_wakeup(now) else {
            return;
        };
        if self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        self.armed = Some(next);
        ctx.start_timer("wakeup", WakeupDue, next.since(now).max(TIMER_MIN));
    }
}
