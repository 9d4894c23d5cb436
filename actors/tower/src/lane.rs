//! A lane around a service.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use kebne_actors::ActorSystem;
use kebne_lane::{
    Answer, Attempt, Backend, CallError, CallOptions, Failure, LaneBuilder, LaneHandle,
    LaneSettings, Outcome, StartError,
};
use tokio::sync::OnceCell;
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{BoxFuture, attempt};

/// Classifies the results of a service for a lane.
pub trait Classify<T, E>: Send + Sync + 'static {
    /// Returns `None` for a success, or the failure that the lane is to see. Return `Outcome::Limit`, `Rate` or `Cold` only
    /// where the service did nothing for the request, for the lane repeats these.
    fn classify(&self, result: &Result<T, E>) -> Option<Failure>;
}

impl<T, E, F> Classify<T, E> for F
where
    F: Fn(&Result<T, E>) -> Option<Failure> + Send + Sync + 'static,
{
    fn classify(&self, result: &Result<T, E>) -> Option<Failure> {
        self(result)
    }
}

/// Returns what an HTTP status means for a lane; `None` is a success.
///
/// | status | outcome |
/// |---|---|
/// | 429, 503, 529 with `retry-after` in seconds | `Rate` |
/// | 429, 503, 529 without | `Limit` |
/// | 408, 504 | `Timeout` |
/// | other 5xx | `Fault` |
/// | 401, 403, 404 | `Misconfigured` |
/// | other 4xx | `Client` |
/// | 3xx | `Unusable` |
pub fn outcome_of_status(status: StatusCode, headers: &HeaderMap) -> Option<Outcome> {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after = seconds.and_then(|seconds| seconds.trim().parse().ok());
    match (status.as_u16(), retry_after) {
        (429 | 503 | 529, Some(seconds)) => Some(Outcome::Rate {
            retry_after: Some(Duration::from_secs(seconds)),
            slow_down: false,
        }),
        (429 | 503 | 529, None) => Some(Outcome::Limit),
        (408 | 504, _) => Some(Outcome::Timeout),
        (500.., _) => Some(Outcome::Fault),
        (401 | 403 | 404, _) => Some(Outcome::Misconfigured),
        (400.., _) => Some(Outcome::Client),
        (300.., _) => Some(Outcome::Unusable),
        _ => None,
    }
}

/// Puts a lane in front of a service. Each service of the layer has a lane of its own, whose clones share it.
///
/// The lane starts with the first call. It needs an actor system with a thread: `ActorSystem::with_thread`.
///
/// A call counts until its response is there; a body that is streamed afterwards does not.
pub struct LaneLayer<C, R> {
    system: ActorSystem,
    name: String,
    settings: LaneSettings,
    options: CallOptions,
    classify: Arc<C>,
    request: PhantomData<fn(R)>,
}

impl<C, R> LaneLayer<C, R> {
    /// Creates a layer of lanes with default settings. Calls wait for a minute at most, and are not idempotent.
    pub fn new(system: &ActorSystem, name: impl Into<String>, classify: C) -> Self {
        Self {
            system: system.clone(),
            name: name.into(),
            settings: LaneSettings::default(),
            options: CallOptions::within(Duration::from_mins(1)),
            classify: Arc::new(classify),
            request: PhantomData,
        }
    }

    /// Sets the settings of the lanes. Values out of range are the error of each call.
    #[must_use]
    pub fn settings(mut self, settings: LaneSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the options of the calls: their deadline, and what may be repeated.
    #[must_use]
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }
}

impl<C, R> Clone for LaneLayer<C, R> {
    fn clone(&self) -> Self {
        Self {
            system: self.system.clone(),
            name: self.name.clone(),
            settings: self.settings.clone(),
            options: self.options.clone(),
            classify: Arc::clone(&self.classify),
            request: PhantomData,
        }
    }
}

impl<C, R> fmt::Debug for LaneLayer<C, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LaneLayer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A service as the backend of a lane.
pub struct ServiceBackend<S, C, R> {
    service: Mutex<S>,
    classify: Arc<C>,
    request: PhantomData<fn(R)>,
}

impl<S, C, R> Backend for ServiceBackend<S, C, R>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + fmt::Display + 'static,
    C: Classify<S::Response, S::Error>,
    R: Clone + Send + Sync + 'static,
{
    type Request = R;
    type Response = S::Response;

    async fn attempt(&self, tried: Attempt<R>) -> Result<Answer<S::Response>, Failure> {
        let service = self.service.lock();
        let service = service.unwrap_or_else(PoisonError::into_inner).clone();
        let result = attempt(service, tried.request).await;
        match (self.classify.classify(&result), result) {
            (Some(failure), _) => Err(failure),
            (None, Ok(response)) => Ok(Answer::complete(response)),
            // An error cannot be a success.
            (None, Err(error)) => Err(Failure::new(Outcome::Fault, error.to_string())),
        }
    }
}

impl<S, C, R> fmt::Debug for ServiceBackend<S, C, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServiceBackend")
            .finish_non_exhaustive()
    }
}

/// Why a call through a [`LaneService`] has no response.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The lane did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The lane's answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A service behind a lane.
pub struct LaneService<S, C, R>
where
    ServiceBackend<S, C, R>: Backend,
{
    layer: LaneLayer<C, R>,
    backend: Arc<ServiceBackend<S, C, R>>,
    lane: Arc<OnceCell<LaneHandle<ServiceBackend<S, C, R>>>>,
}

impl<S, C, R> LaneService<S, C, R>
where
    ServiceBackend<S, C, R>: Backend,
{
    /// Returns the lane, to see its state; starts it if no call has.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn lane(&self) -> Result<&LaneHandle<ServiceBackend<S, C, R>>, StartError> {
        let start = || async {
            let builder = LaneBuilder::new(&self.layer.name, Arc::clone(&self.backend));
            let builder = builder.settings(self.layer.settings.clone());
            builder.start(&self.layer.system).await
        };
        self.lane.get_or_try_init(start).await
    }
}

impl<S, C, R> Clone for LaneService<S, C, R>
where
    ServiceBackend<S, C, R>: Backend,
{
    fn clone(&self) -> Self {
        Self {
            layer: self.layer.clone(),
            backend: Arc::clone(&self.backend),
            lane: Arc::clone(&self.lane),
        }
    }
}

impl<S, C, R> fmt::Debug for LaneService<S, C, R>
where
    ServiceBackend<S, C, R>: Backend,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LaneService")
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}

impl<S, C, R> Layer<S> for LaneLayer<C, R>
where
    ServiceBackend<S, C, R>: Backend,
{
    type Service = LaneService<S, C, R>;

    fn layer(&self, service: S) -> Self::Service {
        LaneService {
            layer: self.clone(),
            backend: Arc::new(ServiceBackend {
                service: Mutex::new(service),
                classify: Arc::clone(&self.classify),
                request: PhantomData,
            }),
            lane: Arc::default(),
        }
    }
}

impl<S, C, R> Service<R> for LaneService<S, C, R>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + fmt::Display + 'static,
    C: Classify<S::Response, S::Error>,
    R: Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = LaneError;
    type Future = BoxFuture<S::Response, LaneError>;

    /// Always ready: the lane's own queue is bounded, and it refuses what it cannot take.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LaneError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let lane = this.lane().await?;
            let reply = lane.call(request, this.layer.options.clone()).await?;
            Ok(reply.complete())
        })
    }
}
