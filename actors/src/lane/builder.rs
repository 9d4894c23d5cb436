//! How a lane is described and started.
//!
//! Makes what outlives the lane's actors (queue, permits, books, what was learned), has the supervisor adopt them, and
//! hands out the first handle. It exists so that starting is apart from calling; it has no part in what happens later.

use std::{fmt, sync::Arc};

use kebne_control::{Controller, Pool, Snapshot};
use tokio::sync::watch;

use crate::{
    clock::Clock,
    lane::{
        Backend, CallOptions, LaneHandle, LaneSettings,
        actor::{Lane, LaneParts},
        endings::Endings,
        handle::Inner,
        kept::{Kept, KeptController, KeptPool},
        permits::Permits,
        status::Status,
    },
    supervisor::{Adopt, Supervisor},
    system::ActorRef,
    work_pulling::ledger::Ledger,
    worker_pool::{PoolParts, wake::LastWake},
};

/// How to start a lane.
pub struct LaneBuilder<B: Backend> {
    name: String,
    settings: LaneSettings,
    backend: Arc<B>,
    learned: Option<Snapshot>,
    arbiter: Option<actix_rt::ArbiterHandle>,
    wake_request: Option<(B::Request, CallOptions)>,
}

impl<B: Backend> LaneBuilder<B> {
    /// Describes a lane in front of `backend`.
    pub fn new(name: impl Into<String>, backend: Arc<B>) -> Self {
        Self {
            name: name.into(),
            settings: LaneSettings::default(),
            backend,
            learned: None,
            arbiter: None,
            wake_request: None,
        }
    }

    /// Sets the settings.
    #[must_use]
    pub fn settings(mut self, settings: LaneSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Starts from what an earlier life learned (limit, load times, rate).
    #[must_use]
    pub fn learned(mut self, learned: Option<Snapshot>) -> Self {
        self.learned = learned;
        self
    }

    /// Sets the thread that the lane's actors and attempts run on; default the supervisor's.
    #[must_use]
    pub fn on_arbiter(mut self, arbiter: actix_rt::ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }

    /// Sets what [`LaneHandle::prewarm`] sends to a backend that sleeps.
    #[must_use]
    pub fn wake_request(mut self, request: B::Request, options: CallOptions) -> Self {
        self.wake_request = Some((request, options));
        self
    }

    /// Starts the lane's actors under the supervisor; returns when they run.
    pub async fn start(self, supervisor: &ActorRef<Supervisor>) -> LaneHandle<B> {
        let clock = Clock::start();
        let now = clock.now();
        let settings = self.settings;
        let workers_max = usize::try_from(settings.controller.limit_max).unwrap_or(usize::MAX);
        let permits = Permits::new(settings.pool.queue_max.saturating_add(workers_max));
        let grant = Controller::new(&settings.controller, self.learned.as_ref(), now).grant();
        let kept = KeptPool {
            pool: Pool::new(&settings.pool, grant, now),
            ledger: Ledger::new(),
            next_worker: 0,
            last_wake: LastWake::default(),
            observer: None,
            told: 0,
        };
        let learned = Kept::new(KeptController::new(self.learned));
        let status = Arc::new(Status::default());
        let prewarms = Arc::new(Endings::default());
        let name: Arc<str> = self.name.into();
        let pool = PoolParts {
            lane: Arc::clone(&name),
            backend: self.backend,
            clock,
            seed: settings.seed,
            kept: Kept::new(kept),
            status: Arc::clone(&status),
            permits: permits.clone(),
            workers_max,
            idle_timeout: settings.idle_timeout,
            wake_request: self.wake_request.map(Arc::new),
            prewarms: Arc::clone(&prewarms),
        };
        let (route, mut routes) = watch::channel(None);
        let parts = LaneParts {
            settings,
            pool,
            controller: learned.clone(),
            route: Arc::new(route),
        };
        let mut props = Lane::props(parts);
        if let Some(arbiter) = self.arbiter {
            props = props.on_arbiter(arbiter);
        }
        let adopted = supervisor.tell(Adopt::new(props, format!("lane-{name}")));
        if adopted.is_enqueued() && routes.wait_for(Option::is_some).await.is_err() {
            tracing::error!(lane = %name, "the lane did not start");
        }
        LaneHandle {
            inner: Arc::new(Inner {
                name,
                clock,
                permits,
                endings: Arc::default(),
                prewarms,
                status,
                learned,
                route: routes,
            }),
        }
    }
}

impl<B: Backend> fmt::Debug for LaneBuilder<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LaneBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
