//! An attempt that runs inside the future of its call, which saves a task and a message for each call.
//!
//! It becomes a task of the caller's runtime as soon as the call no longer waits for it: when a streamed answer has begun,
//! or when the caller has left and the attempt must still notice it and report its end.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
};

use tokio::runtime::Handle;

use crate::{attempt_task::AttemptTask, backend::Backend};

/// The attempt of one call.
pub(crate) struct InPlace {
    /// `None` once the attempt has ended.
    attempt: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    home: Handle,
}

impl InPlace {
    pub(crate) fn new<B: Backend>(task: AttemptTask<B>) -> Self {
        Self {
            home: task.home(),
            attempt: Some(Box::pin(task.run())),
        }
    }

    /// Runs the attempt until the call is answered; returns the answer.
    pub(crate) async fn until<A: Future + Unpin>(mut self, mut answer: A) -> A::Output {
        poll_fn(|task| {
            // Taken out while it is polled, so that it is dropped if it panics.
            if let Some(mut attempt) = self.attempt.take()
                && attempt.as_mut().poll(task).is_pending()
            {
                self.attempt = Some(attempt);
            }
            Pin::new(&mut answer).poll(task)
        })
        .await
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.home.spawn(attempt);
        }
    }
}

impl fmt::Debug for InPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("InPlace")
            .field("has_ended", &self.attempt.is_none())
            .finish_non_exhaustive()
    }
}
