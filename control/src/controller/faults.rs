//! Whether faults come from load, which determines how many retries the lane may spend.
//!
//! Owns a regression of the failures on the calls in flight. A retry is harmless if faults are random, and makes
//! things worse if they come from load. Both values are taken relative to their own recent mean, so that a burst of
//! faults, which changes the load by its retries, does not count as an effect of load. A refusal must never count as a
//! fault.

/// Weight of one sample in the recent means; about two seconds of a busy lane.
const RECENT: f64 = 1.0 / 30.0;
/// Weight of one sample in the regression. Several hundred samples are needed for a proof, and old ones fade.
const MEMORY: f64 = 1.0 / 500.0;
/// Total weight of samples before the first decision.
const ENOUGH: f64 = 60.0;
/// Standard errors of margin, as in the law's experiments.
const SAFETY: f64 = 1.3;
/// Faults that come from load appear within a doubling of it, which is an elasticity of at least 1.4.
const ELASTICITY_MAX: f64 = 0.7;
/// Share of failures below which the ordinary budget pays for all retries.
const SHARE_MIN: f64 = 0.05;

/// Decayed sums of one regression.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FaultCause {
    recent_load: Option<f64>,
    recent_failed: f64,
    /// The share of failures over the memory of the regression.
    share: f64,
    weight: f64,
    load_squared: f64,
    product: f64,
    independent: bool,
}

impl FaultCause {
    /// Adds an attempt that was served or failed, with the calls in flight when it was sent.
    pub(super) fn observe(&mut self, in_flight: u32, failed: bool) {
        let load = f64::from(in_flight.max(1)).ln();
        let failed = f64::from(u8::from(failed));
        let mean = *self.recent_load.get_or_insert(load);
        let (x, y) = (load - mean, failed - self.recent_failed);
        self.recent_load = Some(mean + RECENT * x);
        self.recent_failed += RECENT * y;
        let keep = 1.0 - MEMORY;
        self.weight = keep * self.weight + 1.0;
        self.share += (failed - self.share) / self.weight;
        self.load_squared = keep * self.load_squared + x * x;
        self.product = keep * self.product + x * y;
        self.judge();
    }

    /// Computes `b = sum(x y) / sum(x^2)`, `se = sqrt(p (1 - p) / sum(x^2))`. The faults are independent from `b + 1.3
    /// se < 0.7 p` until `b - 1.3 se > 0.7 p`.
    fn judge(&mut self) {
        if self.weight < ENOUGH || self.share < SHARE_MIN || self.load_squared <= 0.0 {
            self.independent = false;
            return;
        }
        let slope = self.product / self.load_squared;
        let error = (self.share * (1.0 - self.share) / self.load_squared).sqrt();
        let allowed = ELASTICITY_MAX * self.share;
        if slope + SAFETY * error < allowed {
            self.independent = true;
        } else if slope - SAFETY * error > allowed {
            self.independent = false;
        }
    }

    /// Returns `true` if the faults are proved to have another cause than load.
    pub(super) fn is_independent(&self) -> bool {
        self.independent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observes a share of failures without randomness, so that a failing test can be repeated.
    fn observe(cause: &mut FaultCause, share: fn(u32) -> f64, count: u32) {
        let mut chance = fastrand::Rng::with_seed(5);
        for _ in 0..count {
            let in_flight = chance.u32(4..16);
            cause.observe(in_flight, chance.f64() < share(in_flight));
        }
    }

    #[test]
    fn faults_that_do_not_follow_the_load_are_proved_independent() {
        let mut cause = FaultCause::default();
        observe(&mut cause, |_| 0.28, 600);
        assert!(cause.is_independent(), "{cause:?}");
    }

    #[test]
    fn faults_that_come_with_load_are_not() {
        let mut cause = FaultCause::default();
        observe(&mut cause, |n| if n > 10 { 0.5 } else { 0.02 }, 600);
        assert!(!cause.is_independent(), "{cause:?}");
        observe(&mut cause, |_| 0.28, 3000);
        assert!(cause.is_independent(), "{cause:?}");
        observe(&mut cause, |n| if n > 10 { 0.6 } else { 0.02 }, 1500);
        assert!(!cause.is_independent(), "{cause:?}");
    }

    #[test]
    fn nothing_is_proved_at_one_level() {
        let mut cause = FaultCause::default();
        for number in 0..1000 {
            cause.observe(8, number % 3 == 0);
        }
        assert!(!cause.is_independent());
    }
}
