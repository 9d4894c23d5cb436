//! The availability of the store, for operators.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::store::StoreError;

/// The state of the store at the last question; after a failed write, at the last write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreHealth {
    /// It answered, or has not been used yet.
    Available,
    /// It did not answer, or failed. After a write has failed, answers to questions that only read do not end this.
    Unavailable {
        /// The reason.
        reason: String,
        /// The time since the first failure.
        lasts: Duration,
        /// The number of questions that have failed since then.
        failures: u64,
    },
}

/// What a question does in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads.
    Reads,
    /// It writes if there is something to do, so that its success does not prove that the store can be written.
    MayWrite,
    /// It writes this many bytes of content.
    Writes(u64),
}

/// Records the availability of the store; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    outage: Arc<Mutex<Option<Outage>>>,
    failures: Arc<AtomicU64>,
    /// `true` while a question tries whether the store can be written again.
    is_probed: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Outage {
    error: StoreError,
    since: Instant,
    failures: u64,
    /// The size of the largest write that has failed; `None` if only reads have.
    refused: Option<u64>,
}

impl Outage {
    fn note(&mut self, effect: Effect) {
        self.failures += 1;
        let refused = match effect {
            Effect::Reads => return,
            Effect::MayWrite => 0,
            Effect::Writes(bytes) => bytes,
        };
        self.refused = self.refused.max(Some(refused));
    }

    /// Returns `true` if an answer to a question shows that the outage has ended.
    fn is_ended_by(&self, effect: Effect, is_done: bool) -> bool {
        match (self.refused, effect) {
            (None, _) => true,
            (Some(refused), Effect::Writes(bytes)) => is_done && bytes >= refused,
            (Some(_), Effect::Reads | Effect::MayWrite) => false,
        }
    }
}

/// The permit to try whether the store can be written again; at most one exists.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The number of bytes to try.
    pub(crate) bytes: u64,
    is_probed: Arc<AtomicBool>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.is_probed.store(false, Ordering::SeqCst);
    }
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the result of a question. The beginning and the end of an outage are logged.
    pub(crate) fn note<T>(&self, effect: Effect, result: &Result<T, StoreError>) {
        if result.as_ref().is_err_and(StoreError::is_outage) {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        let mut outage = self.lock();
        match (result, &mut *outage) {
            (Err(error), Some(outage)) if error.is_outage() => {
                outage.error = error.clone();
                outage.note(effect);
            }
            (Err(error), None) if error.is_outage() => {
                tracing::error!(%error, "the session store is unavailable; calls of sessions are refused");
                outage
                    .insert(Outage {
                        error: error.clone(),
                        since: Instant::now(),
                        failures: 0,
                        refused: None,
                    })
                    .note(effect);
            }
            (result, Some(ended)) if ended.is_ended_by(effect, result.is_ok()) => {
                let (lasted, failures) = (ended.since.elapsed(), ended.failures);
                tracing::info!(?lasted, failures, "the session store is available again");
                *outage = None;
            }
            _ => {}
        }
    }

    /// Returns the permit to try a write if the store refused the last one, and `None` if it did not.
    ///
    /// # Errors
    /// Returns the reason of the refusal while another question tries.
    pub(crate) fn probe(&self) -> Result<Option<Probe>, StoreError> {
        let outage = self.lock();
        let Some((outage, bytes)) = outage
            .as_ref()
            .and_then(|outage| Some((outage, outage.refused?)))
        else {
            return Ok(None);
        };
        if self.is_probed.swap(true, Ordering::SeqCst) {
            return Err(outage.error.clone());
        }
        let is_probed = Arc::clone(&self.is_probed);
        Ok(Some(Probe { bytes, is_probed }))
    }

    /// Returns the failures of all outages.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> StoreHealth {
        match &*self.lock() {
            None => StoreHealth::Available,
            Some(outage) => StoreHealth::Unavailable {
                reason: outage.error.to_string(),
                lasts: outage.since.elapsed(),
                failures: outage.failures,
            },
        }
    }
}
