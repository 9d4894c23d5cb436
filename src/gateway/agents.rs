//! What agents need, from the settings and the environment.

use std::sync::Arc;

use kebne_actors::ActorRef;
use kebne_agents::{Agents, AgentsParts, Keyring, SqliteStore, StoreError};

use crate::{
    gateway::{StartError, context::keyring_of},
    settings::{AgentStoreSettings, Environment, Settings},
    supervisor::Supervisor,
    unix_time,
};

/// Returns the keys of the store of agents. An error comes with the setting that is to blame.
pub(super) fn keyring(
    settings: &AgentStoreSettings,
    environment: &dyn Environment,
) -> Result<Option<Keyring>, (&'static str, String)> {
    let files = (&settings.key_file, &settings.old_keys_file);
    let variables = (&*settings.key_env, &*settings.old_keys_env);
    keyring_of(files, variables, environment)
}

/// Creates the handle of agents. They run once a host is connected.
pub(super) fn start(
    supervisor: &ActorRef<Supervisor>,
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<Agents, StartError> {
    let failed = |key, reason| StartError::Agents { key, reason };
    let keyring = keyring(&settings.agent_store, environment);
    let keyring = keyring.map_err(|(key, reason)| failed(key, reason))?;
    let store = SqliteStore::new(&settings.agent_store, keyring);
    match store.check() {
        Err(error @ StoreError::Failed(_)) => {
            tracing::error!(%error, "runs of agents cannot be read now");
        }
        checked => checked.map_err(|error| failed("path", error.to_string()))?,
    }
    let parts = AgentsParts {
        settings: settings.agent_store.clone(),
        store: Arc::new(store),
        clock: Arc::new(unix_time::millis),
    };
    Ok(Agents::new(supervisor, parts))
}
