//! Access to the store for one question or one sweep.

use std::{sync::Arc, time::Duration};

use kebne_actors::Recipient;

use crate::{
    health::Health,
    messages::StoreLost,
    renamed::Renamed,
    store::{Alive, SessionStore, StoreError},
};

/// The store, with the timeout and the reporting of one question.
pub(crate) struct Access {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) timeout: Duration,
    pub(crate) health: Health,
    /// Where the loss of the store is reported.
    pub(crate) manager: Recipient<StoreLost>,
    pub(crate) incarnation: u64,
}

impl Access {
    /// Runs steps on the store. If the store has ended or hangs, the instance of the actor that it belongs to fails.
    pub(crate) async fn run<T>(
        &self,
        steps: impl AsyncFnOnce(&dyn SessionStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // A store that hangs is treated like one that has ended.
        let done = tokio::time::timeout(self.timeout, steps(&*self.store)).await;
        let result = done.unwrap_or(Err(StoreError::Lost));
        self.health.note(&result);
        if matches!(result, Err(StoreError::Lost)) {
            let incarnation = self.incarnation;
            // A manager that has stopped needs no report.
            let _needless_if_stopped = self.manager.tell(StoreLost { incarnation });
        }
        result
    }
}

/// Does the maintenance work in short steps, between which steps of callers run.
pub(crate) async fn sweep(
    access: &Access,
    alive: Alive,
    renamed: &Renamed,
) -> Result<(), StoreError> {
    for owner in renamed.owners() {
        while !access
            .run(async |store| renamed.settle(&owner, store).await)
            .await?
        {}
    }
    let mut expired = 0;
    loop {
        let tidied = access.run(async |store| store.tidy(alive).await).await?;
        expired += tidied.expired;
        if !tidied.has_more {
            break;
        }
    }
    if expired > 0 {
        tracing::info!(sessions = expired, "expired sessions were removed");
    }
    Ok(())
}
