//! The accounts of keys, from the settings.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use actix_rt::ArbiterHandle;
use kebne_accounts::Accounts;
use kebne_actors::ActorRef;

use crate::{gateway::StartError, settings::Settings, supervisor::Supervisor};

/// Creates the accounts. If the settings have keys, also starts the actor that writes them down, on a thread of its own, which is
/// returned; otherwise nobody has an account, and no file is used.
pub(super) async fn start(
    settings: &Settings,
    supervisor: &ActorRef<Supervisor>,
) -> Result<(Accounts, Option<ArbiterHandle>), StartError> {
    let accounts = Accounts::new(settings.accounts.clone(), Arc::new(unix_millis));
    if settings.server.keys.is_empty() {
        return Ok((accounts, None));
    }
    let thread = actix_rt::Arbiter::new().handle();
    accounts.start_under(supervisor, thread.clone()).await?;
    Ok((accounts, Some(thread)))
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
