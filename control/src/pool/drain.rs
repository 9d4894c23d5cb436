//! The removal of all waiting calls at the end.

use super::Pool;

impl<T> Pool<T> {
    /// Removes and returns every waiting call, because the process stops. Attempts in flight stay counted.
    pub fn take_waiting(&mut self) -> Vec<T> {
        let ids: Vec<_> = self.calls.keys().copied().collect();
        let mut payloads = Vec::with_capacity(ids.len());
        for id in ids {
            self.queue_remove(id);
            payloads.extend(self.take(id).map(|call| call.payload));
        }
        payloads
    }
}
