//! A bounded queue that is the source of a stream. The result of an offer is known at once.
//!
//! Owns the elements that were offered and not yet pulled; the bound is strict for any number of clones. An enqueued
//! element is delivered unless the stream is dropped or the queue fails. Source: Pekko `BoundedSourceQueueSpec`.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;

/// The result of an offer; an element that was not accepted is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueOffer<T, E> {
    /// It will be delivered, unless the stream is dropped or the queue fails.
    Enqueued,
    /// The queue is full.
    Dropped(T),
    /// The queue was completed, or its stream was dropped.
    Closed(T),
    /// The queue failed with this error.
    Failed(T, E),
}

impl<T, E> QueueOffer<T, E> {
    /// Returns `true` if the element was accepted.
    pub fn is_enqueued(&self) -> bool {
        matches!(self, Self::Enqueued)
    }
}

/// The error of a queue that was already completed or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue has already been completed")]
pub struct AlreadyCompleted;

/// The sending end; clones share it. The queue completes when the last one is dropped.
pub struct SourceQueue<T, E>(Arc<Handle<T, E>>);

/// Completes the queue when the last clone is dropped.
struct Handle<T, E>(Arc<Mutex<Queue<T, E>>>);

/// The receiving end, a stream. A failure takes precedence over enqueued elements, as in Pekko.
pub struct QueueSource<T, E>(Arc<Mutex<Queue<T, E>>>);

struct Queue<T, E> {
    size: usize,
    waiting: VecDeque<T>,
    state: State<E>,
    consumer: Option<Waker>,
}

enum State<E> {
    Open,
    Completed,
    /// The error, and whether the stream has yielded it. It is kept for later offers.
    Failed(E, bool),
    Cancelled,
}

/// Creates a queue of up to `size` elements (0 counts as 1) and its stream.
pub fn source_queue<T, E: Clone>(size: usize) -> (SourceQueue<T, E>, QueueSource<T, E>) {
    let queue = Arc::new(Mutex::new(Queue {
        size: size.max(1),
        waiting: VecDeque::new(),
        state: State::Open,
        consumer: None,
    }));
    let handle = Handle(Arc::clone(&queue));
    (SourceQueue(Arc::new(handle)), QueueSource(queue))
}

fn lock<T, E>(queue: &Mutex<Queue<T, E>>) -> MutexGuard<'_, Queue<T, E>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T, E: Clone> SourceQueue<T, E> {
    /// Offers an element without waiting.
    pub fn offer(&self, item: T) -> QueueOffer<T, E> {
        let consumer = {
            let mut queue = lock(&self.0.0);
            match &queue.state {
                State::Completed | State::Cancelled => return QueueOffer::Closed(item),
                State::Failed(error, _) => return QueueOffer::Failed(item, error.clone()),
                State::Open if queue.waiting.len() >= queue.size => {
                    return QueueOffer::Dropped(item);
                }
                State::Open => queue.waiting.push_back(item),
            }
            queue.consumer.take()
        };
        wake(consumer);
        QueueOffer::Enqueued
    }

    /// Completes the stream after the enqueued elements.
    ///
    /// # Errors
    /// Returns an error if the queue was completed or failed before.
    pub fn complete(&self) -> Result<(), AlreadyCompleted> {
        self.0.end(State::Completed)
    }

    /// Fails the stream at once; enqueued elements are dropped.
    ///
    /// # Errors
    /// Returns an error if the queue was completed or failed before.
    pub fn fail(&self, error: E) -> Result<(), AlreadyCompleted> {
        self.0.end(State::Failed(error, false))
    }

    /// Returns the number of waiting elements.
    pub fn len(&self) -> usize {
        lock(&self.0.0).waiting.len()
    }

    /// Returns `true` if no element waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T, E> Handle<T, E> {
    fn end(&self, state: State<E>) -> Result<(), AlreadyCompleted> {
        let (consumer, dropped) = {
            let mut queue = lock(&self.0);
            match queue.state {
                State::Open => {}
                // The stream was dropped, so there is nothing to complete; this is not an error.
                State::Cancelled => return Ok(()),
                State::Completed | State::Failed(..) => return Err(AlreadyCompleted),
            }
            let failed = matches!(state, State::Failed(..));
            queue.state = state;
            let dropped = failed.then(|| std::mem::take(&mut queue.waiting));
            (queue.consumer.take(), dropped)
        };
        wake(consumer);
        drop(dropped);
        Ok(())
    }
}

impl<T, E> Drop for Handle<T, E> {
    fn drop(&mut self) {
        // An error means that the queue was already completed.
        let _completed_before = self.end(State::Completed);
    }
}

fn wake(consumer: Option<Waker>) {
    if let Some(consumer) = consumer {
        consumer.wake();
    }
}

impl<T, E: Clone> Stream for QueueSource<T, E> {
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = lock(&self.0);
        if let Some(item) = queue.waiting.pop_front() {
            return Poll::Ready(Some(Ok(item)));
        }
        match &mut queue.state {
            State::Open => {
                queue.consumer = Some(context.waker().clone());
                Poll::Pending
            }
            State::Failed(error, is_reported @ false) => {
                *is_reported = true;
                Poll::Ready(Some(Err(error.clone())))
            }
            State::Failed(_, true) | State::Completed | State::Cancelled => Poll::Ready(None),
        }
    }
}

impl<T, E> Drop for QueueSource<T, E> {
    fn drop(&mut self) {
        let dropped = {
            let mut queue = lock(&self.0);
            if matches!(queue.state, State::Open) {
                queue.state = State::Cancelled;
            }
            std::mem::take(&mut queue.waiting)
        };
        // Elements are dropped outside the lock, because their drop may offer again.
        drop(dropped);
    }
}

impl<T, E> Clone for SourceQueue<T, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, E> fmt::Debug for SourceQueue<T, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = lock(&self.0.0);
        formatter
            .debug_struct("SourceQueue")
            .field("size", &queue.size)
            .field("waiting", &queue.waiting.len())
            .finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for QueueSource<T, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QueueSource")
            .field("waiting", &lock(&self.0).waiting.len())
            .finish_non_exhaustive()
    }
}
