//! The constant limit.

use super::{Limit, Sample};
use crate::{ControllerSettings, Timestamp, Verdict};

/// A limit that never moves.
#[derive(Debug)]
pub(crate) struct Fixed(f64);

impl Fixed {
    /// Creates a law with the initial limit.
    pub(crate) fn new(settings: &ControllerSettings) -> Self {
        Self(f64::from(settings.limit_initial))
    }
}

impl Limit for Fixed {
    fn limit(&self) -> f64 {
        self.0
    }
    fn sample(&mut self, _sample: &Sample, _now: Timestamp) -> Option<Verdict> {
        None
    }
}
