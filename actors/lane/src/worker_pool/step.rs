//! One step of the pool: dispatches calls, refuses those that can no longer be served, and sets the timer.

use std::{sync::Arc, time::Duration};

use kebne_control::{Dispatch, Timestamp, controller};

use kebne_actors::{Context, Props, Recipient, Strategy};

use super::{Hired, InFlight, WakeupDue, WorkerPool};
use crate::{
    attempt::{Progress, Run},
    backend::Backend,
    call::CallError,
    job::Job,
    open_slots::{Seat, WorkerId},
    rate_controller::Observe,
    worker::{RunAttempt, Worker, WorkerReady},
};

/// The first wait before a failed worker is restarted; long enough to avoid a busy loop.
const WORKER_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest wait of a worker that keeps failing. Another worker replaces it meanwhile.
const WORKER_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// The shortest timer.
const TIMER_MIN: Duration = Duration::from_millis(1);
/// The timer while a call waits for a worker or for the controller. Their message triggers the next step; the timer
/// only checks for expired calls meanwhile.
const BLOCKED_TIMER: Duration = Duration::from_millis(50);
/// The size of a worker's mailbox; a worker has one attempt at a time.
const WORKER_MAILBOX: usize = 4;

impl<B: Backend> WorkerPool<B> {
    /// Does everything that is due now.
    pub(super) fn step(&mut self, ctx: &mut Context<Self>) {
        let notes = self.parts.attempts.slots.close();
        self.read(notes);
        let now = self.parts.clock.now();
        self.hire(ctx);
        // A held call that expires frees its slot for a waiting one.
        loop {
            self.dispatch_all(now);
            if !self.expire(now) {
                break;
            }
        }
        self.hedge(now);
        self.tell_demand(now);
        self.report_events();
        self.open_slots();
        self.arm(now, ctx);
    }

    /// Dispatches the calls that may be sent now, while there are idle workers.
    fn dispatch_all(&mut self, now: Timestamp) {
        while self.answered >= self.binding {
            let next = {
                let mut kept = self.parts.kept.lock();
                // The worker that finished last is used first.
                let idle = kept.ledger.idle().next_back();
                idle.and_then(|worker| Some((worker, kept.pool.next(now)?)))
            };
            let Some((worker, dispatch)) = next else {
                break;
            };
            self.dispatch(worker, dispatch);
        }
    }

    /// Hedges late attempts while there are idle workers.
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

    /// Starts workers for the calls that may be sent now, and one for a hedge that is due.
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
        let replaced = self.retire(missing.saturating_sub(allowed));
        let ready: Recipient<WorkerReady> = ctx.self_ref().control_recipient();
        for _ in 0..missing.min(allowed.saturating_add(replaced)) {
            let id = {
                let mut kept = self.parts.kept.lock();
                kept.next_worker += 1;
                let id = WorkerId(kept.next_worker);
                kept.ledger.hire(id);
                id
            };
            let (parts, ready) = (self.parts.attempts.clone(), ready.clone());
            let restart = Strategy::restart().with_backoff(WORKER_BACKOFF_MIN, WORKER_BACKOFF_MAX);
            let props = Props::new(move || Worker::new(id, parts.clone(), ready.clone()))
                .supervise(restart)
                .mailbox(WORKER_MAILBOX);
            let actor = ctx.spawn_child(props, &format!("worker-{}", id.0));
            let seat = Seat {
                worker: id,
                supervisor: actor.control_recipient(),
            };
            self.workers.insert(id, Hired { actor, seat });
        }
    }

    /// Stops workers that wait for their restart, to make room for others; returns how many.
    fn retire(&mut self, count: usize) -> usize {
        for retired in 0..count {
            let Some(id) = self.backing_off.pop_first() else {
                return retired;
            };
            if let Some(worker) = self.workers.remove(&id) {
                worker.actor.stop();
            }
        }
        count
    }

    fn dispatch(&mut self, worker: WorkerId, dispatch: Dispatch<Arc<Job<B>>>) {
        let job = dispatch.payload;
        let made = job.count_attempt();
        tracing::trace!(lane = %self.parts.lane, call = dispatch.call.0, attempt = dispatch.attempt.0, made, "dispatched");
        let progress = Arc::new(Progress::default());
        let run = Run {
            progress: Arc::clone(&progress),
            attempt: dispatch.attempt,
            number: dispatch.number,
            wake: dispatch.probe,
            timeout: dispatch.timeout,
            deadline: self.parts.clock.instant(dispatch.deadline),
            waited: dispatch.waited,
            idle_timeout: self.parts.idle_timeout,
            job: Arc::clone(&job),
        };
        let held = InFlight {
            job,
            progress,
            probe: dispatch.probe,
        };
        self.parts
            .kept
            .lock()
            .ledger
            .hand(worker, dispatch.attempt, held);
        let event = controller::Message::Dispatched {
            attempt: dispatch.attempt,
            in_flight: dispatch.in_flight,
            tokens: dispatch.tokens,
            probe: dispatch.probe,
            kind: dispatch.kind,
        };
        self.observe(event, self.parts.clock.now(), dispatch.probe);
        let sent = self
            .workers
            .get(&worker)
            .map(|worker| worker.actor.tell(RunAttempt(run)));
        if !sent.is_some_and(kebne_actors::Offer::is_enqueued) {
            self.workers.remove(&worker);
            self.parts.kept.lock().ledger.dismiss(worker);
            self.settle_if_over(dispatch.attempt);
        }
    }

    /// Notes an event for the controller; after a `binding` event nothing is dispatched until it is answered.
    pub(super) fn observe(&mut self, event: controller::Message, at: Timestamp, binding: bool) {
        let mut kept = self.parts.kept.lock();
        if kept.observer.is_none() {
            return;
        }
        kept.reported += 1;
        if binding {
            self.binding = kept.reported;
        }
        self.events.push((event, at));
    }

    /// Sends the events to the controller. It answers if it must, or if the grant changes.
    pub(super) fn report_events(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let kept = self.parts.kept.lock();
        let observe = Observe {
            events: std::mem::take(&mut self.events),
            number: kept.reported,
            must_answer: self.answered < self.binding,
        };
        // A controller that is gone is followed by another, which counts as having answered.
        let _may_be_missed = kept.observer.as_ref().map(|to| to.tell(observe));
    }

    /// Refuses the calls that can no longer be served; returns `true` if there were any.
    fn expire(&mut self, now: Timestamp) -> bool {
        let expired = self.parts.kept.lock().pool.expire(now);
        let any = !expired.is_empty();
        for (job, refusal) in expired {
            if job.was_lost() {
                job.fail();
            } else {
                job.refuse(CallError::from(refusal));
            }
        }
        any
    }

    fn tell_demand(&mut self, now: Timestamp) {
        let queued = self.parts.kept.lock().pool.queued();
        if (queued > 0) != self.demand_told {
            self.demand_told = queued > 0;
            let queued = u32::try_from(queued).unwrap_or(u32::MAX);
            self.observe(controller::Message::Demand { queued }, now, false);
        }
    }

    /// Sets one timer, no later than the pool's next wakeup. A timer that fires early does no harm.
    fn arm(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let (next, blocked) = {
            let kept = self.parts.kept.lock();
            let blocked = self.answered < self.binding || kept.ledger.idle_count() == 0;
            (kept.pool.next_wakeup(now), blocked)
        };
        let Some(next) = next else {
            return;
        };
        let wait = if next <= now && blocked {
            BLOCKED_TIMER
        } else {
            next.since(now).max(TIMER_MIN)
        };
        let due = now.after(wait);
        if self.armed.is_some_and(|armed| armed <= due) {
            return;
        }
        self.armed = Some(due);
        ctx.start_timer("wakeup", WakeupDue, wait);
    }
}
