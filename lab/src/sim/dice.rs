//! Seeded random numbers: each is a function of the seed and of its purpose.
//!
//! A draw is keyed by call, attempt and purpose instead of taken from one stream, so that every law and the oracle get
//! the same calls, faults and slow attempts. No other source of randomness is used.

use kebne_control::Chance;

/// The purpose of a draw; each purpose has a sequence of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Arrival = 1,
    Work = 2,
    Tokens = 3,
    Fault = 4,
    Slow = 5,
    Route = 6,
    Boot = 7,
    Law = 8,
    Scenario = 9,
    Refusal = 10,
    Prompt = 11,
    Manner = 12,
    Loading = 13,
    Mix = 14,
    Stall = 15,
}

/// A stream of numbers in `[0, 1)`; splitmix64, which is short, has a fixed definition and is sufficient here.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// Creates the stream of a purpose and two keys.
    pub(crate) fn new(seed: u64, purpose: Purpose, first: u64, second: u64) -> Self {
        let mut state = mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
        for key in [purpose as u64, first, second] {
            state = mix(state ^ key.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1));
        }
        Self(state)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number in `[0, 1)` with 32 random bits, which an `f64` holds without rounding.
    pub(crate) fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.bits() >> 32).unwrap_or(0);
        f64::from(high) / 4_294_967_296.0
    }

    /// Returns a number in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }

    /// Returns an exponential number of the given mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Returns a normal number (Box-Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Returns a lognormal number of the given mean and log-deviation.
    pub(crate) fn lognormal(&mut self, mean: f64, sigma: f64) -> f64 {
        (mean.ln() - 0.5 * sigma * sigma + sigma * self.normal()).exp()
    }

    /// Returns a number of a gamma distribution of mean one and the given shape (Marsaglia and Tsang).
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        // For a shape below one, it is a number of the shape plus one, times a power of a uniform number.
        let boost = if shape < 1.0 {
            (1.0 - self.unit()).powf(1.0 / shape)
        } else {
            1.0
        };
        let above = if shape < 1.0 { shape + 1.0 } else { shape };
        let d = above - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            let u = 1.0 - self.unit();
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return boost * d * v / shape;
            }
        }
    }

    /// Returns a number of a Pareto distribution of the given mean and index (greater than 1), at most 10 times the
    /// mean.
    pub(crate) fn pareto(&mut self, mean: f64, index: f64) -> f64 {
        let least = mean * (index - 1.0) / index;
        (least * (1.0 - self.unit()).powf(-1.0 / index)).min(10.0 * mean)
    }

    /// Returns one of the choices, or `default` if there are none.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T], default: T) -> T {
        let count = f64::from(u32::try_from(choices.len()).unwrap_or(1));
        let at = crate::sim::number::whole(self.unit() * count);
        choices.get(at).copied().unwrap_or(default)
    }
}

impl Chance for Dice {
    fn unit(&mut self) -> f64 {
        Dice::unit(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_keys_give_the_same_numbers_and_others_do_not() {
        let draw = |key| Dice::new(7, Purpose::Work, key, 0).unit();
        assert!((draw(1) - draw(1)).abs() < 1e-15);
        assert!((draw(1) - draw(2)).abs() > 1e-6);
    }

    #[test]
    fn gamma_numbers_have_mean_one_and_the_deviation_of_their_shape() {
        for shape in [0.1, 0.5, 2.0] {
            let mut dice = Dice::new(1, Purpose::Mix, 0, 0);
            let all: Vec<f64> = (0..100_000).map(|_| dice.gamma(shape)).collect();
            let mean = all.iter().sum::<f64>() / 1e5;
            let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
            assert!((mean - 1.0).abs() < 0.04, "{mean}");
            assert!((variance * shape - 1.0).abs() < 0.1, "{variance}");
        }
    }

    #[test]
    fn lognormal_numbers_have_the_asked_mean() {
        let mut dice = Dice::new(1, Purpose::Work, 0, 0);
        let sum: f64 = (0..40_000).map(|_| dice.lognormal(0.8, 0.35)).sum();
        assert!((sum / 40_000.0 - 0.8).abs() < 0.01, "{}", sum / 40_000.0);
    }
}
