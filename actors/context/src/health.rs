//! The availability of the store, for operators.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::store::StoreError;

/// The state of the store at the last question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreHealth {
    /// It answered, or has not been used yet.
    Available,
    /// It did not answer, or failed.
    Unavailable {
        /// The reason.
        reason: String,
        /// The time since the first failure.
        lasts: Duration,
        /// The number of questions that have failed since then.
        failures: u64,
    },
}

/// Records the availability of the store; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    outage: Arc<Mutex<Option<Outage>>>,
    failures: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Outage {
    reason: String,
    since: Instant,
    failures: u64,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the result of a question. The beginning and the end of an outage are logged.
    pub(crate) fn note<T>(&self, result: &Result<T, StoreError>) {
        if result.as_ref().is_err_and(StoreError::is_outage) {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        let mut outage = self.lock();
        match (result, outage.as_mut()) {
            (Err(error), Some(outage)) if error.is_outage() => {
                outage.reason = error.to_string();
                outage.failures += 1;
            }
            (Err(error), None) if error.is_outage() => {
                tracing::error!(%error, "the session store is unavailable; calls of sessions are refused");
                *outage = Some(Outage {
                    reason: error.to_string(),
                    since: Instant::now(),
                    failures: 1,
                });
            }
            (_, Some(ended)) => {
                let (lasted, failures) = (ended.since.elapsed(), ended.failures);
                tracing::info!(?lasted, failures, "the session store is available again");
                *outage = None;
            }
            (_, None) => {}
        }
    }

    /// Returns the failures of all outages.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> StoreHealth {
        match &*self.lock() {
            None => StoreHealth::Available,
            Some(outage) => StoreHealth::Unavailable {
                reason: outage.reason.clone(),
                lasts: outage.since.elapsed(),
                failures: outage.failures,
            },
        }
    }
}
