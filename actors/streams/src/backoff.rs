//! Exponential backoff: Pekko's formula, shared by retries and restarting streams.
//!
//! Owns the formula and the range of its parameters. It never reads a clock and never sleeps.

use std::time::Duration;

/// The error of a setting that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` must be {allowed}")]
pub struct InvalidSetting {
    /// The field's name.
    pub field: &'static str,
    /// The allowed range.
    pub allowed: &'static str,
}

/// Returns an error that names the field unless `holds` is `true`.
pub(crate) fn require(
    holds: bool,
    field: &'static str,
    allowed: &'static str,
) -> Result<(), InvalidSetting> {
    if holds {
        return Ok(());
    }
    Err(InvalidSetting { field, allowed })
}

/// Waits that double from `min` to `max`, with a random addition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    random_factor: f64,
}

impl Backoff {
    /// Creates a backoff from `min` (greater than 0) to `max` (at least `min`). `random_factor`, from 0 to 1, is the
    /// largest share that is added at random: 0.2 adds up to a fifth.
    ///
    /// # Errors
    /// Returns the first parameter that is out of its range.
    pub fn new(min: Duration, max: Duration, random_factor: f64) -> Result<Self, InvalidSetting> {
        require(!min.is_zero(), "min_backoff", "more than 0")?;
        require(max >= min, "max_backoff", "at least `min_backoff`")?;
        let in_range = (0.0..=1.0).contains(&random_factor);
        require(in_range, "random_factor", "from 0 to 1")?;
        Ok(Self {
            min,
            max,
            random_factor,
        })
    }

    /// Returns the shortest wait.
    pub fn min(&self) -> Duration {
        self.min
    }

    /// Returns `min(max, min · 2^exponent) · (1 + U · random_factor)` with U = `unit`, a random number in `[0, 1)`.
    /// This is Pekko's `calculateDelay`; the random part may exceed `max`.
    pub fn delay(&self, exponent: u32, unit: f64) -> Duration {
        let doubled = 1_u32.checked_shl(exponent);
        let grown = doubled.and_then(|factor| self.min.checked_mul(factor));
        let whole = grown.unwrap_or(self.max).min(self.max);
        stretched(whole, 1.0 + unit * self.random_factor).unwrap_or(self.max)
    }
}

/// Returns `duration · factor`, or `None` if the result is out of the range of a duration.
pub(crate) fn stretched(duration: Duration, factor: f64) -> Option<Duration> {
    // A factor of 1 keeps the value exact to the nanosecond.
    if factor.total_cmp(&1.0).is_eq() {
        return Some(duration);
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_wait_doubles_up_to_the_maximum() {
        let backoff = Backoff::new(MS * 100, MS * 500, 0.0).unwrap();
        let mut dice = fastrand::Rng::with_seed(1);
        let waits: Vec<_> = (0..5).map(|n| backoff.delay(n, dice.f64())).collect();
        assert_eq!(waits, [100, 200, 400, 500, 500].map(|ms| MS * ms));
        assert_eq!(backoff.delay(200, dice.f64()), MS * 500);
    }

    #[test]
    fn the_random_part_stays_in_its_range_and_repeats_with_the_seed() {
        let backoff = Backoff::new(MS * 100, MS * 100, 0.5).unwrap();
        let draw = |seed| {
            let mut dice = fastrand::Rng::with_seed(seed);
            (0..50)
                .map(|n| backoff.delay(n, dice.f64()))
                .collect::<Vec<_>>()
        };
        assert!(draw(3).iter().all(|d| (MS * 100..=MS * 150).contains(d)));
        assert!(draw(3).iter().any(|d| *d > MS * 110));
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn a_parameter_out_of_range_is_named() {
        let error = Backoff::new(MS, MS * 2, 1.5).unwrap_err();
        assert_eq!(error.to_string(), "`random_factor` must be from 0 to 1");
        assert_eq!(
            Backoff::new(Duration::ZERO, MS, 0.0).unwrap_err().field,
            "min_backoff"
        );
        assert_eq!(
            Backoff::new(MS * 2, MS, 0.0).unwrap_err().field,
            "max_backoff"
        );
    }
}
