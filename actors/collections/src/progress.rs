//! How far the work on chunks is, for metrics.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::Serialize;

/// The shared counts of an ingester.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waiting: AtomicU64,
    embedded: AtomicU64,
    unpaid: AtomicU64,
    /// Why the embedder is away.
    away: Mutex<Option<String>>,
}

/// How far the work on chunks is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EmbeddingProgress {
    /// The chunks that wait for a vector of the embedder, those with a vector of another embedder included.
    pub waiting: u64,
    /// The chunks that were embedded since the start.
    pub embedded: u64,
    /// The owners whose chunks wait because a budget has no room.
    pub unpaid: u64,
    /// Why the embedder gives no vectors now; `None` while it does.
    pub away: Option<String>,
}

impl Progress {
    /// Notes that more chunks wait.
    pub(crate) fn add(&self, chunks: u64) {
        self.waiting.fetch_add(chunks, Relaxed);
    }

    pub(crate) fn set_waiting(&self, chunks: u64) {
        self.waiting.store(chunks, Relaxed);
    }

    pub(crate) fn set_unpaid(&self, owners: u64) {
        self.unpaid.store(owners, Relaxed);
    }

    pub(crate) fn embedded(&self, chunks: u64) {
        self.embedded.fetch_add(chunks, Relaxed);
        let less = |waiting: u64| Some(waiting.saturating_sub(chunks));
        // It does not fail: there is always a new value.
        let _always_updated = self.waiting.fetch_update(Relaxed, Relaxed, less);
    }

    /// Notes that the embedder gives no vectors. The first time of an absence is in the log.
    pub(crate) fn embedder_is_away(&self, why: &str) {
        if self.away().replace(why.to_owned()).is_none() {
            tracing::warn!(reason = why, "files of vector stores wait for the embedder");
        }
    }

    pub(crate) fn embedder_answered(&self) {
        if self.away().take().is_some() {
            tracing::info!("the embedder answers again");
        }
    }

    pub(crate) fn now(&self) -> EmbeddingProgress {
        EmbeddingProgress {
            waiting: self.waiting.load(Relaxed),
            embedded: self.embedded.load(Relaxed),
            unpaid: self.unpaid.load(Relaxed),
            away: self.away().clone(),
        }
    }

    fn away(&self) -> MutexGuard<'_, Option<String>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
