//! The adapter for Kebne.

use crate::driver::{Library, actors as actors_driver};

mod actors;

/// Kebne, as the suite sees it.
#[derive(Debug, Default)]
pub struct Kebne;

impl Library for Kebne {
    fn name(&self) -> &'static str {
        "kebne"
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn actors(&self) -> Option<&(dyn actors_driver::Driver + 'static)> {
        Some(&actors::Actors)
    }
}
