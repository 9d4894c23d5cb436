//! The whole service, from a listener and settings to an orderly end.

use std::{convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};

use kebne_actors::shutdown::{AddTaskError, PhasesError, Reason};
use tokio_util::sync::CancellationToken;

use crate::{
    gateway::{Gateway, StartError},
    http::{self, State},
    service::plan::Plan,
    settings::{Environment, Settings},
};

mod plan;

/// Time between two looks at what the lanes have learned.
const REMEMBER_EVERY: Duration = Duration::from_secs(30);

/// How the service is told to stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Stop admitting, finish what was admitted.
    pub drain: CancellationToken,
    /// Do not wait any longer.
    pub now: CancellationToken,
}

/// Why the service ended otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// What the settings describe cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The listener cannot be used.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// An actor failed more often than its restarts allow.
    #[error("an actor failed for good: {0}")]
    Actor(String),
    /// The end of the service cannot be planned: its phases have no order.
    #[error("the shutdown cannot be planned: {0}")]
    Phases(#[from] PhasesError),
    /// The end of the service cannot be planned: a phase does not take a task.
    #[error("the shutdown cannot be planned: {0}")]
    Task(#[from] AddTaskError),
}

/// Serves until `shutdown`, then drains; returns how many calls were cut off. Must run on an actix system.
///
/// # Errors
/// See [`ServiceError`].
pub async fn run(
    listener: TcpListener,
    settings: &Settings,
    environment: &dyn Environment,
    shutdown: Shutdown,
) -> Result<usize, ServiceError> {
    let gateway = Gateway::start(settings, environment).await?;
    let state = Arc::new(State::new(gateway.clone(), settings));
    let server = http::start(listener, Arc::clone(&state))?;
    let plan = Plan::new(&gateway, &state, &server, &shutdown.now)?;
    let failed = tokio::select! {
        () = shutdown.drain.cancelled() => None,
        () = shutdown.now.cancelled() => None,
        reason = gateway.when_failed() => Some(reason),
        never = remember(&gateway) => match never {},
    };
    if failed.is_some() {
        plan.impatient.cancel();
    } else {
        tracing::info!(deadline = %settings.server.drain_deadline, "draining: no new calls are let in");
    }
    let reason = failed.clone().map_or(Reason::Requested, Reason::Failed);
    plan.shutdown.run(reason).await;
    let cut_off = plan.cut_off();
    if cut_off > 0 {
        tracing::warn!(cut_off, "calls were cut off");
    }
    match failed {
        Some(reason) => Err(ServiceError::Actor(reason)),
        None => Ok(cut_off),
    }
}

/// Writes down now and then what was learned, so that a sudden death costs little of it.
async fn remember(gateway: &Gateway) -> Infallible {
    loop {
        tokio::time::sleep(REMEMBER_EVERY).await;
        gateway.remember();
    }
}
