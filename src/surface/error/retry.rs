//! When a caller is to come back, as the headers of an error answer say it.

use std::time::Duration;

/// The longest hint that client libraries follow.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// The shortest hint: a client that comes back at once learns nothing new.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
/// The hint when nothing better is known.
pub(super) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// Share by which hints are spread, so that callers do not come back in one wave.
const RETRY_SPREAD: f64 = 0.25;

/// When to come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Retry {
    /// The caller's own rules apply.
    Unsaid,
    /// Not at all: it would be useless, or has been done.
    Never,
    /// After this time.
    After(Duration),
}

/// Returns whole seconds and milliseconds of a hint, both in (0, 60] s, spread upwards.
pub(super) fn hint(after: Duration, chance: f64) -> (u64, u64) {
    let spread = after.mul_f64(1.0 + RETRY_SPREAD * chance);
    let bounded = if spread < RETRY_AFTER_MAX {
        spread.max(RETRY_AFTER_MIN)
    } else {
        // At the bound the spread goes downwards, or all would come back in the same second.
        RETRY_AFTER_MAX.mul_f64(1.0 - RETRY_SPREAD * chance)
    };
    let millis = u64::try_from(bounded.as_millis()).unwrap_or(60_000);
    (millis.div_ceil(1000), millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_lie_above_zero_and_at_most_at_sixty_seconds() {
        for millis in [0, 1, 999, 1000, 59_999, 60_000, 3_600_000] {
            for chance in [0.0, 0.5, 0.999] {
                let (seconds, ms) = hint(Duration::from_millis(millis), chance);
                assert!((1..=60).contains(&seconds), "{millis} {seconds}");
                assert!((1..=60_000).contains(&ms), "{millis} {ms}");
                assert!(ms <= seconds * 1000);
            }
        }
    }
}
