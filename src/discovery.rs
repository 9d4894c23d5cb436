//! Finds the replicas of backends while the service runs, and has the gateway follow them.
//!
//! A backend with `[backends.discovery]` is a pattern: each address that is found becomes a backend of its own, in the same
//! place of the same models. A backend whose address is no longer listed gets no new calls. If
//! the list is empty or cannot be read, the last addresses stay in use.

mod expand;
mod look;

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use futures_util::future::join_all;

use crate::{
    gateway::Gateway,
    settings::{BackendSettings, BaseUrl, Environment, Settings},
    state::State,
};

pub use expand::expand;

/// The time for the first look at all addresses; a backend without an answer starts without replicas.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// The addresses of the replicas of each backend that has them, by the backend's name.
pub type Addresses = BTreeMap<String, Vec<BaseUrl>>;

/// The replicas of all backends.
#[derive(Debug)]
pub struct Discovery {
    /// As they are set.
    settings: Settings,
    found: Addresses,
}

impl Discovery {
    /// Looks for the replicas of the settings for the first time.
    pub async fn start(settings: &Settings) -> Self {
        let mut discovery = Self {
            settings: settings.clone(),
            found: Addresses::new(),
        };
        for (name, looked) in discovery.look(FIRST_LOOK).await {
            discovery.take(&name, looked);
        }
        discovery
    }

    /// Returns the settings with the replicas in the place of their patterns.
    pub fn settings(&self) -> Settings {
        expand(&self.settings, &self.found)
    }

    /// Follows the replicas: looks for each backend's addresses now and then, and changes the gateway when they differ.
    pub async fn follow(
        mut self,
        gateway: &Gateway,
        state: &State,
        environment: &dyn Environment,
    ) -> Infallible {
        loop {
            let due = self.discovering().filter(|one| one.discovery.changes());
            let every = due.map(|one| one.discovery.every.get()).min();
            let Some(every) = every else {
                return std::future::pending().await;
            };
            tokio::time::sleep(every).await;
            let looks = self.look(every.max(FIRST_LOOK)).await;
            let mut changed = false;
            for (name, looked) in looks {
                changed |= self.take(&name, looked);
            }
            if changed {
                self.apply(gateway, state, environment).await;
            }
        }
    }

    /// Looks for the addresses of each backend that discovers them, for at most a time.
    async fn look(&self, most: Duration) -> Vec<(String, Result<Vec<BaseUrl>, String>)> {
        let looks = self.discovering().map(|backend| async move {
            let looked = tokio::time::timeout(most, look::look(backend)).await;
            let looked = looked.unwrap_or_else(|_| Err("there was no answer in time".to_owned()));
            (backend.name.clone(), looked)
        });
        join_all(looks).await
    }

    async fn apply(&self, gateway: &Gateway, state: &State, environment: &dyn Environment) {
        let settings = self.settings();
        match gateway.apply(&settings, environment).await {
            Ok(applied) => {
                let (started, retired) = (&applied.started, &applied.retired);
                tracing::info!(?started, ?retired, "the replicas have changed");
                state.lanes_changed(&settings, &applied);
            }
            Err(error) => tracing::error!(%error, "the replicas that were found cannot be used"),
        }
    }

    /// Takes the result of a look. Returns `true` if the addresses have changed.
    fn take(&mut self, name: &str, looked: Result<Vec<BaseUrl>, String>) -> bool {
        let before = self.found.get(name);
        match looked {
            Ok(addresses) if addresses.is_empty() => {
                tracing::warn!(
                    backend = name,
                    "no replica was found; the last ones are used"
                );
                false
            }
            Ok(addresses) if before == Some(&addresses) => false,
            Ok(addresses) => {
                self.found.insert(name.to_owned(), addresses);
                true
            }
            Err(error) => {
                tracing::warn!(
                    backend = name,
                    error,
                    "replicas cannot be looked for; the last ones are used"
                );
                false
            }
        }
    }

    fn discovering(&self) -> impl Iterator<Item = &BackendSettings> {
        let backends = self.settings.backends.iter();
        backends.filter(|backend| backend.discovery.is_on())
    }
}
