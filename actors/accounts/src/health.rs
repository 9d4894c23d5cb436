//! The availability of the store, for operators.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::{SharedHealth, StoreError};

/// The state of the store at its last use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccountHealth {
    /// The reason why it is unavailable; `None` if it is available.
    pub reason: Option<String>,
    /// How often it has failed since the start.
    pub failures: u64,
    /// What is known of accounts that are shared with other gateways; `None` if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedHealth>,
}

#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<AccountHealth>);

impl Health {
    /// Notes the result of a use.
    pub(crate) fn note<T>(&self, result: &Result<T, StoreError>) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => {
                if health.reason.take().is_some() {
                    tracing::info!("the store of accounts is available again");
                }
            }
            Err(StoreError(reason)) => {
                if health.reason.is_none() {
                    tracing::error!(
                        reason,
                        "the store of accounts is unavailable; the last known keys and sums count"
                    );
                }
                health.failures = health.failures.saturating_add(1);
                health.reason = Some(reason.clone());
            }
        }
    }

    pub(crate) fn read(&self) -> AccountHealth {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
