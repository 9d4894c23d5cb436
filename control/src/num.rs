//! Conversions between counts and reals, in one place so that each cast says why it is safe.

use std::time::Duration;

/// Turns a count into a real; counts here are bounded far below 2^32.
pub(crate) fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Rounds a limit down to whole calls, at least one.
pub(crate) fn calls(limit: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u32 first"
    )]
    let whole = limit.clamp(1.0, f64::from(u32::MAX)) as u32;
    whole
}

/// Makes a duration of seconds; negative and not-a-number become zero, and a day is the most.
pub(crate) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.clamp(0.0, 86_400.0)).unwrap_or(Duration::ZERO)
}
