//! Parts for stages of your own.
//!
//! [`Detached::new`] makes a stream from a task that writes to an [`Outlet`]; [`Places`] puts results that are done out of
//! order back into order. After Pekko's `GraphStage`.

pub use crate::{detached::Detached, link::Outlet, places::Places};
