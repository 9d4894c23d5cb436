//! Conversions between counts and floating-point numbers, in one place so that each cast states why it is safe.

use std::time::Duration;

/// Converts a count to a floating-point number; counts here are far below 2^32.
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

/// Creates a duration from seconds. Negative values and NaN become zero; the maximum is one day.
pub(crate) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.clamp(0.0, 86_400.0)).unwrap_or(Duration::ZERO)
}
