//! One call of a clone of a service.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
};

use tower_service::Service;

/// The future of a layer.
pub(crate) type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Waits until a service is ready, and calls it.
pub(crate) async fn attempt<S, R>(mut service: S, request: R) -> Result<S::Response, S::Error>
where
    S: Service<R>,
{
    poll_fn(|task| service.poll_ready(task)).await?;
    service.call(request).await
}
