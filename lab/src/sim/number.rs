//! Conversions between counts and floats, each with the reason why its cast is safe.

use kebne_control::Timestamp;

/// Converts a count to a float; counts here are far below 2^32.
pub(crate) fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Truncates a float to a count; negative values and NaN become zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range of u32 first, and a float cast saturates"
)]
pub(crate) fn whole(value: f64) -> usize {
    value.clamp(0.0, f64::from(u32::MAX)) as usize
}

/// Truncates a float to a count of 32 bits.
pub(crate) fn count(value: f64) -> u32 {
    u32::try_from(whole(value)).unwrap_or(u32::MAX)
}

/// Converts seconds since the start of the run to a time.
pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

/// Divides `part` by `all`; returns `default` if `all` is zero.
pub(crate) fn ratio(part: f64, all: f64, default: f64) -> f64 {
    if all > 0.0 { part / all } else { default }
}

/// Returns the quantile `q` of the values; zero if there are none.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(whole((q * real(last)).round()))
        .copied()
        .unwrap_or(0.0)
}

/// Returns the mean; zero if there are no values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    ratio(values.iter().sum(), real(values.len()), 0.0)
}
