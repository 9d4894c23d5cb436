//! A streamed answer, which its reader drives.
//!
//! The reader, the HTTP body, polls the source of the stream itself: a part goes from the backend's connection to the
//! caller's without another task between them, and a reader that does not read slows the backend down. The tail of the
//! attempt only waits for the end. When it is dropped, or the attempt is cancelled, the source is closed at once,
//! whether the reader reads or not.

use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt, task::AtomicWaker};
use kebne_control::Outcome;
use kebne_lane::TailEnding;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::StreamItem;

/// A part of a stream.
#[derive(Debug)]
pub struct Part {
    /// What the reader gets.
    pub item: StreamItem,
    /// How the attempt has ended if the reader leaves after this part; `None` if the answer is then cut.
    pub ending: Option<TailEnding>,
}

/// The parts of a stream. After the last part it may go on for a short time to leave the connection in order.
pub type Parts = Pin<Box<dyn Stream<Item = Part> + Send>>;

/// The value of a panic in the source.
type Panic = Box<dyn Any + Send>;

/// The reader's side of a stream. Dropping it ends the attempt.
pub struct EventStream {
    shared: Arc<Shared>,
    /// Sent once, when the reader has no more to get. `None` after that.
    over: Option<oneshot::Sender<Option<Panic>>>,
}

struct Shared {
    state: Mutex<State>,
    reader: AtomicWaker,
}

struct State {
    /// `None` once the stream is closed.
    parts: Option<Parts>,
    /// The ending after the last part that the reader got.
    ending: Option<TailEnding>,
}

/// Closes the source when it is dropped.
struct Source(Arc<Shared>);

impl EventStream {
    /// Creates a stream of these parts; returns it with the tail of its attempt.
    pub fn new(
        parts: Parts,
        cancelled: CancellationToken,
    ) -> (Self, impl Future<Output = TailEnding> + Send + 'static) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                parts: Some(parts),
                ending: None,
            }),
            reader: AtomicWaker::new(),
        });
        let (over, is_over) = oneshot::channel();
        let tail = tail(Source(Arc::clone(&shared)), is_over, cancelled);
        let stream = Self {
            shared,
            over: Some(over),
        };
        (stream, tail)
    }

    /// Returns the next item; `None` if the stream was closed or its source panicked.
    pub fn poll_recv(&mut self, task: &mut Context<'_>) -> Poll<Option<StreamItem>> {
        if self.over.is_none() {
            return Poll::Ready(None);
        }
        self.shared.reader.register(task.waker());
        let mut state = self.shared.state();
        let Some(parts) = &mut state.parts else {
            return Poll::Ready(None);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| parts.as_mut().poll_next(task)));
        let part = match polled {
            Ok(polled) => ready!(polled),
            Err(panic) => {
                drop(state);
                self.end(Some(panic));
                return Poll::Ready(None);
            }
        };
        let Some(Part { item, ending }) = part else {
            return Poll::Ready(None);
        };
        state.ending = ending;
        drop(state);
        if !matches!(item, StreamItem::Events(_)) {
            self.end(None);
        }
        Poll::Ready(Some(item))
    }

    /// Waits for the next item; see [`EventStream::poll_recv`].
    pub async fn recv(&mut self) -> Option<StreamItem> {
        poll_fn(|task| self.poll_recv(task)).await
    }

    fn end(&mut self, panic: Option<Panic>) {
        if let Some(over) = self.over.take() {
            // The attempt may have been given up.
            let _unheard = over.send(panic);
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Takes what is left of the stream, and its ending.
    fn take(&self) -> (Option<Parts>, Option<TailEnding>) {
        let mut state = self.0.state();
        (state.parts.take(), state.ending.take())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let (parts, _) = self.take();
        if parts.is_some() {
            self.0.reader.wake();
        }
    }
}

/// Waits until the reader is done or the attempt is cancelled.
async fn tail(
    source: Source,
    is_over: oneshot::Receiver<Option<Panic>>,
    cancelled: CancellationToken,
) -> TailEnding {
    let over = tokio::select! {
        biased;
        () = cancelled.cancelled() => None,
        over = is_over => over.ok().flatten(),
    };
    if let Some(panic) = over {
        // The lane handles it as it handles any panic of an attempt.
        resume_unwind(panic);
    }
    let (parts, ending) = source.take();
    source.0.reader.wake();
    // A caller who has seen `[DONE]` goes away at once; the backend has succeeded all the same.
    let Some(ending) = ending else {
        return TailEnding {
            outcome: Outcome::Cancelled,
            error: None,
        };
    };
    if let (Some(mut parts), Outcome::Success { .. }) = (parts, ending.outcome) {
        while parts.next().await.is_some() {}
    }
    ending
}

impl fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventStream")
            .field("is_over", &self.over.is_none())
            .finish_non_exhaustive()
    }
}
