//! A source that is created again when it ends, after an increasing wait.
//!
//! Owns the times of the restarts. An element in flight in a source that fails is lost with it, as in Pekko.
//! Source: Pekko `RestartSource`, `RestartSettings` and `RestartSpec`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

use crate::backoff::Backoff;

/// Determines when a source is created again.
#[derive(Clone, Debug)]
pub struct RestartSettings {
    backoff: Backoff,
    max_restarts: Option<u32>,
    within: Duration,
    on_completion: bool,
    seed: u64,
}

impl RestartSettings {
    /// Restarts on failure and on completion, without a limit, after `backoff`. The wait starts from its minimum again
    /// when a source has lived for longer than `within`, which is that minimum unless
    /// [`RestartSettings::max_restarts`] sets it.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            within: backoff.min(),
            backoff,
            max_restarts: None,
            on_completion: true,
            seed: 1,
        }
    }

    /// Sets the largest number of restarts. The count starts again when a source has lived for longer than `within`. 0
    /// never restarts.
    #[must_use]
    pub fn max_restarts(mut self, restarts: u32, within: Duration) -> Self {
        self.max_restarts = Some(restarts);
        self.within = within;
        self
    }

    /// Completes the stream when its source completes: Pekko's `onFailuresWithBackoff`.
    #[must_use]
    pub fn on_failures_only(mut self) -> Self {
        self.on_completion = false;
        self
    }

    /// Sets the seed of the backoff's random part; default 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// A stream whose source is created again when it ends; see [`restart_source`].
pub struct Restart<S, F, E> {
    settings: RestartSettings,
    factory: F,
    decide: Box<dyn FnMut(&E) -> bool + Send>,
    dice: fastrand::Rng,
    state: SourceState<S>,
    restarts: u32,
    /// The time until which an end of the source counts as one more in a row.
    window_ends: Option<Instant>,
}

enum SourceState<S> {
    Due,
    Running(Pin<Box<S>>),
    Waiting(Pin<Box<Sleep>>),
    Ended,
}

/// Streams the elements of the source that `factory` creates. It creates a new source when one completes or fails
/// (yields an `Err`, which is not passed on). If no further restart is allowed, the last error is passed on and the
/// stream ends. Dropping the stream drops the source, also during a wait.
pub fn restart_source<S, F, T, E>(settings: RestartSettings, factory: F) -> Restart<S, F, E>
where
    S: Stream<Item = Result<T, E>>,
    F: FnMut() -> S,
{
    Restart {
        dice: fastrand::Rng::with_seed(settings.seed),
        settings,
        factory,
        decide: Box::new(|_| true),
        state: SourceState::Due,
        restarts: 0,
        window_ends: None,
    }
}

impl<S, F, E> Restart<S, F, E> {
    /// Restarts only on errors for which `restart_on` returns `true`; other errors fail the stream at once.
    #[must_use]
    pub fn restart_on(mut self, restart_on: impl FnMut(&E) -> bool + Send + 'static) -> Self {
        self.decide = Box::new(restart_on);
        self
    }

    /// Plans the next source; returns `false` if no restart is left.
    fn plan(&mut self) -> bool {
        let now = Instant::now();
        if self.window_ends.is_some_and(|ends| ends <= now) {
            self.restarts = 0;
        }
        if self.settings.max_restarts == Some(self.restarts) {
            return false;
        }
        let backoff = &self.settings.backoff;
        let wait = backoff.delay(self.restarts, self.dice.f64());
        self.restarts = self.restarts.saturating_add(1);
        self.state = SourceState::Waiting(Box::pin(sleep(wait)));
        true
    }
}

impl<S, F, E> Unpin for Restart<S, F, E> {}

impl<S, F, T, E> Stream for Restart<S, F, E>
where
    S: Stream<Item = Result<T, E>>,
    F: FnMut() -> S,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let ended = match &mut this.state {
                SourceState::Due => {
                    this.state = SourceState::Running(Box::pin((this.factory)()));
                    this.window_ends = Instant::now().checked_add(this.settings.within);
                    continue;
                }
                SourceState::Waiting(wait) => {
                    ready!(wait.as_mut().poll(context));
                    this.state = SourceState::Due;
                    continue;
                }
                SourceState::Ended => return Poll::Ready(None),
                SourceState::Running(source) => match ready!(source.as_mut().poll_next(context)) {
                    Some(Ok(item)) => return Poll::Ready(Some(Ok(item))),
                    Some(Err(error)) => Some(error),
                    None => None,
                },
            };
            // The source that ended is dropped first.
            this.state = SourceState::Ended;
            let restart = match &ended {
                Some(error) => (this.decide)(error),
                None => this.settings.on_completion,
            };
            if !restart || !this.plan() {
                return Poll::Ready(ended.map(Err));
            }
        }
    }
}

impl<S, F, E> fmt::Debug for Restart<S, F, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Restart")
            .field("settings", &self.settings)
            .field("restarts", &self.restarts)
            .finish_non_exhaustive()
    }
}
