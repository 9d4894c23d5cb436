//! The store of prompts, from the settings.

use std::sync::Arc;

use kebne_context::{Keyring, prompts::PromptStore};

use crate::{gateway::StartError, settings::Settings, unix_time};

/// Opens the store of prompts, which is encrypted with the key of sessions.
pub(super) fn store(
    settings: &Settings,
    master_key: Option<&Keyring>,
) -> Result<PromptStore, StartError> {
    let clock = Arc::new(unix_time::millis);
    let store = PromptStore::new(settings.prompt_store.clone(), master_key.cloned(), clock);
    store.map_err(|error| StartError::Prompts(error.to_string()))
}
