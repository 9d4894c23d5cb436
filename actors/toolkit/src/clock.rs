//! The one place that reads the clock of real time, and the seeded source of chance.

/// Returns the real time, which a test cannot pause. For what happens to real threads only.
pub(crate) fn real_now() -> std::time::Instant {
    std::time::Instant::now()
}

/// A seeded source of random numbers.
#[derive(Clone, Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// Makes a source that repeats its numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Returns the next number, uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }
}
