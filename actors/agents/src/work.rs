//! Work in the future.

use std::{future::Future, pin::Pin};

/// Work in the future, on the thread of the agent.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
