//! How a lane is described and started.
//!
//! Makes what outlives the lane's actors (queue, permits, ledger, what was learned), spawns the lane below the system or a
//! given parent, and returns the first handle.

use std::{fmt, sync::Arc};

use actix::{Actor, Handler};
use kebne_control::{Controller, Pool, Snapshot};
use tokio::sync::watch;

use kebne_actors::{
    ActorRef, ActorSystem, Context, Props, Spawn,
    work_pulling::{ledger::Ledger, permits::Permits},
};
use kebne_settings::{SettingsErrors, Validate};

use crate::{
    backend::Backend,
    call::CallOptions,
    clock::Clock,
    endings::Endings,
    handle::{Inner, LaneHandle},
    kept::Kept,
    lane::{Lane, LaneParts},
    rate_controller::ControllerMemory,
    settings::LaneSettings,
    status::Status,
    worker_pool::{LastWake, PoolMemory, PoolParts},
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

    /// Sets the thread that the lane's actors and attempts run on; default the parent's.
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

    /// Starts the lane's actors as `/user/lane-NAME`. Returns when they run.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(self, system: &ActorSystem) -> Result<LaneHandle<B>, StartError> {
        let prepared = self.prepare()?;
        system.spawn(prepared.props, &prepared.actor_name);
        running(prepared.handle).await
    }

    /// Starts the lane's actors as children of `parent`, which handles [`Spawn`]. Returns when they run.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_under<P>(self, parent: &ActorRef<P>) -> Result<LaneHandle<B>, StartError>
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let prepared = self.prepare()?;
        let spawned = parent.tell(Spawn::new(prepared.props, prepared.actor_name));
        if !spawned.is_enqueued() {
            return Err(StartError::NotStarted);
        }
        running(prepared.handle).await
    }

    /// Makes everything that outlives the lane's actors, and the props of the lane.
    fn prepare(self) -> Result<Prepared<B>, StartError> {
        let invalid = self.settings.validate("");
        if !invalid.is_empty() {
            return Err(StartError::Settings(SettingsErrors(invalid)));
        }
        let clock = Clock::start();
        let now = clock.now();
        let settings = self.settings;
        let workers_max = usize::try_from(settings.limit_max).unwrap_or(usize::MAX);
        let permits = Permits::new(settings.queue_max.saturating_add(workers_max));
        let grant = Controller::new(&settings.controller(), self.learned.as_ref(), now).grant();
        let memory = PoolMemory {
            pool: Pool::new(&settings.pool(), grant, now),
            ledger: Ledger::new(),
            next_worker: 0,
            last_wake: LastWake::default(),
            observer: None,
            told: 0,
        };
        let learned = Kept::new(ControllerMemory::new(self.learned));
        let status = Arc::new(Status::default());
        let prewarms = Arc::new(Endings::default());
        let name: Arc<str> = self.name.into();
        let pool = PoolParts {
            lane: Arc::clone(&name),
            backend: self.backend,
            clock,
            seed: settings.seed,
            kept: Kept::new(memory),
            status: Arc::clone(&status),
            permits: permits.clone(),
            workers_max,
            idle_timeout: settings.idle_timeout.0,
            wake_request: self.wake_request.map(Arc::new),
            prewarms: Arc::clone(&prewarms),
        };
        let (route, routes) = watch::channel(None);
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
        Ok(Prepared {
            props,
            actor_name: format!("lane-{name}"),
            handle: LaneHandle {
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
            },
        })
    }
}

/// Waits until the lane's actors run.
async fn running<B: Backend>(handle: LaneHandle<B>) -> Result<LaneHandle<B>, StartError> {
    let mut routes = handle.inner.route.clone();
    match routes.wait_for(Option::is_some).await {
        Ok(_) => Ok(handle),
        Err(_) => Err(StartError::NotStarted),
    }
}

/// A lane that is ready to start.
struct Prepared<B: Backend> {
    props: Props<Lane<B>>,
    actor_name: String,
    handle: LaneHandle<B>,
}

/// The reason why a lane did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A setting is out of its range.
    #[error(transparent)]
    Settings(#[from] SettingsErrors),
    /// The parent or the system has stopped, or the lane's actors failed to start.
    #[error("the lane's actors did not start")]
    NotStarted,
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
