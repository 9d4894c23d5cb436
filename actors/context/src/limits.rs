//! Bounds of sessions, and the time budget of a question.

use std::time::Duration;

/// Bounds of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextLimits {
    /// The maximum number of sessions of each owner. Default 10000.
    pub sessions_max: u64,
    /// The maximum number of bytes in the store for each owner. Default 256 MiB.
    pub owner_bytes_max: u64,
    /// The maximum number of turns of a session. Default 1000.
    pub turns_max: u64,
    /// The maximum number of bytes of a page of turns or sessions. Default 4 MiB.
    pub page_bytes_max: u64,
    /// The idle time after which a session expires. Default 30 days.
    pub idle_expiry: Duration,
    /// The age at which a session expires even if it is used. Default 365 days.
    pub age_max: Duration,
    /// The time between two sweeps that remove expired sessions. Default 1 minute.
    pub sweep_every: Duration,
    /// The time within which each question is answered, or refused because the store is unavailable. Default 5 seconds.
    /// It includes the wait for locks: see [`ContextLimits::lock_wait`].
    pub answer_timeout: Duration,
}

impl ContextLimits {
    /// Returns the longest wait of a step for the lock of its store: half of [`ContextLimits::answer_timeout`].
    pub fn lock_wait(&self) -> Duration {
        self.answer_timeout / 2
    }

    /// Returns the time after which a store that has not answered counts as lost. It is longer than the wait for a lock
    /// and shorter than the timeout of a question.
    pub(crate) fn store_timeout(&self) -> Duration {
        self.answer_timeout * 4 / 5
    }
}

impl Default for ContextLimits {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self {
            sessions_max: 10_000,
            owner_bytes_max: 256 << 20,
            turns_max: 1000,
            page_bytes_max: 4 << 20,
            idle_expiry: days(30),
            age_max: days(365),
            sweep_every: Duration::from_mins(1),
            answer_timeout: Duration::from_secs(5),
        }
    }
}
