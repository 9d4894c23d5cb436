//! The backends whose servers the gateway starts and stops, and what it does with these servers.

use std::sync::{Arc, Weak};

use kebne_control::LaneState;
use kebne_servers::{
    Failing, Health, Launch, Launcher, Means, Room, Server, ServerChanged, ServerParts,
    ServerReport,
};

use crate::{
    backend::{BuildError, LAUNCH, ModelBackend, OwnedBackend, owned::PathAnswers},
    gateway::{Gateway, GatewayError, Inner, StartError, hooks, lane::LaneParts},
    settings::{BackendSettings, BaseUrl, Environment, ProcessSettings},
};

/// The address of a process, without its port.
const BASE_URL: &str = "http://127.0.0.1/v1";

/// A backend, and its server if the gateway starts and stops it.
pub(super) struct Owned {
    pub(super) backend: Arc<ModelBackend>,
    pub(super) server: Option<Arc<OwnedServer>>,
}

/// A server that the gateway starts and stops; dropping it removes the server.
pub(super) struct OwnedServer {
    server: Server,
    /// The port of a process.
    port: Option<u16>,
}

impl OwnedServer {
    /// Returns how the server fails; `None` if it serves, or is expected to when it is started.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.server.failing()
    }
}

impl Drop for OwnedServer {
    fn drop(&mut self) {
        self.server.remove();
    }
}

/// Makes the backend of the settings, and adds its server.
pub(super) async fn build(
    settings: &BackendSettings,
    parts: &LaneParts<'_>,
) -> Result<Owned, StartError> {
    if let Some(server) = kept(settings, parts) {
        let client = match server.port {
            Some(port) => client(&at_port(settings, port)?, parts)?,
            None => client(settings, parts)?,
        };
        return Ok(owned(client, server));
    }
    if let Some(process) = &settings.process {
        let launch = launch(settings, process, parts)?;
        let port = launch.port();
        let client = client(&at_port(settings, port)?, parts)?;
        let server = ServerParts {
            name: settings.name.as_str().into(),
            means: Means::Process(Arc::new(launch)),
            health: Some(health(&client, &process.health)),
            device: process.device.as_str().into(),
            room: process.room(),
            stay: process.stay(),
            load_times: parts.load_times.clone(),
        };
        let server = parts.servers.add(server).await?;
        let port = Some(port);
        return Ok(owned(client, Arc::new(OwnedServer { server, port })));
    }
    let client = client(settings, parts)?;
    let Some(hooks) = &settings.hooks else {
        return Ok(Owned {
            backend: client,
            server: None,
        });
    };
    let server = ServerParts {
        name: settings.name.as_str().into(),
        means: Means::Hooks {
            hooks: hooks::build(settings, hooks, parts.environment)?,
            start_timeout: hooks.start_timeout.get(),
            sleep_timeout: hooks.sleep_timeout.get(),
        },
        health: hooks.health.as_ref().map(|path| health(&client, path)),
        // It shares nothing with others.
        device: format!("hooks of {}", settings.name).into(),
        room: Room::NONE,
        stay: hooks.stay(),
        load_times: parts.load_times.clone(),
    };
    let server = parts.servers.add(server).await?;
    let port = None;
    Ok(owned(client, Arc::new(OwnedServer { server, port })))
}

/// Returns the server of the lane that is replaced, if the new lane has the same one.
fn kept(settings: &BackendSettings, parts: &LaneParts<'_>) -> Option<Arc<OwnedServer>> {
    let former = parts.former?;
    let before = &former.settings;
    let is_same = before.process == settings.process && before.hooks == settings.hooks;
    former.server.clone().filter(|_| is_same)
}

fn owned(client: Arc<ModelBackend>, server: Arc<OwnedServer>) -> Owned {
    let backend = OwnedBackend::new(client, server.server.clone());
    Owned {
        backend: Arc::new(ModelBackend::Owned(Box::new(backend))),
        server: Some(server),
    }
}

fn health(client: &Arc<ModelBackend>, path: &str) -> Arc<dyn Health> {
    Arc::new(PathAnswers {
        client: Arc::clone(client),
        path: path.to_owned(),
    })
}

fn client(
    settings: &BackendSettings,
    parts: &LaneParts<'_>,
) -> Result<Arc<ModelBackend>, BuildError> {
    let backend = ModelBackend::build(settings, parts.environment)?;
    let backend = backend.with_answer_budget(parts.answers);
    let backend = backend.with_agents(parts.agents);
    #[cfg(feature = "mcp")]
    if let Some(server) = backend.mcp() {
        server.start(parts.pins);
    }
    Ok(Arc::new(backend))
}

fn launch(
    settings: &BackendSettings,
    process: &ProcessSettings,
    parts: &LaneParts<'_>,
) -> Result<Launch, BuildError> {
    let variable = |name: &str| parts.environment.get(name).ok().flatten();
    let launcher = launcher(parts.environment);
    let launch = Launch::new(process, variable, launcher, fastrand::u64(..));
    launch.map_err(|error| BuildError::Setting {
        backend: settings.name.clone(),
        key: "process.port",
        reason: error.to_string(),
    })
}

/// Returns the program that has the kernel end a process with this one.
pub(super) fn launcher(environment: &dyn Environment) -> Option<Launcher> {
    environment.program().map(|program| Launcher {
        program,
        args: vec![LAUNCH.to_owned()],
    })
}

/// Returns the settings with the address of a process.
pub(super) fn at_port(
    settings: &BackendSettings,
    port: u16,
) -> Result<BackendSettings, BuildError> {
    let given = settings.base_url.as_ref().map_or(BASE_URL, BaseUrl::expose);
    let wrong = |reason: String| BuildError::Setting {
        backend: settings.name.clone(),
        key: "base_url",
        reason,
    };
    let mut url = reqwest::Url::parse(given).map_err(|error| wrong(error.to_string()))?;
    if url.set_port(Some(port)).is_err() {
        return Err(wrong("has no port".to_owned()));
    }
    let mut at_port = settings.clone();
    at_port.base_url = Some(BaseUrl::new(url));
    Ok(at_port)
}

impl Gateway {
    /// Asks the backends of servers at once that begin to serve: their lanes would do it within two seconds.
    pub(super) fn follow_servers(&self) {
        let inner = Arc::downgrade(&self.inner);
        self.inner
            .servers
            .on_change(move |changed| ask(&inner, &changed));
    }

    /// Returns what operators see of the servers that the gateway starts and stops.
    pub async fn servers(&self) -> Vec<ServerReport> {
        self.inner.servers.reports().await
    }

    /// Has the server of a backend loaded as soon as there is room, or stopped when its last call has ended.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its server is not one that the gateway starts.
    pub fn operate_server(&self, backend: &str, is_loaded: bool) -> Result<(), GatewayError> {
        let lane = self.lane(backend)?;
        let server = lane.server.as_ref();
        let server = server.ok_or_else(|| GatewayError::NoServer(backend.to_owned()))?;
        if is_loaded {
            server.server.load();
        } else {
            server.server.unload();
        }
        Ok(())
    }

    /// Stops all servers that the gateway has started; returns when nothing is left of them.
    pub async fn stop_servers(&self) {
        self.inner.servers.stop_all().await;
    }
}

/// Asks the backend of a server that serves.
fn ask(inner: &Weak<Inner>, changed: &ServerChanged) {
    let Some(inner) = inner.upgrade().filter(|_| changed.is_ready) else {
        return;
    };
    let gateway = Gateway { inner };
    let Ok(lane) = gateway.lane(&changed.name) else {
        return;
    };
    if !matches!(lane.handle.state(), LaneState::Cold | LaneState::Open) {
        return;
    }
    actix_rt::spawn(async move {
        if let Err(error) = lane.handle.prewarm_at_once().await {
            tracing::debug!(lane = lane.name(), %error, "the backend was not asked");
        }
    });
}
