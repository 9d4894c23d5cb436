//! The accounts of keys, from the settings.

use std::{
    sync::{Arc, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use kebne_accounts::Accounts;

use crate::{
    gateway::{Gateway, StartError},
    settings::Settings,
};

/// Creates the accounts. They are not written down yet.
pub(super) fn new(settings: &Settings) -> Accounts {
    Accounts::new(settings.accounts.clone(), Arc::new(unix_millis))
}

impl Gateway {
    /// Starts the actor that writes the accounts down, on a thread of its own, if the settings have keys and it does not run.
    /// Without keys nobody has an account, and no file is used.
    ///
    /// # Errors
    /// Returns an error if the actor does not start.
    pub async fn start_accounts(&self, settings: &Settings) -> Result<(), StartError> {
        let inner = &self.inner;
        if settings.server.keys.is_empty() || inner.accounts.is_started() {
            return Ok(());
        }
        let thread = actix_rt::Arbiter::new().handle();
        let started = inner
            .accounts
            .start_under(&inner.supervisor, thread.clone());
        started.await?;
        let mut kept = inner
            .accountant_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = Some(thread);
        Ok(())
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
