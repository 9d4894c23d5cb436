//! A quantile learned from a stream of positive values in two numbers of memory.

/// Step of the estimate, as a part of itself: a doubling takes some 15 values above it.
const STEP: f64 = 0.05;

/// The estimate and the number of values behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quantile {
    value: f64,
    seen: u32,
}

impl Quantile {
    /// Learns from one value: the estimate moves up by `share` of a step and down by the rest of it, so that it comes
    /// to rest where `share` of the values lie below. Only the side matters, so a value that is known to be above the
    /// estimate may be told by any number above it.
    pub(super) fn observe(&mut self, value: f64, share: f64) {
        self.seen = self.seen.saturating_add(1);
        if self.seen == 1 {
            self.value = value;
        } else if value > self.value {
            self.value *= (share * STEP).exp();
        } else {
            self.value *= ((share - 1.0) * STEP).exp();
        }
    }

    /// Returns the estimate once `least` values are behind it.
    pub(super) fn after(self, least: u32) -> Option<f64> {
        (self.seen >= least).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_to_rest_at_its_share() {
        let mut chance = fastrand::Rng::with_seed(5);
        let mut quantile = Quantile::default();
        for _ in 0..4000 {
            quantile.observe(chance.f64() * 10.0, 0.95);
        }
        let value = quantile.after(50).unwrap();
        assert!((9.0..=10.2).contains(&value), "{value}");
        assert_eq!(quantile.after(5000), None);
    }
}
