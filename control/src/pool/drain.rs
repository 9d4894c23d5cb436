//! What a pool gives up: all its calls at a cut-off, and a retry to another lane.

use super::Pool;

impl<T> Pool<T> {
    /// Takes every waiting call out, because the process stops; attempts in flight stay counted.
    pub fn take_waiting(&mut self) -> Vec<T> {
        let ids: Vec<_> = self.calls.keys().copied().collect();
        let mut payloads = Vec::with_capacity(ids.len());
        for id in ids {
            self.queue_remove(id);
            payloads.extend(self.take(id).map(|call| call.payload));
        }
        payloads
    }

    /// Spends one retry on an attempt elsewhere (a fallback to another lane), if the budget has one.
    pub fn spend_retry(&mut self) -> bool {
        let affordable = self.retries >= 1.0;
        if affordable {
            self.retries -= 1.0;
        }
        affordable
    }
}
