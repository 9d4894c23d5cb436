//! Bounds of sessions, and the time budget of a question.

use std::time::Duration;

/// Bounds of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextLimits {
    /// Sessions that each owner may hold. Default 10000.
    pub sessions_max: u64,
    /// Bytes that each owner's sessions may hold in the store. Default 256 MiB.
    pub owner_bytes_max: u64,
    /// Turns that a session may hold. Default 1000.
    pub turns_max: u64,
    /// Bytes of one page of turns or sessions. Default 4 MiB.
    pub page_bytes_max: u64,
    /// A session that was not used for this long has expired. Default 30 days.
    pub idle_expiry: Duration,
    /// A session that was made this long ago has expired, however much it is used. Default 365 days.
    pub age_max: Duration,
    /// Time between two removals of what has expired. Default 1 minute.
    pub sweep_every: Duration,
    /// Time within which each question is answered, or refused because the store is unavailable. The waits inside are
    /// parts of it: see [`ContextLimits::lock_wait`]. Default 5 seconds.
    pub answer_timeout: Duration,
}

impl ContextLimits {
    /// Returns how long a step may wait for the lock of its store: half of [`ContextLimits::answer_timeout`].
    pub fn lock_wait(&self) -> Duration {
        self.answer_timeout / 2
    }

    /// Returns the time after which a store that has not answered counts as lost: more than a step may wait for a lock,
    /// and less than those who ask wait.
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
