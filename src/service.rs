//! The whole service, from a listener and settings to an orderly end.

use std::{convert::Infallible, fmt, io, net::TcpListener, sync::Arc, time::Duration};

use kebne_actors::{
    AskError,
    shutdown::{AddTaskError, PhasesError, Reason},
};
use kebne_monitor::Subscribe;
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "otel")]
use crate::telemetry::{Telemetry, TelemetryError};
use crate::{
    agents::AgentHost,
    alerts::Watching,
    discovery::Discovery,
    events::{Events, StartEventsError},
    function_events::{FunctionEvents, FunctionEventsError},
    gateway::{Gateway, StartError},
    guards::Guards,
    http::{self, State},
    jobs::JobWorker,
    live,
    memory::purge_while_idle,
    reload::Source,
    service::{plan::Plan, steering::Steering},
    settings::{Environment, Settings},
    tls::{Certificates, TlsError},
};

#[cfg(feature = "broker")]
mod consumer;
mod plan;
mod steering;

#[cfg(feature = "broker")]
pub use consumer::StartConsumeError;

/// Time between two looks at what the lanes have learned.
const REMEMBER_EVERY: Duration = Duration::from_secs(30);

/// Time between two counts of the sessions, which are a scan of an index of the store.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// Time between two removals of old outcomes.
const TIDY_EVERY: Duration = Duration::from_hours(1);

/// The requests to stop that the service listens to.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled to stop in order: lame duck, then no new calls, then the end of those that were admitted.
    pub drain: CancellationToken,
    /// Cancelled to stop at once.
    pub now: CancellationToken,
}

/// What the service listens to beside its socket.
pub struct Controls<'a> {
    /// The requests to stop.
    pub shutdown: Shutdown,
    /// Notified to have the settings read again.
    pub hung_up: Arc<Notify>,
    /// Where the settings are read again; `None` if they cannot be.
    pub source: Option<&'a dyn Source>,
    /// `true` if calls are taken from a broker as well, which only a build with the feature `nats` or `kafka` does.
    pub consumes: bool,
}

impl From<Shutdown> for Controls<'_> {
    /// Returns the controls of a service whose settings cannot be read again.
    fn from(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            hung_up: Arc::default(),
            source: None,
            consumes: false,
        }
    }
}

impl fmt::Debug for Controls<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Controls").finish_non_exhaustive()
    }
}

/// The reason why the service did not start or could not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// What the settings describe cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The traces cannot be sent.
    #[cfg(feature = "otel")]
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The files of the certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No events can be emitted.
    #[error(transparent)]
    Events(#[from] StartEventsError),
    /// No events can be delivered to functions.
    #[error(transparent)]
    FunctionEvents(#[from] FunctionEventsError),
    /// No calls can be taken from a broker.
    #[cfg(feature = "broker")]
    #[error(transparent)]
    Consume(#[from] StartConsumeError),
    /// The listener cannot be used.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// The caller's note that the service has started failed.
    #[error("cannot write the result: {0}")]
    Announce(#[source] io::Error),
    /// The end of the service cannot be planned: its phases have no order.
    #[error("the shutdown cannot be planned: {0}")]
    Phases(#[from] PhasesError),
    /// The end of the service cannot be planned: a phase does not take a task.
    #[error("the shutdown cannot be planned: {0}")]
    Task(#[from] AddTaskError),
}

/// Has events delivered to the functions that subscribe to them.
fn deliver_events(
    state: &State,
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<(), FunctionEventsError> {
    let events = FunctionEvents::new(&settings.function_events, environment, &state.gateway)?;
    events.follow(settings)?;
    state.events.give_to(Arc::new(events.clone()));
    let _is_first = state.function_events.set(events);
    Ok(())
}

/// Serves until it is to stop, then drains; returns how many calls were cut off. `on_start` runs once, when the service has
/// started. Must run on an actix system. A failure of an actor does not end it.
///
/// # Errors
/// See [`ServiceError`].
pub async fn run(
    listener: TcpListener,
    settings: &Settings,
    environment: &dyn Environment,
    controls: Controls<'_>,
    on_start: impl FnOnce() -> io::Result<()>,
) -> Result<usize, ServiceError> {
    let shutdown = &controls.shutdown;
    let settings = &settings.completed();
    let discovery = Discovery::start(settings).await;
    let with_replicas = discovery.settings();
    let gateway = Gateway::start(&with_replicas, environment).await?;
    let (mut state, requests) = State::new(gateway.clone(), &with_replicas);
    state.certificates = Certificates::load(&settings.server.tls)?.map(Arc::new);
    let guards = Guards::new(&with_replicas, environment).map_err(StartError::Guards)?;
    state.guards.replace(guards);
    #[cfg(feature = "otel")]
    {
        state.telemetry = Telemetry::start(&settings.telemetry, environment)?;
    }
    state.events = Events::start(&settings.events, environment).await?;
    gateway.monitor().post(Subscribe(state.events.of_alerts()));
    deliver_events(&state, settings, environment)?;
    let state = Arc::new(state);
    connect(&state, settings).await.map_err(StartError::from)?;
    let address = listener.local_addr()?;
    let watching = Watching::start(&gateway, &state.shares, address, settings, environment)?;
    #[cfg(feature = "broker")]
    if controls.consumes {
        let stop = shutdown.drain.child_token();
        let consumer = consumer::start(settings, environment, address, stop).await?;
        state.set_consumer(consumer);
    }
    let server = http::start(listener, Arc::clone(&state))?;
    #[cfg(feature = "broker")]
    consumer::run(&state);
    actix_rt::spawn(sample(Arc::clone(&state)));
    let steering = Steering {
        gateway: &gateway,
        state: &state,
        watching: &watching,
        environment,
        controls: &controls,
        requests,
        settings: settings.clone(),
        discovery,
    };
    on_start().map_err(ServiceError::Announce)?;
    tokio::select! {
        // A reload that was asked for before the stop is not begun.
        biased;
        () = shutdown.drain.cancelled() => {}
        () = shutdown.now.cancelled() => {}
        never = remember(&gateway) => match never {},
        never = Box::pin(steering.run()) => match never {},
        never = count_sessions(&state) => match never {},
        never = tidy_prompts(&state) => match never {},
        never = follow_certificates(&state) => match never {},
        never = watching.run(&state.live, &state.tally, state.certificates.as_deref()) => match never {},
        never = purge_while_idle() => match never {},
    };
    let plan = Plan::new(&gateway, &state, &server, &shutdown.now)?;
    plan.shutdown.run(Reason::Requested).await;
    #[cfg(feature = "otel")]
    if let Some(telemetry) = &state.telemetry {
        telemetry.stop();
    }
    #[cfg(feature = "broker")]
    consumer::finish(&state).await;
    state.events.flush().await;
    let cut_off = plan.cut_off();
    if cut_off > 0 {
        tracing::warn!(cut_off, "calls were cut off");
    }
    Ok(cut_off)
}

/// Has jobs and runs of agents carried out.
async fn connect(state: &Arc<State>, settings: &Settings) -> Result<(), AskError> {
    let worker = Arc::new(JobWorker::new(state));
    state.jobs.connect(worker).await?;
    AgentHost::connect(state, settings).await
}

/// Takes a sample for the live view each second, until the view is closed.
async fn sample(state: Arc<State>) {
    let mut due = tokio::time::interval(live::EVERY);
    // A late sample is followed by one a second later, not by several at once.
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = state.live.closed().cancelled() => return,
            _ = due.tick() => {}
        }
        state.sample().await;
    }
}

/// Writes down now and then what was learned, so that a process that is killed loses little of it.
async fn remember(gateway: &Gateway) -> Infallible {
    loop {
        tokio::time::sleep(REMEMBER_EVERY).await;
        gateway.remember().await;
    }
}

/// Uses the certificate of changed files.
async fn follow_certificates(state: &State) -> Infallible {
    match &state.certificates {
        Some(certificates) => Arc::clone(certificates).follow().await,
        None => std::future::pending().await,
    }
}

/// Removes outcomes of calls that are older than they are kept.
async fn tidy_prompts(state: &State) -> Infallible {
    loop {
        if let Err(error) = state.gateway.prompts().tidy().await {
            tracing::warn!(%error, "old outcomes could not be removed");
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}

/// Counts the sessions, and what collections hold, now and then, for operators.
async fn count_sessions(state: &State) -> Infallible {
    loop {
        let count = state.context.count().await;
        if let Err(error) = &count {
            tracing::debug!(%error, "the sessions could not be counted");
        }
        state.live.note_sessions(count.ok());
        let totals = state.collections.totals().await;
        if let Err(error) = &totals {
            tracing::debug!(%error, "what collections hold could not be counted");
        }
        state.live.note_collections(totals.ok());
        let totals = state.jobs.totals().await;
        if let Err(error) = &totals {
            tracing::debug!(%error, "the jobs could not be counted");
        }
        state.live.note_jobs(totals.ok());
        let totals = state.agents.totals().await;
        if let Err(error) = &totals {
            tracing::debug!(%error, "the runs of agents could not be counted");
        }
        state.live.note_agents(totals.ok());
        if let Err(error) = state.read_prompts_again().await {
            tracing::debug!(%error, "the stored prompts could not be read again");
        }
        tokio::time::sleep(COUNT_EVERY).await;
    }
}
