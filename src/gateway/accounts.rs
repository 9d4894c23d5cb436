//! The accounts of keys, from the settings.

use std::sync::{Arc, PoisonError};

use kebne_accounts::Accounts;

use crate::{
    gateway::{Gateway, StartError},
    settings::Settings,
    unix_time,
};

/// Creates the accounts. They are not written down yet.
pub(super) fn new(settings: &Settings) -> Accounts {
    Accounts::new(settings.accounts.clone(), Arc::new(unix_time::millis))
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
