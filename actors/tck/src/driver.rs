//! What a library is to the suite: a name, a version, and a driver for each area that it claims to cover.
//!
//! Owns [`Library`]; the traits of the areas are in the modules below. A library without a driver for an area
//! finds its cases not applicable, as it does those that ask for one thing it has no notion of (see
//! [`Unsupported`]). To add an area, add its trait as a module here, one method to [`Library`], and one line to
//! [`registry::cases`](crate::registry::cases).

use std::fmt;

use crate::case::Failure;

pub mod actors;

/// A library under test.
pub trait Library: fmt::Debug + Send + Sync {
    /// Returns the name, as `--library` takes it.
    fn name(&self) -> &'static str;

    /// Returns the version that is built.
    fn version(&self) -> &'static str;

    /// Returns the driver for single actors and their trees.
    fn actors(&self) -> Option<&(dyn actors::Driver + 'static)> {
        None
    }
}

/// What a library has no notion of, in a few words such as `a stash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub &'static str);

impl From<Unsupported> for Failure {
    fn from(unsupported: Unsupported) -> Self {
        Self::NotApplicable(format!("no {}", unsupported.0))
    }
}
