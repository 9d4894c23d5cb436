//! The wall clock of this machine, as numbers since 1970. A clock before 1970 reads as 0.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time since 1970.
pub(crate) fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Returns the seconds since 1970.
pub(crate) fn seconds() -> u64 {
    now().as_secs()
}

/// Returns the milliseconds since 1970.
pub(crate) fn millis() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}
