//! Access to the store for one question or one sweep.

use std::{sync::Arc, time::Duration};

use kebne_actors::Recipient;

use crate::{
    health::{Effect, Health},
    messages::StoreLost,
    renamed::Renamed,
    store::{Alive, SessionStore, StoreError},
};

/// The part of the time of a question after which its step counts as hanging. The rest is the time before the step
/// began.
const HANGS_AFTER: f64 = 0.75;

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
    /// Runs steps on the store. If the store has ended or hangs, the instance of the actor that it belongs to fails. A
    /// question that only waited too long for others is refused alone.
    pub(crate) async fn run<T>(
        &self,
        effect: Effect,
        steps: impl AsyncFnOnce(&dyn SessionStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = tokio::time::timeout(self.timeout, steps(&*self.store)).await;
        let result = match done {
            Ok(result) => result,
            // A store that hangs is treated like one that has ended.
            Err(_) if self.hangs() => Err(StoreError::Lost),
            Err(_) => Err(StoreError::Busy),
        };
        if !matches!(result, Err(StoreError::Busy)) {
            self.health.note(effect, &result);
        }
        if matches!(result, Err(StoreError::Lost)) {
            let incarnation = self.incarnation;
            // A manager that has stopped needs no report.
            let _needless_if_stopped = self.manager.tell(StoreLost { incarnation });
        }
        result
    }

    /// Returns `true` if the step that runs now has had most of the time of a question. The time for which a question
    /// waited for others is not taken as a sign of a store that hangs.
    fn hangs(&self) -> bool {
        let lasts = self.store.step_lasts();
        lasts.is_none_or(|lasts| lasts >= self.timeout.mul_f64(HANGS_AFTER))
    }

    /// Waits until it is known whether the store can be written. If the last write failed, one question at a time tries
    /// it again; the others are refused.
    ///
    /// # Errors
    /// Returns the reason why the store cannot be written.
    pub(crate) async fn can_write(&self) -> Result<(), StoreError> {
        let Some(probe) = self.health.probe()? else {
            return Ok(());
        };
        let bytes = probe.bytes;
        let write = async |store: &dyn SessionStore| store.probe(bytes).await;
        self.run(Effect::Writes(bytes), write).await
    }
}

/// Does the maintenance work in short steps, between which steps of callers run.
pub(crate) async fn sweep(
    access: &Access,
    alive: Alive,
    renamed: &Renamed,
) -> Result<(), StoreError> {
    access.can_write().await?;
    for owner in renamed.owners() {
        while !access
            .run(Effect::MayWrite, async |store| {
                renamed.settle(&owner, store).await
            })
            .await?
        {}
    }
    let mut expired = 0;
    loop {
        let tidied = access
            .run(Effect::MayWrite, async |store| store.tidy(alive).await)
            .await?;
        expired += tidied.expired;
        if !tidied.has_more {
            break;
        }
    }
    // What was removed is erased from the file; now from its log too.
    access
        .run(Effect::MayWrite, async |store| store.empty_log().await)
        .await?;
    if expired > 0 {
        tracing::info!(sessions = expired, "expired sessions were removed");
    }
    Ok(())
}
