//! Changes the lanes and the models while the gateway serves.
//!
//! A backend whose settings are as they were keeps its lane. One that is new, or whose settings have changed, gets a new lane.
//! The lanes that are no longer wanted get no new calls and stop when their last call has ended.

use std::sync::{Arc, PoisonError, atomic::Ordering::SeqCst};

use crate::{
    gateway::{
        Gateway, StartError, health,
        lane::{Lane, LaneParts},
        table::Table,
    },
    settings::{BackendSettings, Environment, Settings},
};

/// What a change has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
        let mut lanes = Vec::with_capacity(settings.backends.len());
        let mut started = Vec::new();
        for backend in &settings.backends {
            let mut kept = before.lanes.iter();
            if let Some(kept) = kept.find(|lane| lane.settings == *backend) {
                lanes.push(Arc::clone(kept));
                continue;
            }
            match self.start_lane(backend, settings, environment).await {
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
        let table = Arc::new(Table::new(settings, lanes, &before));
        *self
            .inner
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::clone(&table);
        let is_kept = |lane: &&Arc<Lane>| table.lanes.iter().any(|kept| Arc::ptr_eq(kept, lane));
        let retired: Vec<_> = before.lanes.iter().filter(|lane| !is_kept(lane)).collect();
        let names =
            |lanes: &[&Arc<Lane>]| lanes.iter().map(|lane| lane.name().to_owned()).collect();
        let applied = Applied {
            started: names(&started.iter().collect::<Vec<_>>()),
            retired: names(&retired),
        };
        for lane in retired {
            self.retire(Arc::clone(lane));
        }
        let named: Vec<_> = table.lanes.iter().map(|lane| lane.name()).collect();
        self.inner.fallbacks.keep(&named);
        Ok(applied)
    }

    /// Starts the lane of a backend on the next thread.
    async fn start_lane(
        &self,
        backend: &BackendSettings,
        settings: &Settings,
        environment: &dyn Environment,
    ) -> Result<Arc<Lane>, StartError> {
        let inner = &self.inner;
        let number = inner.lanes_started.fetch_add(1, SeqCst);
        let thread = inner.threads.get(number % inner.threads.len().max(1));
        let thread = thread.ok_or_else(|| StartError::NoThread(backend.name.clone()))?;
        let learned = inner.learned.as_ref();
        let known = learned.and_then(|learned| {
            let learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.of(backend)
        });
        let parts = LaneParts {
            settings,
            environment,
            supervisor: &inner.supervisor,
            answers: &inner.answers,
        };
        let lane = Arc::new(Lane::start(number, backend, known, thread, &parts).await?);
        health::watch(&lane);
        Ok(lane)
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
