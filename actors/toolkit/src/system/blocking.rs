//! Waiting for a future on a thread without a runtime.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context as Task, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use crate::clock::real_now;

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until the future is ready, for `limit` of real time at most; returns `None` then.
pub(super) fn wait_for<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    let end = real_now().checked_add(limit);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Task::from_waker(&waker)) {
            return Some(output);
        }
        // A limit beyond the clock's range is none.
        let Some(end) = end else {
            thread::park();
            continue;
        };
        let left = end.saturating_duration_since(real_now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}
