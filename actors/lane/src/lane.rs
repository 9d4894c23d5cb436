//! The lane as an actor: the parent of its pool and its controller.

use std::{sync::Arc, time::Duration};

use actix::Actor;
use tokio::sync::watch;

use kebne_actors::{ActorRef, Context, Props, Strategy};

use crate::{
    backend::Backend,
    kept::Kept,
    rate_controller::{ControllerMemory, ControllerParts, RateController},
    settings::LaneSettings,
    worker_pool::{PoolParts, WorkerPool},
};

/// Failures of a pool or a controller within [`WINDOW`] after which the whole lane is started anew.
const RESTARTS_MAX: u32 = 10;
/// Failures of a whole lane within [`WINDOW`] after which the process ends with the reason.
const LANE_RESTARTS_MAX: u32 = 3;
/// The window of both.
const WINDOW: Duration = Duration::from_mins(1);
/// First and longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Where the lane's actors are reached now.
pub(crate) struct Route<B: Backend> {
    pub(crate) pool: ActorRef<WorkerPool<B>>,
    pub(crate) controller: ActorRef<RateController>,
}

/// What a lane needs to start, again and again.
pub(crate) struct LaneParts<B: Backend> {
    pub(crate) settings: LaneSettings,
    pub(crate) pool: PoolParts<B>,
    pub(crate) controller: Kept<ControllerMemory>,
    pub(crate) route: Arc<watch::Sender<Option<Route<B>>>>,
}

/// Parent of a pool and a controller.
pub(crate) struct Lane<B: Backend> {
    parts: LaneParts<B>,
}

impl<B: Backend> Lane<B> {
    pub(crate) fn props(parts: LaneParts<B>) -> Props<Self> {
        let strategy = restart_or_escalate().with_limit(LANE_RESTARTS_MAX, WINDOW);
        Props::new(move || Self {
            parts: parts.clone(),
        })
        .supervise(strategy)
    }
}

impl<B: Backend> Actor for Lane<B> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.pool.clone();
        // The permits bound what is told to the pool, so this mailbox is never full.
        let capacity = parts.permits.max() + 1;
        let props = Props::new(move || WorkerPool::new(parts.clone()))
            .supervise(restart_or_escalate().with_limit(RESTARTS_MAX, WINDOW))
            .mailbox(capacity);
        let pool = ctx.spawn_child(props, "worker-pool");

        let mut parts = ControllerParts {
            lane: Arc::clone(&self.parts.pool.lane),
            settings: self.parts.settings.controller(),
            seed: self.parts.settings.seed,
            clock: self.parts.pool.clock,
            kept: self.parts.controller.clone(),
            status: Arc::clone(&self.parts.pool.status),
            pool: pool.control_recipient(),
        };
        let props = Props::new(move || {
            // Each incarnation's chance differs, or a panic that hangs on chance would come again.
            parts.seed = parts.seed.wrapping_add(1);
            RateController::new(parts.clone())
        })
        .supervise(restart_or_escalate().with_limit(RESTARTS_MAX, WINDOW))
        .mailbox(capacity * 4);
        let controller = ctx.spawn_child(props, "rate-controller");
        self.parts
            .route
            .send_replace(Some(Route { pool, controller }));
    }

    fn stopped(&mut self, _ctx: &mut Context<Self>) {
        self.parts.route.send_replace(None);
    }
}

/// Restarts after a backoff; a child that gave up fails its parent.
fn restart_or_escalate() -> Strategy {
    Strategy::restart()
        .with_backoff(BACKOFF.0, BACKOFF.1)
        .escalate_at_limit()
}

impl<B: Backend> Clone for Route<B> {
    fn clone(&self) -> Self {
        Self {
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
            route: Arc::clone(&self.route),
        }
    }
}
