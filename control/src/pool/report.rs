//! The pool's state for an operator.

use super::{Pool, PoolReport};
use crate::Timestamp;

impl<T> Pool<T> {
    /// Returns the pool's state for an operator.
    pub fn report(&self, now: Timestamp) -> PoolReport {
        PoolReport {
            queued: self.calls.len(),
            priorities: self.queue.waiting(),
            queued_bytes: self.bytes,
            in_flight: self.in_flight(),
            retrying: self.delayed.len() - self.held.len(),
            held: self.held.len(),
            retry_budget: self.retries,
            hedge_after: self.hedge_after(),
            hedges_sent: self.hedging.sent,
            hedges_won: self.hedging.won,
            predicted_wait: self.predicted_wait(now),
            closed: self.closed,
        }
    }
}
