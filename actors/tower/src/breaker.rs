//! A circuit breaker around a service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use kebne_streams::breaker::{BreakerError, CircuitBreaker};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{BoxFuture, attempt};

/// Guards services by one circuit breaker. By default each `Err` is a failure; see [`BreakerLayer::deciding`].
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    breaker: CircuitBreaker,
}

impl BreakerLayer {
    /// Creates a layer of this breaker, which others may share.
    pub fn new(breaker: CircuitBreaker) -> Self {
        Self { breaker }
    }

    /// Wraps a service, and decides which results are failures: a response with status 500 is an `Ok` of most clients.
    pub fn deciding<S, T, E>(
        &self,
        service: S,
        is_failure: impl Fn(&Result<T, E>) -> bool + Send + Sync + 'static,
    ) -> BreakerService<S, T, E> {
        BreakerService {
            service,
            breaker: self.breaker.clone(),
            is_failure: Arc::new(is_failure),
        }
    }
}

/// Decides whether a result is a failure.
type IsFailure<T, E> = Arc<dyn Fn(&Result<T, E>) -> bool + Send + Sync>;

impl<S> Layer<S> for BreakerLayer {
    type Service = Guarded<S>;

    fn layer(&self, service: S) -> Self::Service {
        Guarded {
            service,
            breaker: self.breaker.clone(),
        }
    }
}

/// A service whose errors a breaker counts.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    service: S,
    breaker: CircuitBreaker,
}

impl<S, R> Service<R> for Guarded<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = BreakerError<S::Error>;
    type Future = BoxFuture<S::Response, Self::Error>;

    /// Always ready: an open breaker refuses the call itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (breaker, service) = (self.breaker.clone(), self.service.clone());
        Box::pin(async move { breaker.call(attempt(service, request)).await })
    }
}

/// A service whose results a breaker counts by a decider.
pub struct BreakerService<S, T, E> {
    service: S,
    breaker: CircuitBreaker,
    is_failure: IsFailure<T, E>,
}

impl<S: Clone, T, E> Clone for BreakerService<S, T, E> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            breaker: self.breaker.clone(),
            is_failure: Arc::clone(&self.is_failure),
        }
    }
}

impl<S, R, T, E> Service<R> for BreakerService<S, T, E>
where
    S: Service<R, Response = T, Error = E> + Clone + Send + 'static,
    S::Future: Send,
    R: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    type Response = T;
    type Error = BreakerError<E>;
    type Future = BoxFuture<T, Self::Error>;

    /// Always ready: an open breaker refuses the call itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let attempt = attempt(this.service, request);
            let is_failure = |result: &Result<T, E>| (this.is_failure)(result);
            this.breaker.call_deciding(attempt, is_failure).await
        })
    }
}

impl<S, T, E> fmt::Debug for BreakerService<S, T, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BreakerService")
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}
