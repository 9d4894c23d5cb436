//! The adapter for actix.

use crate::driver::Library;

/// Bare actix, as the suite sees it.
#[derive(Debug, Default)]
pub struct BareActix;

impl Library for BareActix {
    fn name(&self) -> &'static str {
        "actix"
    }

    fn version(&self) -> &'static str {
        "0.13.5"
    }
}
