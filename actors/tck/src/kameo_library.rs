//! The adapter for kameo.

use crate::driver::Library;

/// Kameo, as the suite sees it.
#[derive(Debug, Default)]
pub struct Kameo;

impl Library for Kameo {
    fn name(&self) -> &'static str {
        "kameo"
    }

    fn version(&self) -> &'static str {
        "0.22.2"
    }
}
