//! A stage of a stream that runs in a separate task, so that it works while its consumer is idle.
//!
//! Owns the task: it starts at the first poll, and is aborted when the stream is dropped.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::task::JoinHandle;

use super::link::{Inlet, Outlet, link};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The stream of a stage that runs in a separate task.
///
/// The task starts at the first poll, within tokio's runtime, and owns its source. Dropping the stream aborts the task
/// and everything that it started. A panic in the task (in the source, or in a function given to the stage, unless
/// documented otherwise) resumes in the task that polls the stream.
pub struct Detached<T> {
    stage: Stage<T>,
}

enum Stage<T> {
    Idle(Box<dyn FnOnce(Outlet<T>) -> Work + Send>),
    Running(Inlet<T>, JoinHandle<()>),
    Ended,
}

impl<T: Send + 'static> Detached<T> {
    /// Creates a stream of the elements that `work` writes to its outlet. The stream ends when `work` ends.
    pub fn new<F>(work: impl FnOnce(Outlet<T>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            stage: Stage::Idle(Box::new(|outlet| Box::pin(work(outlet)))),
        }
    }
}

impl<T> Unpin for Detached<T> {}

impl<T> Stream for Detached<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Stage::Idle(_) = self.stage
            && let Stage::Idle(work) = std::mem::replace(&mut self.stage, Stage::Ended)
        {
            let (outlet, inlet) = link();
            self.stage = Stage::Running(inlet, tokio::spawn(work(outlet)));
        }
        let Stage::Running(inlet, task) = &mut self.stage else {
            return Poll::Ready(None);
        };
        if let Some(item) = ready!(inlet.poll_next(context)) {
            return Poll::Ready(Some(item));
        }
        let ended = ready!(Pin::new(task).poll(context));
        self.stage = Stage::Ended;
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        Poll::Ready(None)
    }
}

impl<T> Drop for Detached<T> {
    fn drop(&mut self) {
        if let Stage::Running(_, task) = &self.stage {
            task.abort();
        }
    }
}

impl<T> fmt::Debug for Detached<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Idle(_) => "idle",
            Stage::Running(..) => "running",
            Stage::Ended => "ended",
        };
        formatter.debug_tuple("Detached").field(&stage).finish()
    }
}
