//! One batch of chunks, from the store to the embedder and back.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use super::IngesterParts;
use crate::embedding::{self, NotNow};

/// The chunks that are embedded together: enough to fill a batch of a model, and few to be lost if the process ends.
const BATCH: usize = 32;

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batched {
    /// There may be more.
    Stored,
    /// It waits for a budget of its owner; there may be more of other owners.
    PutOff,
    /// There is none, except of owners whose budgets have no room.
    NoneLeft,
    /// The embedder or the store is away.
    Away,
}

impl IngesterParts {
    /// Embeds the next batch of chunks.
    pub(super) async fn embed_next(&self, last_owner: &AtomicI64) -> Batched {
        let last = last_owner.load(Relaxed);
        let unpaid = self.unpaid.owners();
        self.progress.set_unpaid(unpaid.len() as u64);
        let is_all = unpaid.is_empty();
        let next = self.step(move |database| database.next_batch(last, BATCH, &unpaid));
        let batch = match next.await {
            Some(Some(batch)) => batch,
            Some(None) => {
                if is_all {
                    self.progress.set_waiting(0);
                }
                return Batched::NoneLeft;
            }
            None => return Batched::Away,
        };
        last_owner.store(batch.owner, Relaxed);
        let texts = batch.chunks.iter().map(|chunk| chunk.text.clone());
        let for_owner = self.embedder.for_owner(&batch.owner_name);
        let embedder = for_owner.unwrap_or_else(|| Arc::clone(&self.embedder));
        let outcomes = match embedding::outcomes(&embedder, texts.collect()).await {
            Ok(outcomes) => outcomes,
            Err(NotNow::Unpaid(why)) => {
                self.unpaid.put_off(batch.owner, &why);
                return Batched::PutOff;
            }
            Err(NotNow::Away(why)) => {
                self.progress.embedder_is_away(&why);
                return Batched::Away;
            }
        };
        self.unpaid.paid(batch.owner);
        self.progress.embedder_answered();
        let stored = self.step(move |database| {
            database.finish_batch(&batch, &outcomes)?;
            Ok(batch.chunks.len() as u64)
        });
        match stored.await {
            Some(chunks) => {
                self.progress.embedded(chunks);
                Batched::Stored
            }
            None => Batched::Away,
        }
    }
}
