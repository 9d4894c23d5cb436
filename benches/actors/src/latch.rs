//! A count that one task waits for, counted down from any thread.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Latch {
    left: AtomicUsize,
    open: Notify,
}

impl Latch {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(count),
            open: Notify::new(),
        })
    }

    pub(crate) fn count_down(&self) {
        if self.left.fetch_sub(1, SeqCst) == 1 {
            self.open.notify_one();
        }
    }

    /// Waits, without being woken, until no more than `left` are left.
    pub(crate) async fn until(&self, left: usize) {
        while self.left.load(SeqCst) > left {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until all are counted.
    pub(crate) async fn wait(&self) {
        self.open.notified().await;
    }
}
