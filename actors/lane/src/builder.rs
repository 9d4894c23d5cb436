//! Configures and starts a lane.
//!
//! Creates the state that outlives the lane's actors (queue, permits, attempts in flight, learned values), spawns the
//! lane below the system or a given parent, and returns the first handle.

use std::{fmt, sync::Arc};

use actix::{Actor, Handler};
use kebne_control::{Controller, Pool, Snapshot};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn, work_pulling::permits::Permits};
use kebne_settings::{SettingsErrors, Validate};

use crate::{
    attempt_task::AttemptParts,
    backend::Backend,
    call::CallOptions,
    clock::Clock,
    endings::Endings,
    handle::{Inner, LaneHandle},
    kept::Kept,
    lane::{Entrance, Health, Lane, LaneParts},
    open_slots::OpenSlots,
    rate_controller::ControllerMemory,
    reports::LastReports,
    settings::LaneSettings,
    status::Status,
    worker_pool::{PoolMemory, PoolParts, WakeRequest},
};

/// Configures a lane: backend, settings and thread.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use kebne_actors::ActorSystem;
/// use kebne_lane::{Answer, Attempt, Backend, CallOptions, Failure, LaneBuilder};
///
/// struct Echo;
///
/// impl Backend for Echo {
///     type Request = u32;
///     type Response = u32;
///
///     async fn attempt(&self, attempt: Attempt<u32>) -> Result<Answer<u32>, Failure> {
///         Ok(Answer::complete(attempt.request))
///     }
/// }
///
/// # actix::System::new().block_on(async {
/// let system = ActorSystem::new("app", 1);
/// let lane = LaneBuilder::new("echo", Arc::new(Echo)).start(&system).await?;
/// let options = CallOptions::within(Duration::from_secs(5)).idempotent();
/// let reply = lane.call(7, options).await?;
/// assert_eq!(reply.complete(), 7);
/// # system.terminate().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct LaneBuilder<B: Backend> {
    name: String,
    settings: LaneSettings,
    backend: Arc<B>,
    learned: Option<Snapshot>,
    /// That of the lane that this one continues.
    clock: Option<Clock>,
    arbiter: Option<actix_rt::ArbiterHandle>,
    wake_request: Option<(B::Request, CallOptions)>,
}

impl<B: Backend> LaneBuilder<B> {
    /// Creates a builder of a lane in front of `backend`, with default settings.
    pub fn new(name: impl Into<String>, backend: Arc<B>) -> Self {
        Self {
            name: name.into(),
            settings: LaneSettings::default(),
            backend,
            learned: None,
            clock: None,
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

    /// Sets the values that an earlier lane learned (limit, load times, rate); see [`LaneHandle::learned`].
    #[must_use]
    pub fn learned(mut self, learned: Option<Snapshot>) -> Self {
        self.learned = learned;
        self
    }

    /// Continues another lane in front of the same server: with what it has learned and, if it serves, at its level. Its pauses and
    /// quotas stay in force.
    #[must_use]
    pub fn continues(mut self, former: &LaneHandle<B>) -> Self {
        self.learned = former.learned();
        self.clock = Some(former.inner.clock);
        self
    }

    /// Sets the thread of the lane's actors. Default: the thread of the parent. Attempts run on the runtimes of their
    /// callers.
    #[must_use]
    pub fn on_arbiter(mut self, arbiter: actix_rt::ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }

    /// Sets the request that [`LaneHandle::prewarm`] sends to wake the backend. Default: none.
    #[must_use]
    pub fn wake_request(mut self, request: B::Request, options: CallOptions) -> Self {
        self.wake_request = Some((request, options));
        self
    }

    /// Starts the lane's actors as `/user/lane-NAME`. Returns once they run. The lane stops with the system
    /// ([`ActorSystem::terminate`]).
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(self, system: &ActorSystem) -> Result<LaneHandle<B>, StartError> {
        let prepared = self.prepare()?;
        system.spawn(prepared.props, &prepared.actor_name);
        running(prepared.handle).await
    }

    /// Starts the lane's actors as children of `parent`, which handles [`Spawn`]. Returns once they run.
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

    /// Creates the state that outlives the lane's actors, and the props of the lane.
    fn prepare(self) -> Result<Prepared<B>, StartError> {
        let invalid = self.settings.validate("");
        if !invalid.is_empty() {
            return Err(StartError::Settings(SettingsErrors(invalid)));
        }
        let clock = self.clock.unwrap_or_else(Clock::start);
        let now = clock.now();
        let settings = self.settings;
        let workers_max = usize::try_from(settings.limit_max).unwrap_or(usize::MAX);
        let permits = Permits::new(settings.queue_max.saturating_add(workers_max));
        let law = Controller::new(&settings.controller(), self.learned.as_ref(), now);
        let memory = PoolMemory::new(Pool::new(&settings.pool(), law.grant(), now));
        let reports = LastReports::new(now, law.report(now), memory.pool.report(now));
        let learned = Kept::new(ControllerMemory::new(self.learned));
        let status = Arc::new(Status::default());
        let prewarms = Arc::new(Endings::default());
        let wake_request = WakeRequest::new(self.wake_request);
        let name: Arc<str> = self.name.into();
        let attempts = AttemptParts {
            backend: self.backend,
            clock,
            slots: Arc::new(OpenSlots::new(settings.idle_timeout.0)),
            lane_stops: CancellationToken::new(),
        };
        let pool = PoolParts {
            lane: Arc::clone(&name),
            attempts: attempts.clone(),
            clock,
            seed: settings.seed,
            kept: Kept::new(memory),
            status: Arc::clone(&status),
            permits: permits.clone(),
            workers_max,
            idle_timeout: settings.idle_timeout.0,
            wake_request: wake_request.clone(),
            prewarms: Arc::clone(&prewarms),
        };
        let lease_bell = Arc::new(Notify::new());
        let (entrance, entrances) = watch::channel(Entrance::Starting);
        let parts = LaneParts {
            settings,
            pool,
            controller: learned.clone(),
            lease_bell: Arc::clone(&lease_bell),
            entrance: Arc::new(entrance),
            health: Kept::new(Health::default()),
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
                    attempts,
                    permits,
                    endings: Arc::default(),
                    prewarms,
                    wake_request,
                    status,
                    learned,
                    lease_bell,
                    reports,
                    entrance: entrances,
                }),
            },
        })
    }
}

/// Waits until the lane's actors run.
async fn running<B: Backend>(handle: LaneHandle<B>) -> Result<LaneHandle<B>, StartError> {
    let mut entrances = handle.inner.entrance.clone();
    let runs = |entrance: &Entrance<B>| !matches!(entrance, Entrance::Starting);
    match entrances.wait_for(runs).await {
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
