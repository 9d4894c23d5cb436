//! The driver for handlers that are `async fn`s.

use std::{future::Future, pin::Pin, time::Duration};

use super::Unsupported;

/// A future on the case's thread.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Spawns workers.
pub trait Driver: Send + Sync {
    /// Spawns a worker that handles one message at a time, or up to `turns` in turns.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn spawn(&self, turns: Option<usize>) -> Soon<'_, Result<Box<dyn Worker>, Unsupported>>;

    /// Returns an error if the library does not restart a worker that panics.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn restarts(&self) -> Result<(), Unsupported> {
        Err(Unsupported("restart of a worker without a parent"))
    }
}

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Note that it begins, wait, and note that it ends.
    Wait(Duration),
    /// The same, but panic in place of the end.
    WaitAndPanic(Duration),
    /// Ask its own actor to wait for no time, and note whether it answers within a second.
    AskItself,
}

/// What the worker had noted when a handler ended, or `None` if the worker did not answer.
pub type Notes = Option<Vec<String>>;

/// An actor that notes, in its state, when its handlers begin and end, as `a+` and `a-`.
pub trait Worker {
    /// Has a handler of this name run, and waits for what the worker has noted then.
    fn work(&self, name: &'static str, work: Work) -> Soon<'static, Notes>;

    /// Stops the worker without waiting for its handler, and waits until it has stopped.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn stop(&self) -> Result<Soon<'_, ()>, Unsupported>;
}
