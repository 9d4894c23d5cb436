//! State that survives the restart of the actor that uses it.
//!
//! The fields of an actor are new after a restart. State that must survive is owned by the lane and used by one
//! incarnation of the actor at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// State that one incarnation of an actor uses at a time.
#[derive(Debug)]
pub(crate) struct Kept<T>(Arc<Mutex<T>>);

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Locks the state. Only one actor at a time uses it, so the lock is never contended. A panic while it was locked
    /// does not invalidate the state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
