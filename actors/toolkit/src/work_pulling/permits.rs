//! Counted permits, taken before any message is sent.
//!
//! Mailboxes of actix are not bounded, so this module sets the bound: one atomic count, taken before the first message
//! of a call and given back when the last owner of the call is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire},
};

use tokio::sync::Notify;

/// The permits of one owner.
#[derive(Clone, Debug)]
pub struct Permits {
    count: Arc<Count>,
    max: usize,
}

#[derive(Debug, Default)]
struct Count {
    taken: AtomicUsize,
    none_taken: Notify,
}

/// One permit; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    count: Arc<Count>,
}

impl Permits {
    /// Creates `max` permits, none of them taken.
    pub fn new(max: usize) -> Self {
        Self {
            count: Arc::default(),
            max,
        }
    }

    /// Takes a permit. Returns `None` if all are taken.
    pub fn take(&self) -> Option<Permit> {
        let one_more = |taken| (taken < self.max).then_some(taken + 1);
        let update = self.count.taken.fetch_update(AcqRel, Acquire, one_more);
        update.ok().map(|_| Permit {
            count: Arc::clone(&self.count),
        })
    }

    /// Returns the number of permits that are taken.
    pub fn taken(&self) -> usize {
        self.count.taken.load(Acquire)
    }

    /// Returns the total number of permits.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Waits until no permit is taken.
    pub async fn when_none_taken(&self) {
        loop {
            let notified = self.count.none_taken.notified();
            if self.taken() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.count.taken.fetch_sub(1, AcqRel) == 1 {
            self.count.none_taken.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_permits_are_given_than_there_are() {
        let permits = Permits::new(2);
        let first = permits.take();
        let second = permits.take();
        assert!(first.is_some() && second.is_some());
        assert!(permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
        assert_eq!(permits.taken(), 1);
    }
}
