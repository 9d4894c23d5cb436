//! Snapshots, written beside the commands.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext as _, WrapFuture};
use kebne_actors::Context;

use super::{Entity, EventSourced, Persistence, Retention, Snapshotting};
use crate::journal::{Journal, JournalError, Recorded};

/// Whether a snapshot is being written. A multiple that is reached meanwhile gets none.
#[derive(Debug, Default)]
pub(super) struct Saving(bool);

impl<S: EventSourced> Entity<S> {
    /// Begins to write a snapshot if the events behind `before` reached a multiple.
    pub(super) fn save_snapshot(&mut self, before: u64, ctx: &mut Context<Self>) {
        let Some(snapshots) = &self.persistence.snapshots else {
            return;
        };
        let every = snapshots.retention.every;
        if before / every == self.sequence / every || self.saving.0 {
            return;
        }
        let sequence = self.sequence;
        let payload = match snapshots.codec.encode(&self.state) {
            Ok(payload) => payload,
            Err(error) => {
                let failed = JournalError::Failed(error.to_string());
                self.snapshot_ended(&Err(failed), ctx);
                return;
            }
        };
        self.saving.0 = true;
        let snapshot = Recorded { sequence, payload };
        let saved = save(Arc::clone(&self.id), self.persistence.clone(), snapshot);
        let saved = saved.into_actor(self);
        ctx.spawn(saved.map(|saved, entity: &mut Self, ctx| {
            entity.saving.0 = false;
            entity.snapshot_ended(&saved, ctx);
        }));
    }

    fn snapshot_ended(&self, saved: &Result<u64, JournalError>, ctx: &mut Context<Self>) {
        if let Err(error) = saved {
            tracing::warn!(id = &*self.id, %error, "no snapshot was written");
        }
        self.state.snapshot_saved(saved.as_ref().copied(), ctx);
    }
}

async fn save<S: EventSourced>(
    id: Arc<str>,
    persistence: Persistence<S>,
    snapshot: Recorded,
) -> Result<u64, JournalError> {
    let sequence = snapshot.sequence;
    if let Some(snapshots) = &persistence.snapshots {
        snapshots.store.save(&id, snapshot).await?;
        if let Err(error) = tidy(&id, snapshots, &*persistence.journal, sequence).await {
            tracing::warn!(id = &*id, %error, "obsolete snapshots or events were not deleted");
        }
    }
    Ok(sequence)
}

/// Deletes what the snapshots that are kept do not need.
async fn tidy<S: EventSourced>(
    id: &str,
    snapshots: &Snapshotting<S>,
    journal: &dyn Journal,
    sequence: u64,
) -> Result<(), JournalError> {
    let retention: Retention = snapshots.retention;
    let obsolete = retention.obsolete(sequence);
    if obsolete == 0 {
        return Ok(());
    }
    snapshots.store.delete_snapshots(id, obsolete).await?;
    if retention.delete_events {
        journal.delete(id, obsolete).await?;
    }
    Ok(())
}
