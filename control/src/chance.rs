//! Random numbers from the caller: this crate has no source of its own.

/// A source of uniform random numbers, seeded by its owner.
pub trait Chance {
    /// Returns the next number, uniform in `[0, 1)`.
    fn unit(&mut self) -> f64;
}

impl<F: FnMut() -> f64> Chance for F {
    fn unit(&mut self) -> f64 {
        self()
    }
}
