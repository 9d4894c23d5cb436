//! A token bucket around a service.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use kebne_streams::TokenBucket;
use tokio::time::{Instant, sleep};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{BoxFuture, attempt};

/// Delays calls to a rate, and refuses those that would wait too long. All services of one layer share its bucket.
#[derive(Clone)]
pub struct ThrottleLayer {
    bucket: Arc<Mutex<TokenBucket>>,
    wait_max: Duration,
}

impl ThrottleLayer {
    /// Allows `burst` calls at once, and one more each `interval`. Calls that come too early wait, at most for `wait_max`,
    /// which bounds their number; with zero they are refused at once.
    pub fn new(burst: u64, interval: Duration, wait_max: Duration) -> Self {
        let bucket = TokenBucket::new(burst, interval, Instant::now());
        Self {
            bucket: Arc::new(Mutex::new(bucket)),
            wait_max,
        }
    }

    /// Takes a token; returns how long to wait for it, or the same as an error if that is too long.
    fn take(&self) -> Result<Duration, Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = bucket.clone();
        let wait = after.offer(Instant::now(), 1);
        if wait > self.wait_max {
            return Err(wait);
        }
        *bucket = after;
        Ok(wait)
    }
}

impl<S> Layer<S> for ThrottleLayer {
    type Service = ThrottleService<S>;

    fn layer(&self, service: S) -> Self::Service {
        ThrottleService {
            service,
            throttle: self.clone(),
        }
    }
}

impl fmt::Debug for ThrottleLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ThrottleLayer")
            .field("wait_max", &self.wait_max)
            .finish_non_exhaustive()
    }
}

/// Why a throttled call has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThrottleError<E> {
    /// It would have waited longer than the layer allows; it was not made.
    #[error("too early by {wait:?}")]
    TooEarly {
        /// How long it would have waited.
        wait: Duration,
    },
    /// It was made and failed.
    #[error(transparent)]
    Failed(E),
}

/// A service whose calls have a rate.
#[derive(Clone, Debug)]
pub struct ThrottleService<S> {
    service: S,
    throttle: ThrottleLayer,
}

impl<S, R> Service<R> for ThrottleService<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = ThrottleError<S::Error>;
    type Future = BoxFuture<S::Response, Self::Error>;

    /// Always ready: a call waits in its own future, so that one that is dropped does not hold up others.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let taken = self.throttle.take();
        let service = self.service.clone();
        Box::pin(async move {
            let wait = taken.map_err(|wait| ThrottleError::TooEarly { wait })?;
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let answered = attempt(service, request).await;
            answered.map_err(ThrottleError::Failed)
        })
    }
}
