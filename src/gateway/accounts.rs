//! The accounts of keys, from the settings.

use std::sync::{Arc, PoisonError};

use kebne_accounts::{Accounts, OpenShared, Sharing};
#[cfg(feature = "redis")]
use kebne_accounts::{SharedStore, StoreError};

#[cfg(not(feature = "redis"))]
use crate::settings::redis;
use crate::{
    gateway::{Gateway, StartError},
    settings::{AccountsStore, Environment, Settings},
    sharing::{self, ShareError},
    unix_time,
};

/// Creates the accounts. They are not written down yet.
///
/// # Errors
/// Returns an error if they are shared, and a secret cannot be read or the address is wrong. A server need not be there yet.
pub(super) fn new(
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<Accounts, ShareError> {
    let clock = Arc::new(unix_time::millis);
    let own = settings.accounts.clone();
    match own.store {
        AccountsStore::Sqlite => Ok(Accounts::new(own, clock)),
        AccountsStore::Redis => {
            let open = open_shared(settings, environment)?;
            let sharing = Sharing::new(sharing::member(&settings.share), open);
            Ok(Accounts::shared(own, clock, sharing))
        }
    }
}

#[cfg(feature = "redis")]
fn open_shared(
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<OpenShared, ShareError> {
    let options = crate::redis::options(&settings.redis, environment)?;
    Ok(Arc::new(move || {
        let store = kebne_redis::RedisAccounts::new(&options);
        let store = store.map_err(|error| StoreError(error.to_string()))?;
        Ok(Box::new(store) as Box<dyn SharedStore>)
    }))
}

#[cfg(not(feature = "redis"))]
fn open_shared(
    _settings: &Settings,
    _environment: &dyn Environment,
) -> Result<OpenShared, ShareError> {
    // The check of the settings refuses it before.
    Err(ShareError::new("accounts.store", redis::NOT_BUILT))
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
