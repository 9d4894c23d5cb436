//! Seeded chance: every random number of a run is a function of the seed and of what it is for.
//!
//! A draw is keyed (call, attempt, purpose) instead of taken from one stream, so that every law and the
//! oracle meet the very same calls, faults and slow attempts. It must never read any other source.

use kebne_control::Chance;

/// What a draw is for; each purpose has its own numbers.
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
}

/// A stream of numbers in `[0, 1)`; splitmix64, which is stable, short and good enough here.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// Starts the stream of one purpose and two keys.
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

    /// Returns one of the choices; the last for an impossible draw.
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
    fn lognormal_numbers_have_the_asked_mean() {
        let mut dice = Dice::new(1, Purpose::Work, 0, 0);
        let sum: f64 = (0..40_000).map(|_| dice.lognormal(0.8, 0.35)).sum();
        assert!((sum / 40_000.0 - 0.8).abs() < 0.01, "{}", sum / 40_000.0);
    }
}
