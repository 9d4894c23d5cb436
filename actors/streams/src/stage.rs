//! Parts for custom stages.
//!
//! [`Detached::new`] creates a stream from a task that writes to an [`Outlet`]. [`Places`] restores the order of
//! results. Modelled on Pekko's `GraphStage`.

pub use crate::{detached::Detached, link::Outlet, places::Places};
