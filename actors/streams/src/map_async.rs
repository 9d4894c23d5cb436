//! Asynchronous work on elements with a bounded parallelism, which continues while the consumer is idle.
//!
//! Owns the tasks: the work on each element is a task, so it advances independently, and its panic is an error of the
//! stream. A failure ends the stream when it happens, not in the order of the elements. Source: Pekko
//! `FlowMapAsyncSpec`, `FlowMapAsyncUnorderedSpec`.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
};

use futures_core::Stream;
use futures_util::StreamExt;
use tokio::task::{Id, JoinError, JoinSet, coop::consume_budget};

use super::{detached::Detached, link::Outlet, places::Places};

/// The reason why the work on an element has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError<E> {
    /// It failed.
    #[error(transparent)]
    Failed(E),
    /// It panicked, with this message.
    #[error("the work on an element panicked: {0}")]
    Panicked(String),
}

type Resume<E> = Arc<dyn Fn(&MapError<E>) -> bool + Send + Sync>;

/// The options of [`FlowExt::map_async_with`](super::FlowExt::map_async_with).
pub struct MapOptions<E> {
    parallelism: usize,
    ordered: bool,
    resume: Option<Resume<E>>,
}

impl<E> MapOptions<E> {
    /// Works on up to `parallelism` elements (0 counts as 1) and emits in the order of the source.
    pub fn ordered(parallelism: usize) -> Self {
        Self {
            parallelism: parallelism.max(1),
            ordered: true,
            resume: None,
        }
    }

    /// Works on up to `parallelism` elements (0 counts as 1) and emits each result as soon as it is ready.
    pub fn unordered(parallelism: usize) -> Self {
        Self {
            ordered: false,
            ..Self::ordered(parallelism)
        }
    }

    pub(super) fn parallelism(&self) -> usize {
        self.parallelism
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.ordered
    }

    pub(super) fn resumes(&self, error: &MapError<E>) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume(error))
    }

    /// Skips an element if `resume` returns `true` for its failure. `resume` is called once for each failure. By
    /// default no element is skipped.
    #[must_use]
    pub fn resuming(
        mut self,
        resume: impl Fn(&MapError<E>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.resume = Some(Arc::new(resume));
        self
    }
}

impl<E> fmt::Debug for MapOptions<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MapOptions")
            .field("parallelism", &self.parallelism)
            .field("ordered", &self.ordered)
            .field("resuming", &self.resume.is_some())
            .finish()
    }
}

pub(super) fn map_async<S, F, W, U, E>(
    source: S,
    options: MapOptions<E>,
    work: F,
) -> Detached<Result<U, MapError<E>>>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
    F: FnMut(S::Item) -> W + Send + 'static,
    W: Future<Output = Result<U, E>> + Send + 'static,
    U: Send + 'static,
    E: Send + 'static,
{
    Detached::new(async move |outlet| {
        // The source and all tasks are dropped before the failure waits for the consumer.
        if let Err(error) = drive(source, options, work, &outlet).await {
            outlet.send(Err(error)).await;
        }
    })
}

async fn drive<S, F, W, U, E>(
    source: S,
    options: MapOptions<E>,
    mut work: F,
    outlet: &Outlet<Result<U, MapError<E>>>,
) -> Result<(), MapError<E>>
where
    S: Stream,
    F: FnMut(S::Item) -> W,
    W: Future<Output = Result<U, E>> + Send + 'static,
    U: Send + 'static,
    E: Send + 'static,
{
    let mut source = pin!(source.fuse());
    let mut running = JoinSet::new();
    let mut numbers = HashMap::new();
    let mut places = Places::new(options.ordered);
    loop {
        consume_budget().await;
        if source.is_done() && places.is_empty() {
            return Ok(());
        }
        let room = places.len() < options.parallelism;
        let pull = room && !source.is_done();
        let failure = tokio::select! {
            biased;
            joined = running.join_next_with_id(), if !running.is_empty() => {
                joined.and_then(|joined| note(joined, &mut numbers, &mut places))
            }
            () = outlet.wanted(), if places.is_ready() => {
                if let Some(value) = places.take() {
                    outlet.put(Ok(value));
                }
                None
            }
            item = source.next(), if pull => {
                let Some(item) = item else {
                    continue;
                };
                match catch_unwind(AssertUnwindSafe(|| work(item))) {
                    Ok(task) => {
                        let id = running.spawn(task).id();
                        numbers.insert(id, places.begin());
                        None
                    }
                    Err(panic) => Some(MapError::Panicked(message(panic.as_ref()))),
                }
            }
        };
        if let Some(error) = failure
            && !options.resumes(&error)
        {
            return Err(error);
        }
    }
}

/// Notes the result of a task. A failure gives up its place and is returned.
pub(super) fn note<U, E>(
    joined: Result<(Id, Result<U, E>), JoinError>,
    numbers: &mut HashMap<Id, u64>,
    places: &mut Places<U>,
) -> Option<MapError<E>> {
    let (id, result) = match joined {
        Ok((id, result)) => (id, result.map_err(MapError::Failed)),
        Err(error) => (error.id(), Err(MapError::Panicked(lost(error)))),
    };
    let number = numbers.remove(&id)?;
    match result {
        Ok(value) => places.done(number, value),
        Err(error) => {
            places.skip(number);
            return Some(error);
        }
    }
    None
}

fn lost(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => message(panic.as_ref()),
        Err(error) => error.to_string(),
    }
}

pub(super) fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
