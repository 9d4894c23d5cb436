//! Finds the replicas of backends while the service runs.
//!
//! A backend with `[backends.discovery]` is a pattern: each address that is found becomes a backend of its own, in the same
//! place of the same models. A backend whose address is no longer listed gets no new calls. If
//! the list is empty or cannot be read, the last addresses stay in use.

mod expand;
mod look;
mod srv;

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;

use crate::settings::{BackendSettings, BaseUrl, Settings};

pub use expand::expand;

/// The time for the first look at all addresses; a backend without an answer starts without replicas.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// The addresses of the replicas of each backend that has them, by the backend's name.
pub type Addresses = BTreeMap<String, Vec<Address>>;

/// The addresses that were found for each backend that was looked at, or why they were not.
pub type Looks = Vec<(String, Result<Vec<Address>, String>)>;

/// The address of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its base URL.
    pub url: BaseUrl,
    /// Its priority in the SRV record: those with a higher number are used when those with a lower one cannot serve. Else 0.
    pub priority: u16,
    /// Its share of the calls in the SRV record, relative to the others. Else 0.
    pub weight: u16,
}

impl From<BaseUrl> for Address {
    fn from(url: BaseUrl) -> Self {
        Self {
            url,
            priority: 0,
            weight: 0,
        }
    }
}

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
        let nothing = Self {
            settings: Settings::default(),
            found: Addresses::new(),
        };
        nothing.changed(settings).await
    }

    /// Looks for the replicas of other settings. Those of backends that are discovered as before are known.
    pub async fn changed(&self, settings: &Settings) -> Self {
        let mut changed = Self {
            settings: settings.clone(),
            found: Addresses::new(),
        };
        let mut found = Addresses::new();
        for backend in changed.discovering() {
            let mut before = self.discovering();
            let is_same = |before: &&BackendSettings| {
                before.name == backend.name
                    && before.discovery == backend.discovery
                    && before.base_url == backend.base_url
            };
            if before.any(|before| is_same(&before))
                && let Some(known) = self.found.get(&backend.name)
            {
                found.insert(backend.name.clone(), known.clone());
            }
        }
        changed.found = found;
        let is_unknown = |name: &str| !changed.found.contains_key(name);
        let looks = changed.look(FIRST_LOOK, is_unknown).await;
        changed.take_all(looks);
        changed
    }

    /// Returns the settings with the replicas in the place of their patterns.
    pub fn settings(&self) -> Settings {
        expand(&self.settings, &self.found)
    }

    /// Returns the time between two looks; `None` if no replica can appear or leave.
    pub fn every(&self) -> Option<Duration> {
        let changing = self.discovering().filter(|one| one.discovery.changes());
        changing.map(|one| one.discovery.every.get()).min()
    }

    /// Looks for the addresses of all backends that discover them. Nothing is taken over yet.
    pub async fn look_again(&self) -> Looks {
        let most = self.every().unwrap_or_default().max(FIRST_LOOK);
        self.look(most, |_| true).await
    }

    /// Takes the results of looks. Returns `true` if addresses have changed.
    pub fn take_all(&mut self, looks: Looks) -> bool {
        let mut is_changed = false;
        for (name, looked) in looks {
            is_changed |= self.take(&name, looked);
        }
        is_changed
    }

    /// Looks for the addresses of each backend that discovers them and is wanted, for at most a time.
    async fn look(&self, most: Duration, is_wanted: impl Fn(&str) -> bool) -> Looks {
        let wanted = self
            .discovering()
            .filter(|backend| is_wanted(&backend.name));
        let looks = wanted.map(|backend| async move {
            let looked = tokio::time::timeout(most, look::look(backend)).await;
            let looked = looked.unwrap_or_else(|_| Err("there was no answer in time".to_owned()));
            (backend.name.clone(), looked)
        });
        join_all(looks).await
    }

    /// Takes the result of a look. Returns `true` if the addresses have changed.
    fn take(&mut self, name: &str, looked: Result<Vec<Address>, String>) -> bool {
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
