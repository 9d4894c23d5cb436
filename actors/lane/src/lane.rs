//! The actor of a lane: the parent of its pool and its controller, and a bulkhead around them.
//!
//! If the pool or the controller has used up its restarts, both are started again, with the queue and the attempts in
//! flight. If they fail again, the lane is closed: its actors are stopped, callers are refused, and this actor handles
//! the attempts in flight to their end. An operator can open it again. A failure inside a lane does not propagate
//! beyond it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::{Actor, Handler, Message, MessageResponse};
use kebne_control::{AttemptId, Controller, ControllerReport, Outcome, PoolReport, Timestamp};
use tokio::sync::{Notify, watch};

use kebne_actors::{ActorRef, Context, Fault, Props, Strategy};

use crate::{
    attempt::{Stage, lost},
    backend::Backend,
    call::CallError,
    kept::Kept,
    open_slots::{Note, NotesDue},
    rate_controller::{ControllerMemory, ControllerParts, RateController},
    settings::LaneSettings,
    snapshot::Question,
    worker_pool::{CutOff, PoolParts, WorkerPool},
};

/// The number of restarts of a pool or a controller within [`WINDOW`]; at the next failure both are started again.
const RESTARTS_MAX: u32 = 10;
/// The number of failures of the lane within [`WINDOW`] after which it is started again; one more closes it.
const LANE_RESTARTS_MAX: usize = 3;
/// The window of both limits.
const WINDOW: Duration = Duration::from_mins(1);
/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// The polling interval for actors that still stop when the lane is opened again.
const REOPEN_RETRY: Duration = Duration::from_millis(5);

/// Closes the lane. The answer is `false` if it was closed already.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct CloseLane(pub(crate) Arc<str>);

/// Opens the lane again. The answer is `false` if it was not closed.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct ReopenLane;

/// Requests the report of a closed lane.
#[derive(Debug, Message)]
#[rtype(result = "ClosedView")]
pub(crate) struct GetClosed(pub(crate) Question);

/// The report of a closed lane, for `/state`.
#[derive(Debug, MessageResponse)]
pub(crate) struct ClosedView {
    pub(crate) controller: ControllerReport,
    pub(crate) pool: PoolReport,
}

/// The time to check whether the stopped actors are gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct OpenDue;

/// The entrance to a lane.
pub(crate) enum Entrance<B: Backend> {
    /// Its actors are starting; calls wait.
    Starting,
    /// Its actors run.
    Open(Route<B>),
    /// Its actors are stopped; calls are refused.
    Closed {
        /// The reason.
        reason: Arc<str>,
        lane: ActorRef<Lane<B>>,
    },
}

/// The lane's actors.
pub(crate) struct Route<B: Backend> {
    pub(crate) lane: ActorRef<Lane<B>>,
    pub(crate) pool: ActorRef<WorkerPool<B>>,
    pub(crate) controller: ActorRef<RateController>,
}

/// The parts that each instance of the lane starts with.
pub(crate) struct LaneParts<B: Backend> {
    pub(crate) settings: LaneSettings,
    pub(crate) pool: PoolParts<B>,
    pub(crate) controller: Kept<ControllerMemory>,
    pub(crate) lease_bell: Arc<Notify>,
    pub(crate) entrance: Arc<watch::Sender<Entrance<B>>>,
    pub(crate) health: Kept<Health>,
}

/// The failures of a lane; survives its restarts.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The failures within [`WINDOW`]; at most one more than the allowed restarts.
    failures: VecDeque<Timestamp>,
    /// The reason why the lane is closed; `None` while it is open.
    closed: Option<Arc<str>>,
}

impl Health {
    /// Records a failure of the lane.
    fn failed(&mut self, fault: &Fault, now: Timestamp) {
        self.failures.retain(|at| now.since(*at) < WINDOW);
        self.failures.push_back(now);
        if self.failures.len() > LANE_RESTARTS_MAX {
            self.closed
                .get_or_insert_with(|| format!("its restarts are used up: {fault}").into());
        }
    }
}

/// The parent of a pool and a controller.
pub(crate) struct Lane<B: Backend> {
    parts: LaneParts<B>,
    /// The children; `None` while the lane is closed.
    route: Option<Route<B>>,
}

impl<B: Backend> Lane<B> {
    pub(crate) fn props(parts: LaneParts<B>) -> Props<Self> {
        Props::new(move || Self {
            parts: parts.clone(),
            route: None,
        })
        .before_restart(|lane, _ctx, fault| {
            let now = lane.parts.pool.clock.now();
            lane.parts.health.lock().failed(fault, now);
        })
        // Without a limit, because the lane closes itself at the limit of its health instead of stopping.
        .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
    }

    /// Starts the children.
    fn open(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.pool.clone();
        // The permits bound the messages to the pool, so this mailbox is never full.
        let capacity = parts.permits.max() + 1;
        let props = Props::new(move || WorkerPool::new(parts.clone()))
            .supervise(restart_or_escalate())
            .mailbox(capacity);
        let pool = ctx.spawn_child(props, "worker-pool");

        let mut parts = ControllerParts {
            lane: Arc::clone(&self.parts.pool.lane),
            settings: self.parts.settings.controller(),
            seed: self.parts.settings.seed,
            clock: self.parts.pool.clock,
            kept: self.parts.controller.clone(),
            status: Arc::clone(&self.parts.pool.status),
            lease_bell: Arc::clone(&self.parts.lease_bell),
            pool: pool.control_recipient(),
        };
        let props = Props::new(move || {
            // Each incarnation has another seed; otherwise a panic that depends on random numbers would repeat.
            parts.seed = parts.seed.wrapping_add(1);
            RateController::new(parts.clone())
        })
        .supervise(restart_or_escalate())
        .mailbox(capacity * 4);
        let controller = ctx.spawn_child(props, "rate-controller");
        let route = Route {
            lane: ctx.self_ref(),
            pool,
            controller,
        };
        self.route = Some(route.clone());
        self.parts.entrance.send_replace(Entrance::Open(route));
    }

    /// Closes the lane and refuses waiting calls; calls in flight continue. The children are gone or stop before they
    /// handle another message.
    fn close(&mut self, reason: &Arc<str>, ctx: &mut Context<Self>) {
        let myself = ctx.self_ref();
        self.parts.entrance.send_replace(Entrance::Closed {
            reason: Arc::clone(reason),
            lane: myself.clone(),
        });
        // Set before the attempts are checked, so that an attempt that ends meanwhile reports to this actor.
        let slots = &self.parts.pool.attempts.slots;
        slots.set_reader(myself.control_recipient());
        self.read_notes();
        let now = self.parts.pool.clock.now();
        let (waiting, expired, in_flight) = {
            let mut kept = self.parts.pool.kept.lock();
            kept.ledger.dismiss_all();
            let waiting = kept.pool.take_waiting();
            (waiting, kept.pool.expire(now), kept.ledger.numbers())
        };
        for job in waiting {
            let attempts = job.shared().attempts();
            job.refuse(CallError::Closed { attempts });
        }
        for (job, refusal) in expired {
            job.refuse(CallError::from(refusal));
        }
        for attempt in in_flight {
            self.conclude(attempt);
        }
    }

    /// Reads the notes of the attempts of a closed lane.
    fn read_notes(&mut self) {
        for note in self.parts.pool.attempts.slots.close() {
            match note {
                Note::Begun(begun) => {
                    self.parts.pool.kept.lock().begin(begun);
                }
                Note::FirstPart { .. } => {}
                Note::Ended { attempt, .. } => {
                    self.conclude(attempt);
                    // A call that was served before its beginning was read is in the pool only.
                    let now = self.parts.pool.clock.now();
                    self.parts.pool.kept.lock().pool.released(attempt, now);
                }
            }
        }
    }

    /// Settles an attempt that has ended in the closed lane. There is no further attempt: a call without an answer ends
    /// with the attempt's failure.
    fn conclude(&mut self, attempt: AttemptId) {
        let mut kept = self.parts.pool.kept.lock();
        let Some((_, held)) = kept.ledger.held(attempt) else {
            return;
        };
        match held.progress.stage() {
            Stage::Runs => return,
            Stage::Ended(end) => {
                if !matches!(end.outcome, Outcome::Success { .. } | Outcome::Cancelled)
                    && let Some(failure) = held.job.last_failure(end.outcome, end.span.at)
                {
                    self.parts.pool.status.failed(failure);
                }
            }
            Stage::Lost { begun } => {
                // Only the effects on the call matter, because there is no pool.
                let _end = lost(&held.job, attempt, begun, self.parts.pool.clock.now());
            }
        }
        let Some((_, held)) = kept.ledger.take(attempt) else {
            return;
        };
        kept.pool.released(attempt, self.parts.pool.clock.now());
        if !kept.is_in_flight(&held.job) && !held.job.is_answered() {
            drop(kept);
            held.job.fail();
        }
    }
}

impl<B: Backend> Actor for Lane<B> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let closed = self.parts.health.lock().closed.clone();
        match closed {
            None => self.open(ctx),
            Some(reason) => {
                tracing::error!(lane = %self.parts.pool.lane, %reason, "the lane is closed");
                self.close(&reason, ctx);
            }
        }
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        if ctx.is_restarting() {
            self.parts.entrance.send_replace(Entrance::Starting);
        } else {
            self.parts.pool.attempts.lane_stops.cancel();
            self.parts.pool.attempts.slots.stop();
        }
    }
}

impl<B: Backend> Handler<CloseLane> for Lane<B> {
    type Result = bool;

    fn handle(&mut self, CloseLane(reason): CloseLane, ctx: &mut Context<Self>) -> bool {
        {
            let mut health = self.parts.health.lock();
            if health.closed.is_some() {
                return false;
            }
            health.closed = Some(Arc::clone(&reason));
        }
        tracing::warn!(lane = %self.parts.pool.lane, %reason, "the lane is closed");
        if let Some(route) = self.route.take() {
            ctx.stop_child(&route.pool);
            ctx.stop_child(&route.controller);
        }
        self.close(&reason, ctx);
        true
    }
}

impl<B: Backend> Handler<ReopenLane> for Lane<B> {
    type Result = bool;

    fn handle(&mut self, _: ReopenLane, ctx: &mut Context<Self>) -> bool {
        {
            let mut health = self.parts.health.lock();
            if health.closed.is_none() {
                return false;
            }
            *health = Health::default();
        }
        tracing::info!(lane = %self.parts.pool.lane, "the lane is opened again");
        self.parts.entrance.send_replace(Entrance::Starting);
        self.handle(OpenDue, ctx);
        true
    }
}

impl<B: Backend> Handler<OpenDue> for Lane<B> {
    type Result = ();

    fn handle(&mut self, _: OpenDue, ctx: &mut Context<Self>) {
        if self.route.is_some() || self.parts.health.lock().closed.is_some() {
            return;
        }
        if ctx.children().next().is_some() {
            ctx.start_timer("open", OpenDue, REOPEN_RETRY);
            return;
        }
        self.open(ctx);
    }
}

impl<B: Backend> Handler<GetClosed> for Lane<B> {
    type Result = ClosedView;

    fn handle(&mut self, GetClosed(_question): GetClosed, _ctx: &mut Context<Self>) -> ClosedView {
        let now = self.parts.pool.clock.now();
        let settings = self.parts.settings.controller();
        let learned = self.parts.controller.lock().learned.clone();
        ClosedView {
            controller: Controller::new(&settings, learned.as_ref(), now).report(now),
            pool: self.parts.pool.kept.lock().pool.report(now),
        }
    }
}

impl<B: Backend> Handler<CutOff> for Lane<B> {
    type Result = usize;

    fn handle(&mut self, _: CutOff, _ctx: &mut Context<Self>) -> usize {
        self.read_notes();
        self.parts.pool.kept.lock().cut_off()
    }
}

impl<B: Backend> Handler<NotesDue> for Lane<B> {
    type Result = ();

    fn handle(&mut self, _: NotesDue, _ctx: &mut Context<Self>) {
        if self.parts.health.lock().closed.is_some() {
            self.read_notes();
        }
    }
}

/// Restarts after a backoff; a child that has used up its restarts fails its parent.
fn restart_or_escalate() -> Strategy {
    Strategy::restart()
        .with_backoff(BACKOFF.0, BACKOFF.1)
        .with_limit(RESTARTS_MAX, WINDOW)
        .escalate_at_limit()
}

impl<B: Backend> Clone for Entrance<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Starting => Self::Starting,
            Self::Open(route) => Self::Open(route.clone()),
            Self::Closed { reason, lane } => Self::Closed {
                reason: Arc::clone(reason),
                lane: lane.clone(),
            },
        }
    }
}

impl<B: Backend> Clone for Route<B> {
    fn clone(&self) -> Self {
        Self {
            lane: self.lane.clone(),
            pool: self.pool.clone(),
            controller: self.controller.clone(),
        }
    }
}

impl<B: Backend> Clone for LaneParts<B> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            pool: self.pool.clone(),
            controller: self.controller.clone(),
            lease_bell: Arc::clone(&self.lease_bell),
            entrance: Arc::clone(&self.entrance),
            health: self.health.clone(),
        }
    }
}
