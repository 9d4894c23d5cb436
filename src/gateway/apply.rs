//! Changes the lanes and the models while the gateway serves.
//!
//! A backend whose settings are as they were, secrets in files included, keeps its lane. One that is new, or whose settings have
//! changed, gets a new lane.
//! The lanes that are no longer wanted get no new calls and stop when their last call has ended.

use std::sync::{Arc, PoisonError, atomic::Ordering::SeqCst};

use kebne_control::LoadTimes;
use kebne_lane::Service;
use serde::Serialize;

use crate::{
    backend::wake,
    cost::Prices,
    gateway::{
        Gateway, StartError, health,
        lane::{Known, Lane, LaneParts},
        sharing,
        table::Table,
    },
    learned::is_same_server,
    settings::{BackendSettings, Environment, Settings},
};

/// What a change has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The backends that have new lanes.
    pub started: Vec<String>,
    /// The backends that are gone, or whose lanes were replaced.
    pub retired: Vec<String>,
}

impl Applied {
    /// Returns `true` if nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.started.is_empty() && self.retired.is_empty()
    }
}

impl Gateway {
    /// Makes the backends and the models those of the settings, without losing a call: calls that lanes have admitted are
    /// served by them, even if their backends are gone from the settings. Changes are made one after another.
    ///
    /// # Errors
    /// Returns an error if a backend cannot be made of its settings; nothing has changed then.
    pub async fn apply(
        &self,
        settings: &Settings,
        environment: &dyn Environment,
    ) -> Result<Applied, StartError> {
        let _one_at_a_time = self.inner.applying.lock().await;
        let before = self.table();
        self.inner.servers.set_devices(settings.servers.rooms());
        let mut lanes = Vec::with_capacity(settings.backends.len());
        let (mut started, mut kept) = (Vec::new(), Vec::new());
        for backend in &settings.backends {
            let mut known = before.lanes.iter();
            if let Some(known) = known.find(|lane| lane.is_of(backend)) {
                lanes.push(Arc::clone(known));
                kept.push(Arc::clone(known));
                continue;
            }
            let former = before.lane(&backend.name);
            match self
                .start_lane(backend, former, settings, environment)
                .await
            {
                Ok(lane) => {
                    started.push(Arc::clone(&lane));
                    lanes.push(lane);
                }
                Err(error) => {
                    for lane in started {
                        lane.handle.stop().await;
                    }
                    return Err(error);
                }
            }
        }
        wake_as(settings, &kept);
        self.inner
            .table
            .replace(Table::new(settings, lanes, &before));
        self.inner.prices.replace(Prices::new(settings));
        let table = self.table();
        let is_kept = |lane: &&Arc<Lane>| table.lanes.iter().any(|kept| Arc::ptr_eq(kept, lane));
        let retired: Vec<_> = before.lanes.iter().filter(|lane| !is_kept(lane)).collect();
        let names =
            |lanes: &[&Arc<Lane>]| lanes.iter().map(|lane| lane.name().to_owned()).collect();
        let applied = Applied {
            started: names(&started.iter().collect::<Vec<_>>()),
            retired: names(&retired),
        };
        self.decide_again(&started).await;
        prewarm(&started).await;
        for lane in retired {
            self.retire(Arc::clone(lane));
        }
        let named: Vec<_> = table.lanes.iter().map(|lane| lane.name()).collect();
        self.inner.fallbacks.keep(&named);
        self.inner.refusals.keep(&named);
        Ok(applied)
    }

    /// Starts the lane of a backend on the next thread. A lane of the same name that it replaces (`former`) hands over what it
    /// has learned of the same server, and whether an operator has taken it out of service.
    async fn start_lane(
        &self,
        backend: &BackendSettings,
        former: Option<&Arc<Lane>>,
        settings: &Settings,
        environment: &dyn Environment,
    ) -> Result<Arc<Lane>, StartError> {
        let inner = &self.inner;
        let number = inner.lanes_started.fetch_add(1, SeqCst);
        let thread = inner.threads.of(number);
        let same = former.filter(|former| is_same_server(&former.settings, backend));
        let known = match same {
            Some(former) => Known::Continues(former),
            None => self.learned_earlier(backend),
        };
        let parts = LaneParts {
            settings,
            environment,
            supervisor: &inner.supervisor,
            answers: &inner.answers,
            agents: &inner.agents,
            servers: &inner.servers,
            sharing: inner.sharing.as_ref(),
            #[cfg(feature = "mcp")]
            pins: &inner.mcp.pins,
            former: former.map(|former| &**former),
            load_times: self.load_times_earlier(backend),
        };
        let lane = Arc::new(Lane::start(number, backend, known, &thread, &parts).await?);
        if let Some(former) = former {
            take_out_as(&lane, former).await;
        }
        health::watch(&lane);
        sharing::watch(&lane);
        Ok(lane)
    }

    /// Returns what an earlier process has learned of a backend.
    fn learned_earlier(&self, backend: &BackendSettings) -> Known<'static> {
        let learned = self.inner.learned.as_ref().and_then(|learned| {
            let learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.of(backend)
        });
        learned.map_or(Known::Nothing, Known::Earlier)
    }

    /// Returns the load times of the server of a backend that an earlier process has learned.
    fn load_times_earlier(&self, backend: &BackendSettings) -> LoadTimes {
        let learned = self.inner.learned.as_ref();
        learned.map_or_else(LoadTimes::default, |learned| {
            let learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.load_times(&backend.name)
        })
    }

    /// Lets a lane serve the calls that it has admitted, and stops it then.
    fn retire(&self, lane: Arc<Lane>) {
        self.retired().push(Arc::clone(&lane));
        let gateway = self.clone();
        actix_rt::spawn(async move {
            lane.handle.drain().await;
            lane.handle.when_idle().await;
            gateway.note_learned(&lane);
            lane.handle.stop().await;
            tracing::info!(lane = lane.name(), "the lane has served its last call");
            gateway.retired().retain(|other| !Arc::ptr_eq(other, &lane));
        });
    }
}

/// Wakes the backends that are to be woken when their lanes start. One that cannot be woken is logged: callers may still
/// reach it.
async fn prewarm(started: &[Arc<Lane>]) {
    let wanted = started.iter().filter(|lane| lane.settings.prewarm.at_start);
    for lane in wanted {
        let backend = lane.name();
        match lane.handle.prewarm().await {
            Ok(_) => tracing::info!(backend, "the backend is being woken"),
            Err(error) => tracing::warn!(backend, %error, "the backend was not woken"),
        }
    }
}

/// Has the wake calls of lanes that stay follow the models and the bounds of the settings.
fn wake_as(settings: &Settings, lanes: &[Arc<Lane>]) {
    let woken = lanes.iter().filter(|lane| !lane.settings.is_made());
    for lane in woken {
        match wake::call(&lane.settings, settings) {
            Ok((request, options)) => lane.handle.set_wake_request(request, options),
            // The lane was started with the same body.
            Err(error) => {
                tracing::error!(lane = lane.name(), %error, "the wake call stays as it was");
            }
        }
    }
}

/// Takes a lane out of service if the one that it replaces is.
async fn take_out_as(lane: &Lane, former: &Lane) {
    match former.handle.service() {
        Service::Open => {}
        Service::Draining | Service::Drained => lane.handle.drain().await,
        Service::Closed => {
            let reason = former.handle.closed();
            if lane
                .handle
                .close(reason.as_deref().unwrap_or_default())
                .await
                .is_err()
            {
                tracing::error!(
                    lane = lane.name(),
                    "the lane was not closed as the one before it"
                );
            }
        }
    }
}
