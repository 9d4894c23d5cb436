//! A value that is replaced as a whole while others read it.

use std::sync::{Arc, PoisonError, RwLock};

/// A value that is replaced as a whole. A reader keeps the value that it has read.
#[derive(Debug, Default)]
pub struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    /// Creates it with its first value.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// Returns the value as it is now.
    pub fn get(&self) -> Arc<T> {
        let value = self.0.read();
        Arc::clone(&value.unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value; returns the one before.
    pub fn replace(&self, value: T) -> Arc<T> {
        let current = self.0.write();
        let mut current = current.unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_the_value_that_it_has_read() {
        let current = Current::new(1);
        let read = current.get();
        assert_eq!(*current.replace(2), 1);
        assert_eq!((*read, *current.get()), (1, 2));
    }
}
