//! The time after which a caller should retry, in the headers of an error answer.

use std::time::Duration;

/// The longest hint that client libraries follow.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// The shortest hint; a shorter wait would not change the result.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
/// The hint if no better one is known.
pub(super) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// The share by which hints are spread, so that callers do not all retry at the same time.
const RETRY_SPREAD: f64 = 0.25;

/// When to retry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Retry {
    /// Not stated: the caller's own rules apply.
    Unsaid,
    /// Never: a retry would be useless, or was already made.
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
        // At the bound the hint is spread downwards, because otherwise all callers would retry in the same second.
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
