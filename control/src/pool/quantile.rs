//! A quantile learned from a stream of positive values: exact over the first values, then adjusted step by step.

/// The relative step of the estimate; to double it takes about 15 values above it.
const STEP: f64 = 0.05;

/// The estimate, and the values before there is one.
#[derive(Clone, Debug)]
pub(super) struct Quantile {
    /// The share of the values that lie below it; 0 to 1.
    share: f64,
    /// The number of values before there is an estimate.
    least: usize,
    first: Vec<f64>,
    value: Option<f64>,
}

impl Quantile {
    /// Creates a quantile without an estimate; there is one after `least` values.
    pub(super) fn new(share: f64, least: usize) -> Self {
        Self {
            share,
            least: least.max(1),
            first: Vec::new(),
            value: None,
        }
    }

    /// Adds one value. The estimate moves up by `share` of a step, or down by the rest of it, so that it converges to
    /// where `share` of the values lie below. Only the side matters, so a value that is known to be above the estimate
    /// can be given as any number above it.
    pub(super) fn observe(&mut self, value: f64) {
        if let Some(estimate) = &mut self.value {
            let up = value > *estimate;
            let part = if up { self.share } else { self.share - 1.0 };
            *estimate *= (part * STEP).exp();
            return;
        }
        self.first.push(value);
        if self.first.len() >= self.least {
            let mut first = std::mem::take(&mut self.first);
            first.sort_by(f64::total_cmp);
            let place = crate::num::real(first.len()) * self.share;
            self.value = first.get(whole(place)).or(first.last()).copied();
        }
    }

    /// Returns the estimate, once there is one.
    pub(super) fn value(&self) -> Option<f64> {
        self.value
    }
}

/// Returns the integer part of a number of at most a few hundred.
fn whole(number: f64) -> usize {
    usize::try_from(crate::num::calls(number.floor())).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_to_rest_at_its_share() {
        let mut chance = fastrand::Rng::with_seed(5);
        let mut quantile = Quantile::new(0.95, 50);
        for _ in 0..4000 {
            quantile.observe(chance.f64() * 10.0);
        }
        let value = quantile.value().unwrap();
        assert!((9.0..=10.2).contains(&value), "{value}");
    }

    #[test]
    fn the_first_estimate_is_exact_whatever_came_first() {
        let mut quantile = Quantile::new(0.9, 50);
        quantile.observe(1000.0);
        for number in (1..49).rev() {
            quantile.observe(f64::from(number));
            assert_eq!(quantile.value(), None);
        }
        quantile.observe(49.0);
        assert_eq!(quantile.value(), Some(46.0));
    }
}
