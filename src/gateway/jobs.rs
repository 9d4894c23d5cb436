//! What jobs need, from the settings and the environment.

use std::sync::Arc;

use kebne_actors::ActorRef;
use kebne_jobs::{Jobs, JobsParts, JobsSettings, Keyring};

use crate::{
    gateway::{StartError, context::keyring_of},
    settings::{Environment, Settings},
    supervisor::Supervisor,
    unix_time,
};

/// Returns the keys of the store of jobs. An error comes with the setting that is to blame.
pub(super) fn keyring(
    settings: &JobsSettings,
    environment: &dyn Environment,
) -> Result<Option<Keyring>, (&'static str, String)> {
    let files = (&settings.key_file, &settings.old_keys_file);
    let variables = (&*settings.key_env, &*settings.old_keys_env);
    keyring_of(files, variables, environment)
}

/// Creates the handle of jobs. They are carried out once a worker is connected.
pub(super) fn start(
    supervisor: &ActorRef<Supervisor>,
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<Jobs, StartError> {
    let failed = |key, reason| StartError::Jobs { key, reason };
    let keyring = keyring(&settings.jobs, environment);
    let parts = JobsParts {
        settings: settings.jobs.clone(),
        keyring: keyring.map_err(|(key, reason)| failed(key, reason))?,
        clock: Arc::new(unix_time::millis),
    };
    let jobs = Jobs::new(supervisor, parts);
    match jobs.check() {
        Err(error @ kebne_jobs::StoreError::Failed(_)) => {
            tracing::error!(%error, "jobs cannot be read now");
        }
        checked => checked.map_err(|error| failed("path", error.to_string()))?,
    }
    Ok(jobs)
}
