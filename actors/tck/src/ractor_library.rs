//! The adapter for ractor.

use crate::driver::Library;

/// Ractor, as the suite sees it.
#[derive(Debug, Default)]
pub struct Ractor;

impl Library for Ractor {
    fn name(&self) -> &'static str {
        "ractor"
    }

    fn version(&self) -> &'static str {
        "0.16.5"
    }
}
