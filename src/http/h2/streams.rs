//! The streams of one connection: their number, and whether their callers take what is written.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    rc::Rc,
    time::Duration,
};

use hyper::rt::Executor;
use tokio::time::Instant;

/// The streams of one connection; clones share them.
#[derive(Clone)]
pub(super) struct Streams(Rc<Inner>);

struct Inner {
    /// Streams of the thread, and how many there may be.
    of_thread: Rc<Cell<usize>>,
    max: usize,
    write_timeout: Duration,
    /// Streams of this connection.
    open: Cell<usize>,
    /// `true` once the connection has had a stream.
    has_begun: Cell<bool>,
    /// When the connection was opened, or its number of streams last became zero.
    idle_since: Cell<Instant>,
    /// The stream that has begun and whose task has not been started.
    next: RefCell<Option<Stream>>,
}

/// One stream, until its task ends.
struct Stream {
    streams: Streams,
    progress: Rc<Progress>,
}

/// What is known of the writing of an answer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Since when the last part of the answer waits for the caller; `None` while the answer itself is waited for.
    waits_since: Cell<Option<Instant>>,
}

/// The reason for a stream that is refused before anything of it was done: its caller may try it again elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the thread has as many streams as it may")]
pub(super) struct Refused(#[source] h2::Error);

impl Streams {
    pub(super) fn new(of_thread: &Rc<Cell<usize>>, max: usize, write_timeout: Duration) -> Self {
        Self(Rc::new(Inner {
            of_thread: Rc::clone(of_thread),
            max,
            write_timeout,
            open: Cell::new(0),
            has_begun: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            next: RefCell::default(),
        }))
    }

    /// Counts a new stream. `hyper` starts its task before it asks for another one.
    ///
    /// # Errors
    /// Returns an error if the thread has as many streams as it may.
    pub(super) fn begin(&self) -> Result<Rc<Progress>, Refused> {
        let inner = &*self.0;
        if inner.of_thread.get() >= inner.max {
            return Err(Refused(h2::Reason::REFUSED_STREAM.into()));
        }
        inner.of_thread.set(inner.of_thread.get() + 1);
        inner.open.set(inner.open.get() + 1);
        inner.has_begun.set(true);
        let progress = Rc::new(Progress::default());
        inner.next.replace(Some(Stream {
            streams: self.clone(),
            progress: Rc::clone(&progress),
        }));
        Ok(progress)
    }

    /// Returns when the connection had no stream for `keep_alive`, or did not have its first one within `first`.
    pub(super) async fn idle(&self, first: Duration, keep_alive: Duration) {
        let inner = &*self.0;
        loop {
            let limit = if inner.has_begun.get() {
                keep_alive
            } else {
                first
            };
            let wait = if inner.open.get() > 0 {
                limit
            } else {
                limit.saturating_sub(inner.idle_since.get().elapsed())
            };
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let inner = &*self.streams.0;
        inner.of_thread.set(inner.of_thread.get() - 1);
        inner.open.set(inner.open.get() - 1);
        if inner.open.get() == 0 {
            inner.idle_since.set(Instant::now());
        }
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    /// Starts the task of a stream, which is dropped when its caller takes nothing of the answer for too long.
    fn execute(&self, task: F) {
        let stream = self.0.next.take();
        let limit = self.0.write_timeout;
        actix_rt::spawn(async move {
            let Some(stream) = stream else {
                return task.await;
            };
            tokio::select! {
                biased;
                () = task => {}
                () = stream.progress.stalled(limit) => {
                    tracing::debug!(?limit, "a caller takes nothing of its answer");
                }
            }
        });
    }
}

impl Progress {
    /// Records that a part of the answer waits for the caller.
    pub(super) fn waits(&self) {
        self.waits_since.set(Some(Instant::now()));
    }

    /// Records that the caller has taken all that was written.
    pub(super) fn moves(&self) {
        self.waits_since.set(None);
    }

    /// Returns when the same part of the answer has waited for `limit`.
    async fn stalled(&self, limit: Duration) {
        loop {
            let waited = self.waits_since.get().map(|since| since.elapsed());
            let wait = limit.saturating_sub(waited.unwrap_or_default());
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Streams")
            .field("open", &self.0.open.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(max: usize) -> Streams {
        Streams::new(&Rc::default(), max, Duration::from_secs(30))
    }

    #[actix::test]
    async fn a_thread_has_no_more_streams_than_it_may() {
        let of_thread = Rc::default();
        let [one, two] = [(); 2].map(|()| Streams::new(&of_thread, 2, Duration::from_secs(30)));
        one.begin().unwrap();
        let first = one.0.next.take();
        two.begin().unwrap();
        let second = two.0.next.take();
        let refused = one.begin().unwrap_err();
        assert_eq!(refused.0.reason(), Some(h2::Reason::REFUSED_STREAM));
        drop(second);
        one.begin().unwrap();
        let third = one.0.next.take();
        assert!(two.begin().is_err());
        drop((first, third));
        assert_eq!(of_thread.get(), 0);
    }

    #[actix::test]
    async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
        tokio::time::pause();
        let seconds = Duration::from_secs;
        let since = Instant::now();
        streams(9).idle(seconds(15), seconds(75)).await;
        assert_eq!(since.elapsed().as_secs(), 15, "no request came");
        let used = streams(9);
        used.begin().unwrap();
        let stream = used.0.next.take();
        let since = Instant::now();
        let ends = async {
            tokio::time::sleep(seconds(100)).await;
            drop(stream);
        };
        tokio::join!(ends, used.idle(seconds(15), seconds(75)));
        assert_eq!(since.elapsed().as_secs(), 175);
    }

    #[actix::test]
    async fn only_a_part_that_nobody_takes_ends_a_stream() {
        tokio::time::pause();
        let limit = Duration::from_secs(30);
        let progress = Progress::default();
        let since = Instant::now();
        let writes = async {
            // A part is taken just in time, and the next one is long in coming.
            progress.waits();
            tokio::time::sleep(Duration::from_secs(29)).await;
            progress.moves();
            tokio::time::sleep(Duration::from_mins(5)).await;
            progress.waits();
        };
        tokio::join!(writes, progress.stalled(limit));
        assert_eq!(since.elapsed().as_secs(), 29 + 300 + 30);
    }
}
