//! A source that a test feeds.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use tokio::sync::Notify;

use super::WAIT_MAX;

/// Creates a source and the probe that feeds it.
pub fn source_probe<T>() -> (ProbedSource<T>, SourceProbe<T>) {
    let shared = Arc::new(Shared {
        feed: Mutex::new(Feed {
            elements: VecDeque::new(),
            is_complete: false,
            is_cancelled: false,
            delivered: 0,
            requested: None,
        }),
        changed: Notify::new(),
    });
    let source = ProbedSource {
        shared: Arc::clone(&shared),
    };
    (source, SourceProbe { shared })
}

struct Shared<T> {
    feed: Mutex<Feed<T>>,
    /// Notified at each request and when the source is dropped.
    changed: Notify,
}

struct Feed<T> {
    elements: VecDeque<T>,
    is_complete: bool,
    is_cancelled: bool,
    delivered: u64,
    /// The consumer that waits for the next element.
    requested: Option<Waker>,
}

impl<T> Shared<T> {
    fn feed(&self) -> MutexGuard<'_, Feed<T>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let waker = self.feed().requested.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The source of a [`SourceProbe`].
pub struct ProbedSource<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Stream for ProbedSource<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<T>> {
        let mut feed = self.shared.feed();
        if let Some(element) = feed.elements.pop_front() {
            feed.delivered += 1;
            return Poll::Ready(Some(element));
        }
        if feed.is_complete {
            return Poll::Ready(None);
        }
        feed.requested = Some(task.waker().clone());
        drop(feed);
        self.shared.changed.notify_waiters();
        Poll::Pending
    }
}

impl<T> Drop for ProbedSource<T> {
    fn drop(&mut self) {
        let mut feed = self.shared.feed();
        feed.is_cancelled = true;
        feed.requested = None;
        drop(feed);
        self.shared.changed.notify_waiters();
    }
}

/// Feeds a source, and sees what is asked of it. For a source that fails, use elements of type `Result`.
pub struct SourceProbe<T> {
    shared: Arc<Shared<T>>,
}

impl<T> SourceProbe<T> {
    /// Offers an element, which is delivered when it is requested.
    pub fn send(&mut self, element: T) -> &mut Self {
        self.shared.feed().elements.push_back(element);
        self.shared.wake();
        self
    }

    /// Ends the source behind the elements that were sent.
    pub fn complete(&mut self) -> &mut Self {
        self.shared.feed().is_complete = true;
        self.shared.wake();
        self
    }

    /// Returns how many elements were taken.
    pub fn delivered(&self) -> u64 {
        self.shared.feed().delivered
    }

    /// Returns `true` if a consumer waits for an element.
    pub fn is_requested(&self) -> bool {
        self.shared.feed().requested.is_some()
    }

    /// Waits until a consumer waits for an element.
    ///
    /// # Panics
    /// When none does within 3 s.
    pub async fn expect_request(&mut self) {
        self.expect("a request", |feed| feed.requested.is_some())
            .await;
    }

    /// Expects that no consumer waits for an element now.
    ///
    /// # Panics
    /// When one does.
    #[track_caller]
    pub fn expect_no_request(&mut self) {
        assert!(!self.is_requested(), "an element was requested");
    }

    /// Waits until the source is dropped.
    ///
    /// # Panics
    /// When it is not within 3 s.
    pub async fn expect_cancelled(&mut self) {
        self.expect("the source to be dropped", |feed| feed.is_cancelled)
            .await;
    }

    async fn expect(&self, what: &str, holds: fn(&Feed<T>) -> bool) {
        let waiting = async {
            loop {
                // Registered before the look, so that no change in between is missed.
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if holds(&self.shared.feed()) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(WAIT_MAX, waiting).await;
        assert!(waited.is_ok(), "expected {what} within {WAIT_MAX:?}");
    }
}

impl<T> fmt::Debug for ProbedSource<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProbedSource")
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SourceProbe<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SourceProbe")
            .field("delivered", &self.delivered())
            .field("is_requested", &self.is_requested())
            .finish_non_exhaustive()
    }
}
