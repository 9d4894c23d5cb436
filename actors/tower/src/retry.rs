//! Retries around a service.

use std::task::{Context, Poll};

use kebne_streams::retry::Retry;
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{BoxFuture, attempt};

/// Repeats calls that end with an error. **Use it for idempotent requests only**; a lane repeats others where that is safe.
#[derive(Clone, Debug)]
pub struct RetryLayer {
    retry: Retry,
}

impl RetryLayer {
    /// Creates a layer of these retries.
    pub fn new(retry: Retry) -> Self {
        Self { retry }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = RetryService<S>;

    fn layer(&self, service: S) -> Self::Service {
        RetryService {
            service,
            retry: self.retry.clone(),
        }
    }
}

/// A service whose failed calls are repeated.
#[derive(Clone, Debug)]
pub struct RetryService<S> {
    service: S,
    retry: Retry,
}

impl<S, R> Service<R> for RetryService<S>
where
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<S::Response, S::Error>;

    /// Always ready: each attempt waits for a clone of the service.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (retry, service) = (self.retry.clone(), self.service.clone());
        Box::pin(async move {
            let next = || attempt(service.clone(), request.clone());
            retry.run(next).await
        })
    }
}
