//! The caller's end of a lane: a cheap handle, a reply, and the guard that counts its one ending.

use std::{fmt, sync::Arc, time::Duration};

use crate::lane::{
    backend::Backend,
    call::{CallError, CallOptions, Ending},
};

/// A handle to one lane; clones share it.
pub struct LaneHandle<B: Backend> {
    /// The backend, called directly until the lane's actors stand between.
    backend: Arc<B>,
}

/// An admitted call's answer.
pub struct Reply<T> {
    /// What the backend answered.
    pub response: T,
    /// Must live as long as the answer is being delivered.
    pub guard: CallGuard,
    /// Attempts made, this one included.
    pub attempts: u32,
    /// Time spent waiting before the successful attempt was dispatched.
    pub waited: Duration,
}

/// Rides with the answer's body. Dropped without [`CallGuard::finish`], the call counts as cancelled and the
/// upstream work is cancelled.
#[derive(Debug)]
pub struct CallGuard {
    ending: Option<Ending>,
}

impl CallGuard {
    /// Reports how the call ended and gives its place back. Only the first report of a call counts.
    pub fn finish(mut self, ending: Ending) {
        self.ending = Some(ending);
    }
}
impl<B: Backend> Clone for LaneHandle<B> {
    fn clone(&self) -> Self {
        Self {
            backend: Arc::clone(&self.backend),
        }
    }
}

impl<B: Backend> fmt::Debug for LaneHandle<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LaneHandle").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Reply<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reply")
            .field("response", &self.response)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> LaneHandle<B> {
    /// Makes a call: waits for its turn, attempts, retries, and answers or says why not.
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(
        &self,
        request: B::Request,
        options: CallOptions,
    ) -> Result<Reply<B::Response>, CallError> {
        let cancelled = tokio_util::sync::CancellationToken::new();
        let attempt = crate::lane::Attempt {
            request,
            number: 1,
            wake: false,
            first_part_timeout: options.first_part_timeout,
            idle_timeout: options.deadline,
            cancelled,
        };
        let answer = self
            .backend
            .attempt(attempt)
            .await
            .map_err(|failure| CallError::Failed {
                failure,
                attempts: 1,
            })?;
        if let Some(tail) = answer.tail {
            tokio::spawn(tail);
        }
        let guard = CallGuard { ending: None };
        Ok(Reply {
            response: answer.response,
            guard,
            attempts: 1,
            waited: Duration::ZERO,
        })
    }

    /// Makes a handle that calls the backend directly.
    pub fn direct(backend: Arc<B>) -> Self {
        Self { backend }
    }
}
