//! The driver for what actix promises of an actor's context: scenes of stock actix code, the same for each library.
//!
//! Only a library whose actors are actix's has one. A scene is written once, in [`contexts`](crate::contexts), for
//! any context that implements `actix::AsyncContext`.

use super::actors::Soon;

/// Plays scenes on a library's own context.
pub trait ContextDriver: Send + Sync {
    /// Plays the scene of this name; returns what it noted.
    fn play(&self, scene: &'static str) -> Soon<'static, Vec<String>>;
}
