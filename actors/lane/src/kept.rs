//! State that survives the restart of the actor that uses it.
//!
//! The fields of an actor are fresh after a restart. What must not be lost is owned by the lane and lent to one
//! incarnation of the actor at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A memory lent to one incarnation at a time.
#[derive(Debug)]
pub(crate) struct Kept<T>(Arc<Mutex<T>>);

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Locks it. Only one actor at a time does, so nobody ever waits; a panic while it was held is no
    /// reason to lose what it holds.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
