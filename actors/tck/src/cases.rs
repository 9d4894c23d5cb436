//! The cases, one file for each topic. A new file is listed here, a new area in [`registry`](crate::registry).

use crate::{case::Case, driver};

mod messages;

/// The cases of single actors and their trees.
pub const ACTORS: &[&[Case<dyn driver::actors::Driver>]] = &[messages::CASES];
