//! The clock that all processes of one machine have in common.

use std::time::Duration;

use kebne_control::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// It counts while the machine sleeps, and nobody can set it.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Returns the time since the machine was started.
pub(crate) fn machine_time() -> Timestamp {
    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Timestamp::from_duration(Duration::new(seconds, nanos))
}
