//! The certificate with which the service proves itself to callers.
//!
//! Owns the files of `server.tls` in the form that connections need. They are read again when they change: connections
//! that are opened later use the new certificate, open ones keep theirs. Files that cannot be used are logged, and the
//! certificate that was read before stays.

mod files;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, UNIX_EPOCH},
};

use rustls::ServerConfig;

use crate::{settings::tls::TlsSettings, unix_time};

use files::{Stamps, read};

/// A certificate whose time left is shorter is logged as a warning each time that it is read.
pub const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);

/// The reason why the files of `server.tls` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("server.tls.{key}: {reason}")]
pub struct TlsError {
    /// The key of the settings.
    pub key: &'static str,
    /// The reason, which names the file.
    pub reason: String,
}

/// The certificate of the service.
#[derive(Debug)]
pub struct Certificates {
    settings: TlsSettings,
    current: RwLock<Current>,
    /// The files as they were when they were last read, whether they could be used or not.
    seen: Mutex<Stamps>,
    /// Handshakes that failed or took too long.
    failed: AtomicU64,
}

/// What new connections use.
#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// The end of the certificate's time, in seconds since 1970.
    expires_at: u64,
}

impl Certificates {
    /// Reads the files of the settings; returns `None` if there are none.
    ///
    /// # Errors
    /// Returns an error that names the key of the file that cannot be used.
    pub fn load(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        if !settings.is_on() {
            return Ok(None);
        }
        let seen = Stamps::of(settings);
        let current = Current::load(settings)?;
        Ok(Some(Self {
            settings: settings.clone(),
            current: RwLock::new(current),
            seen: Mutex::new(seen),
            failed: AtomicU64::new(0),
        }))
    }

    /// Reads the files again. Connections that are opened from now on use what they hold.
    ///
    /// # Errors
    /// Returns an error that names the key of the file that cannot be used; nothing is changed then.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Stamps::of(&self.settings);
        match Current::load(&self.settings) {
            Ok(current) => {
                tracing::info!(expires_at = %date(current.expires_at), "the certificate was read");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                self.warn();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the certificate was not changed");
                Err(error)
            }
        }
    }

    /// Reads the files again whenever they change.
    pub async fn follow(self: Arc<Self>) -> Infallible {
        self.warn();
        loop {
            tokio::time::sleep(self.settings.check_every.get()).await;
            let certificates = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || certificates.reload_if_changed());
            if let Err(error) = looked.await {
                tracing::error!(%error, "the files of the certificate were not looked at");
            }
        }
    }

    fn reload_if_changed(&self) {
        let now = Stamps::of(&self.settings);
        let is_changed = *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != now;
        if is_changed {
            // The error is logged; the files are read again when they change again.
            let _unchanged = self.reload();
        }
    }

    /// Returns what a new connection uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.config)
    }

    /// Returns the end of the certificate's time, in seconds since 1970.
    pub fn expires_at(&self) -> u64 {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.expires_at
    }

    /// Counts a handshake that failed or took too long.
    pub(crate) fn handshake_failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// Returns the number of handshakes that failed or took too long.
    pub fn handshakes_failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Logs a certificate that expires soon.
    fn warn(&self) {
        let expires_at = self.expires_at();
        if expires_at < unix_time::seconds() + EXPIRES_SOON.as_secs() {
            tracing::warn!(expires_at = %date(expires_at), "the certificate of `server.tls` expires soon");
        }
    }
}

impl Current {
    fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let (config, expires_at) = read(settings)?;
        Ok(Self {
            config: Arc::new(config),
            expires_at,
        })
    }
}

/// Returns an error if the files of the settings cannot be used.
///
/// # Errors
/// See [`Certificates::load`].
pub fn check(settings: &TlsSettings) -> Result<(), TlsError> {
    Certificates::load(settings).map(drop)
}

/// Writes a time for people.
fn date(seconds: u64) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
