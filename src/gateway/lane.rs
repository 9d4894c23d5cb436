//! A backend's lane with the settings that it was made of.

use std::{sync::Arc, time::Duration};

use kebne_actors::ActorRef;
use kebne_agents::Agents;
use kebne_control::{LoadTimes, Snapshot};
use kebne_lane::{LaneBuilder, LaneHandle, Prewarm};
use kebne_servers::{Failing, Servers};

use crate::{
    backend::{ModelBackend, upstream::digest_of_files, wake},
    gateway::{
        StartError,
        health::{Health, HealthReport},
        owned::{self, Owned, OwnedServer},
        sharing::LaneLease,
    },
    memory::ByteBudget,
    settings::{BackendSettings, Environment, Settings},
    sharing::Sharing,
    supervisor::Supervisor,
};

/// The time in which a call that was taken back has left its lane.
const LEAVING: Duration = Duration::from_millis(250);

/// The failures in a row from which on calls do not wait for the next start of a server: one alone may be an accident.
const ACCIDENTS: u32 = 2;
/// A start that is nearer than this is waited for.
const AGAIN_MIN: Duration = Duration::from_millis(100);

/// A backend's lane.
pub(super) struct Lane {
    /// Its number, which no other lane of this process has had.
    pub(super) number: usize,
    pub(super) handle: LaneHandle<ModelBackend>,
    pub(super) backend: Arc<ModelBackend>,
    pub(super) settings: BackendSettings,
    /// Of the secrets in files with which it was started.
    secrets: Option<[u8; 32]>,
    pub(super) health: Health,
    /// The place of its lease; `None` if the backend is not shared.
    pub(super) lease: Option<Arc<LaneLease>>,
    /// The server, if the gateway starts and stops it. It is removed with the last lane that has it.
    pub(super) server: Option<Arc<OwnedServer>>,
    /// The thread of its actors.
    #[cfg(feature = "lab")]
    pub(super) thread: actix_rt::ArbiterHandle,
}

/// What is known of a server before its lane starts.
pub(super) enum Known<'a> {
    Nothing,
    /// What an earlier process has learned.
    Earlier(Snapshot),
    /// The lane that is replaced.
    Continues(&'a Lane),
}

/// What each lane is started with.
pub(super) struct LaneParts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) environment: &'a dyn Environment,
    pub(super) supervisor: &'a ActorRef<Supervisor>,
    /// The memory of large answers, shared by all backends.
    pub(super) answers: &'a ByteBudget,
    /// The agents, which some backends run.
    pub(super) agents: &'a Agents,
    /// The servers that the gateway starts and stops.
    pub(super) servers: &'a Servers,
    /// The leases of shared backends.
    pub(super) sharing: Option<&'a Sharing>,
    /// What was approved of the tools of MCP servers.
    #[cfg(feature = "mcp")]
    pub(super) pins: &'a Arc<kebne_mcp::Pins>,
    /// The lane that is replaced, whose server goes on if it is the same.
    pub(super) former: Option<&'a Lane>,
    /// The load times of the server that an earlier process has learned.
    pub(super) load_times: LoadTimes,
}

impl Lane {
    /// Starts the lane of a backend on a thread with what was learned of its server.
    pub(super) async fn start(
        number: usize,
        backend_settings: &BackendSettings,
        known: Known<'_>,
        thread: &actix_rt::ArbiterHandle,
        parts: &LaneParts<'_>,
    ) -> Result<Self, StartError> {
        let secrets = digest_of_files(backend_settings);
        let Owned { backend, server } = Box::pin(owned::build(backend_settings, parts)).await?;
        let lease = LaneLease::new(parts.sharing, backend_settings, number, parts.environment);
        let builder = LaneBuilder::new(backend_settings.name.as_str(), Arc::clone(&backend));
        let builder = match known {
            Known::Nothing => builder,
            Known::Earlier(learned) => builder.learned(Some(learned)),
            Known::Continues(former) => builder.continues(&former.handle),
        };
        let builder = if backend_settings.is_made() {
            // A call of nobody would have effects.
            builder
        } else {
            let (wake, options) = wake::call(backend_settings, parts.settings)?;
            builder.wake_request(wake, options)
        };
        let started = builder
            .settings(backend_settings.limits.clone())
            .on_arbiter(thread.clone())
            .start_under(parts.supervisor)
            .await;
        let handle = started.map_err(|error| StartError::Lane {
            lane: backend_settings.name.clone(),
            error,
        })?;
        Ok(Self {
            number,
            handle,
            backend,
            settings: backend_settings.clone(),
            secrets,
            health: Health::default(),
            lease: lease.map(Arc::new),
            server,
            #[cfg(feature = "lab")]
            thread: thread.clone(),
        })
    }

    /// Returns `true` if the lane is as settings would make it. A secret in a file that cannot be read now counts as unchanged.
    pub(super) fn is_of(&self, settings: &BackendSettings) -> bool {
        self.settings == *settings
            && digest_of_files(settings).is_none_or(|now| self.secrets == Some(now))
    }

    pub(super) fn name(&self) -> &str {
        self.handle.name()
    }

    /// Returns how the server fails that the gateway starts; `None` if it serves, or is expected to when it is started.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.server.as_ref()?.failing()
    }

    /// Returns the failures of the server if no call is to wait for it: it was tried more than once, and is not tried again at
    /// once.
    pub(super) fn has_failed(&self) -> Option<Failing> {
        let failing = self.failing()?;
        let waits = failing.again_in.is_some_and(|wait| wait >= AGAIN_MIN);
        (failing.times >= ACCIDENTS && waits).then_some(failing)
    }

    /// Returns what the health checks have found; `None` if the backend is not checked.
    pub(super) fn health(&self) -> Option<HealthReport> {
        let is_checked = self.settings.health.path.is_some();
        is_checked.then(|| self.health.report(self.name()))
    }

    /// Returns `true` if this is not the lane with a number.
    pub(super) fn number_is_not(&self, number: Option<usize>) -> bool {
        number != Some(self.number)
    }

    /// Wakes the backend without waiting for the result. Nothing is sent if it is awake, or another call wakes it.
    pub(super) fn wake(&self) {
        let handle = self.handle.clone();
        actix_rt::spawn(async move {
            let mut woken = handle.prewarm().await;
            if woken == Ok(Prewarm::Joined) {
                // The other call may be one that has just left.
                tokio::time::sleep(LEAVING).await;
                woken = handle.prewarm().await;
            }
            if let Err(error) = woken {
                tracing::debug!(lane = handle.name(), %error, "the backend was not woken");
            }
        });
    }
}
