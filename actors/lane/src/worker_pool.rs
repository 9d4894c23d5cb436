//! The actor with the bounded queue of a lane: admission, order, dispatch and refusals.
//!
//! A thin shell around [`kebne_control::Pool`]: workers pull calls from it, the controller's grants bound it, and a
//! refused caller gets its error at once. The queue is in the pool and not in a mailbox, so its bound is strict and
//! control messages do not wait behind calls. A restart keeps the queue and the attempts in flight.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Handler};
use kebne_control::{Refusal, Timestamp, controller};

use kebne_actors::{ActorRef, Context, clock::Dice, work_pulling::permits::Permits};

use crate::{
    attempt_task::AttemptParts,
    backend::Backend,
    clock::Clock,
    endings::Endings,
    guard::CallAbandoned,
    job::Job,
    kept::Kept,
    open_slots::{Seat, WorkerId},
    rate_controller::LimitChanged,
    status::Status,
    worker::{Worker, WorkerReady},
};

mod memory;
mod messages;
mod notes;
mod settle;
mod step;
mod wake;

pub(crate) use memory::{InFlight, PoolMemory};
use messages::WakeupDue;
pub(crate) use messages::{Close, CutOff, Enqueue, GetPool, PoolView, Resume};
pub(crate) use wake::{SendWake, WakeAnswer, WakeRequest};

/// The parts that each instance of the pool starts with; clones share the kept state.
pub(crate) struct PoolParts<B: Backend> {
    pub(crate) lane: Arc<str>,
    pub(crate) attempts: AttemptParts<B>,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    pub(crate) kept: Kept<PoolMemory<B>>,
    pub(crate) status: Arc<Status>,
    pub(crate) permits: Permits,
    /// The maximum number of workers: the highest limit.
    pub(crate) workers_max: usize,
    /// Longest silence within a streamed answer.
    pub(crate) idle_timeout: Duration,
    pub(crate) wake_request: WakeRequest<B>,
    /// The endings of these wake calls.
    pub(crate) prewarms: Arc<Endings>,
}

/// A worker of this incarnation.
struct Hired<B: Backend> {
    actor: ActorRef<Worker<B>>,
    seat: Seat,
}

/// The actor with the bounded queue of one lane.
pub(crate) struct WorkerPool<B: Backend> {
    parts: PoolParts<B>,
    dice: Dice,
    /// The workers of this incarnation.
    workers: BTreeMap<WorkerId, Hired<B>>,
    /// Events that the controller has not been sent yet, each with its time.
    events: Vec<(controller::Message, Timestamp)>,
    /// The workers that failed and wait for their restart; they may be replaced.
    backing_off: BTreeSet<WorkerId>,
    /// The last attempt event that the controller has answered with a grant.
    answered: u64,
    /// The last event that may forbid what the current grant allows. Nothing is dispatched before it is answered.
    binding: u64,
    demand_told: bool,
    armed: Option<Timestamp>,
}

impl<B: Backend> WorkerPool<B> {
    pub(crate) fn new(parts: PoolParts<B>) -> Self {
        Self {
            dice: Dice::seeded(parts.seed),
            parts,
            workers: BTreeMap::new(),
            events: Vec::new(),
            backing_off: BTreeSet::new(),
            answered: 0,
            binding: 0,
            demand_told: false,
            armed: None,
        }
    }
}

impl<B: Backend> Actor for WorkerPool<B> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let myself = ctx.self_ref();
        // Set before the attempts are checked, so that an attempt that ends meanwhile reports to this pool.
        self.parts
            .attempts
            .slots
            .set_reader(myself.control_recipient());
        self.adopt();
        self.step(ctx);
    }

    fn stopped(&mut self, _ctx: &mut Context<Self>) {
        // The next pool, or the lane, reads the notes.
        self.parts.attempts.slots.shut();
    }
}

impl<B: Backend> Handler<Enqueue<B>> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, Enqueue(job): Enqueue<B>, ctx: &mut Context<Self>) {
        if job.is_cancelled() {
            return;
        }
        // The caller already has the refusal.
        let _refused = self.offer(&job).is_err();
        self.step(ctx);
    }
}

impl<B: Backend> Handler<CallAbandoned> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, CallAbandoned(call): CallAbandoned, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        let waiting = self.parts.kept.lock().pool.cancel(call, now);
        if waiting.is_some() {
            self.step(ctx);
        }
    }
}

impl<B: Backend> Handler<WorkerReady> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, WorkerReady { worker }: WorkerReady, ctx: &mut Context<Self>) {
        // The note of the panic after which the worker has restarted.
        self.collect();
        {
            let mut kept = self.parts.kept.lock();
            if self.backing_off.remove(&worker) {
                kept.ledger.hire(worker);
            }
            if !kept.ledger.pull(worker) {
                return;
            }
        }
        self.step(ctx);
    }
}

impl<B: Backend> Handler<LimitChanged> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, changed: LimitChanged, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        {
            let mut kept = self.parts.kept.lock();
            if let Some(observer) = changed.observer {
                kept.observer = Some(observer);
                // A new controller does not answer events that were sent to the earlier one.
                self.answered = kept.reported;
            }
            kept.pool.set_grant(changed.grant, now);
        }
        self.answered = self.answered.max(changed.seen.unwrap_or(0));
        self.step(ctx);
    }
}

impl<B: Backend> Handler<WakeupDue> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, _: WakeupDue, ctx: &mut Context<Self>) {
        self.armed = None;
        self.step(ctx);
    }
}

impl<B: Backend> Handler<Close> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        self.parts.kept.lock().pool.close(now);
        self.parts.status.set_draining(true);
        self.step(ctx);
        self.end_wake();
    }
}

impl<B: Backend> Handler<Resume> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, _: Resume, ctx: &mut Context<Self>) {
        self.parts.kept.lock().pool.resume();
        self.parts.status.set_draining(false);
        self.step(ctx);
    }
}

impl<B: Backend> Handler<CutOff> for WorkerPool<B> {
    type Result = usize;

    fn handle(&mut self, _: CutOff, _ctx: &mut Context<Self>) -> usize {
        self.collect();
        self.parts.kept.lock().cut_off()
    }
}

impl<B: Backend> Handler<GetPool> for WorkerPool<B> {
    type Result = PoolView;

    fn handle(&mut self, GetPool(_question): GetPool, _ctx: &mut Context<Self>) -> PoolView {
        self.collect();
        let kept = self.parts.kept.lock();
        PoolView {
            report: kept.pool.report(self.parts.clock.now()),
            workers: self.workers.len(),
            workers_idle: kept.ledger.idle_count(),
        }
    }
}

impl<B: Backend> WorkerPool<B> {
    /// Offers a call to the pool; a refused caller receives the reason.
    fn offer(&mut self, job: &Arc<Job<B>>) -> Result<(), Refusal> {
        let now = self.parts.clock.now();
        let offer = job.offered(Arc::clone(job));
        let mut kept = self.parts.kept.lock();
        match kept.pool.offer(offer, now) {
            Ok(call) => {
                job.shared().admitted(call);
                if job.is_cancelled() {
                    kept.pool.cancel(call, now);
                }
                Ok(())
            }
            Err((refused, refusal)) => {
                refused.refuse(refusal.into());
                Err(refusal)
            }
        }
    }
}

impl<B: Backend> Clone for PoolParts<B> {
    fn clone(&self) -> Self {
        Self {
            lane: Arc::clone(&self.lane),
            attempts: self.attempts.clone(),
            kept: self.kept.clone(),
            status: Arc::clone(&self.status),
            permits: self.permits.clone(),
            wake_request: self.wake_request.clone(),
            prewarms: Arc::clone(&self.prewarms),
            ..*self
        }
    }
}
