//! Requests to read the settings again, their results, and what is known of the last one.
//!
//! The service carries them out one after another (`service::steering`). This module is what the rest of the program shares with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    gateway::{Applied, StartError},
    settings::{ChangedKey, CompareError, KeptKey, LogSettings, Settings, SettingsErrors},
    unix_time,
};

/// The number of requests that may wait. A request that finds no room waits for it.
const WAITING_MAX: usize = 8;

/// Where the settings are read again.
pub trait Source {
    /// Reads all layers of the settings and validates the result, without changing anything.
    ///
    /// # Errors
    /// Returns every error, with its place.
    fn read(&self) -> Result<Settings, SettingsErrors>;

    /// Has the log follow its settings.
    fn change_log(&self, settings: &LogSettings);
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGHUP.
    BySignal,
    /// An administrator, through the API.
    ByApi,
}

impl Asked {
    /// Returns the word for the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::BySignal => "signal",
            Self::ByApi => "api",
        }
    }
}

/// What a reload has done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The keys whose new values are in effect.
    pub changed: Vec<ChangedKey>,
    /// The keys whose new values take effect at the next start.
    pub needs_restart: Vec<KeptKey>,
    /// The backends that have started, and those that are gone or were started anew.
    pub backends: Applied,
}

/// The reason why a reload has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The settings are wrong.
    #[error("the settings are wrong:\n{0}")]
    Settings(#[from] SettingsErrors),
    /// The settings are wrong together with those that stay as they are until the next start.
    #[error("the settings contradict those that cannot change while the service runs ({}):\n{errors}", names(.kept))]
    Contradiction {
        /// The errors.
        errors: SettingsErrors,
        /// The keys that keep their values.
        kept: Vec<KeptKey>,
    },
    /// The settings name no key any more, so that everybody would be served.
    #[error(
        "`server.keys` is empty now, and everybody would be served: a file may be missing or cut off; restart to serve without keys"
    )]
    NoKeys,
    /// What the settings describe cannot be started.
    #[error("what the settings describe cannot be started: {0}")]
    Start(#[from] StartError),
    /// The settings cannot be compared with those in effect.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The service was started without settings that can be read again.
    #[error("the service was not started from settings that can be read again")]
    NoSource,
    /// The service stops.
    #[error("the service stops")]
    Stopping,
}

fn names(kept: &[KeptKey]) -> String {
    let names = kept.iter().map(|kept| format!("`{}`", kept.key));
    names.collect::<Vec<_>>().join(", ")
}

/// What is known of the reloads since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReloadStatus {
    /// Those that were applied.
    pub applied: u64,
    /// Those that were refused.
    pub refused: u64,
    /// When the settings in effect were last read, in seconds since 1970.
    pub read_at: u64,
    /// Why the last one was refused; `None` if it was applied.
    pub error: Option<String>,
    /// The keys whose values take effect at the next start.
    pub needs_restart: Vec<KeptKey>,
}

/// One request, with where its result goes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) asked: Asked,
    pub(crate) result: oneshot::Sender<Result<Report, ReloadError>>,
}

/// Asks for reloads; clones share one service.
#[derive(Clone, Debug)]
pub struct Reloader {
    requests: mpsc::Sender<Request>,
    status: Arc<Mutex<ReloadStatus>>,
}

/// The requests of a [`Reloader`].
pub(crate) type Requests = mpsc::Receiver<Request>;

impl Reloader {
    /// Creates a reloader, and the requests for the service.
    pub(crate) fn new() -> (Self, Requests) {
        let (requests, received) = mpsc::channel(WAITING_MAX);
        let status = ReloadStatus {
            read_at: unix_time::seconds(),
            ..ReloadStatus::default()
        };
        let reloader = Self {
            requests,
            status: Arc::new(Mutex::new(status)),
        };
        (reloader, received)
    }

    /// Has the settings read again; returns once they are in effect.
    ///
    /// # Errors
    /// See [`ReloadError`]; nothing has changed then.
    pub async fn reload(&self, asked: Asked) -> Result<Report, ReloadError> {
        let (result, received) = oneshot::channel();
        let sent = self.requests.send(Request { asked, result }).await;
        sent.map_err(|_| ReloadError::Stopping)?;
        received.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Returns what is known of the reloads since the start.
    pub fn status(&self) -> ReloadStatus {
        self.lock().clone()
    }

    /// Takes note of a result, and writes it to the log.
    pub(crate) fn note(&self, asked: Asked, result: &Result<Report, ReloadError>) {
        let by = asked.label();
        let mut status = self.lock();
        match result {
            Ok(report) => {
                status.applied += 1;
                status.read_at = unix_time::seconds();
                status.error = None;
                status.needs_restart.clone_from(&report.needs_restart);
                let changed = report.changed.iter().map(|changed| &changed.key);
                let changed: Vec<_> = changed.collect();
                let Applied { started, retired } = &report.backends;
                tracing::info!(
                    event = "settings_reloaded",
                    by,
                    ?changed,
                    ?started,
                    ?retired,
                    "the settings were read again"
                );
                for kept in &report.needs_restart {
                    let (key, reason) = (&kept.key, kept.reason);
                    tracing::warn!(
                        event = "settings_need_restart",
                        key,
                        reason,
                        "a setting takes effect at the next start"
                    );
                }
            }
            Err(error) => {
                status.refused += 1;
                status.error = Some(error.to_string());
                tracing::error!(event = "settings_refused", by, %error, "the settings were read again and refused; nothing has changed");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReloadStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
