//! A circuit breaker by Pekko's rules: after `max_failures` failures in a row it opens and calls fail at once;
//! after `reset_timeout` it lets exactly one call through, whose result closes or re-opens it.
//!
//! Owns the admission of calls and the state in which a result counts. It never retries. By default every `Err` is a
//! failure; a decider can change that. Rules, each tested below:
//!
//! - Failures in a row are counted: a success while closed sets the count to 0.
//! - A result counts only in the state in which its call began, and only in that *period* of it: a late result of a
//!   call from before an opening has no effect after it. (Pekko has a single object for the closed state, so it counts
//!   a result from an earlier closed period in the present one.)
//! - A call that takes longer than `call_timeout` is a failure, counted at the timeout, even if its answer still
//!   reaches the caller. The timed-out future is dropped, which cancels it; in Pekko it runs on.
//! - A timer makes an open breaker half-open, without a call. Outside a tokio runtime, the next call or query does.
//! - A call that is dropped before it ends is not counted, and a dropped probe lets the next call probe; Pekko has no
//!   such case. A panic in a call is a failure.
//!
//! Source: Pekko `CircuitBreaker` documentation and the cases of its `CircuitBreakerSpec`.

mod machine;
mod settings;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::backoff::InvalidSetting;
use machine::{Entered, Machine, Ticket};

pub use machine::BreakerState;
pub use settings::BreakerSettings;

/// The reason why a guarded call has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BreakerError<E> {
    /// The call was not made: the breaker is open, or half-open with its probe in progress. It is safe to retry later.
    #[error("the circuit breaker is open for another {remaining:?}")]
    Open {
        /// Time until the breaker is half-open; zero if it already is.
        remaining: Duration,
    },
    /// The call was made and dropped at the call timeout. Whether it had an effect is unknown.
    #[error("the call took longer than {limit:?}")]
    Timeout {
        /// The call timeout.
        limit: Duration,
    },
    /// The call was made and failed.
    #[error(transparent)]
    Failed(E),
}

/// The result of one call, as passed to the listeners of [`CircuitBreaker::on_call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEvent {
    /// It counted as a success after this long.
    Success(Duration),
    /// It counted as a failure after this long.
    Failure(Duration),
    /// It exceeded the call timeout and was counted as a failure after this long.
    Timeout(Duration),
    /// It was refused because the breaker was open.
    Refused,
}

/// A circuit breaker; clones share it.
#[derive(Clone)]
pub struct CircuitBreaker {
    inner: Arc<Inner>,
}

type OnState = Arc<dyn Fn() + Send + Sync>;
type OnCall = Arc<dyn Fn(CallEvent) + Send + Sync>;

struct Inner {
    call_timeout: Duration,
    core: Mutex<Core>,
    listeners: Mutex<Listeners>,
}

struct Core {
    machine: Machine,
    dice: fastrand::Rng,
}

#[derive(Clone, Default)]
struct Listeners {
    open: Vec<OnState>,
    half_open: Vec<OnState>,
    close: Vec<OnState>,
    call: Vec<OnCall>,
}

impl CircuitBreaker {
    /// Creates a closed breaker.
    ///
    /// # Errors
    /// Returns the first setting that is out of its range.
    pub fn new(settings: BreakerSettings) -> Result<Self, InvalidSetting> {
        settings.validate()?;
        let inner = Inner {
            call_timeout: settings.call_timeout,
            core: Mutex::new(Core {
                dice: fastrand::Rng::with_seed(settings.seed),
                machine: Machine::new(settings),
            }),
            listeners: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Makes a call if the breaker admits it. Every `Err` is a failure.
    ///
    /// # Errors
    /// See [`BreakerError`].
    pub async fn call<T, E>(
        &self,
        body: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BreakerError<E>> {
        self.call_deciding(body, Result::is_err).await
    }

    /// Makes a call if the breaker admits it. A result counts as a failure if `is_failure` returns `true`, so a value
    /// can be a failure, and an error caused by the caller need not be one. The caller gets the result unchanged. A
    /// call that exceeds the call timeout always counts as a failure.
    ///
    /// # Errors
    /// See [`BreakerError`].
    pub async fn call_deciding<T, E>(
        &self,
        body: impl Future<Output = Result<T, E>>,
        is_failure: impl FnOnce(&Result<T, E>) -> bool,
    ) -> Result<T, BreakerError<E>> {
        let mut call = self.inner.begin()?;
        let limit = self.inner.call_timeout;
        let result = if limit.is_zero() {
            body.await
        } else if let Ok(result) = tokio::time::timeout(limit, body).await {
            result
        } else {
            call.end(CallEvent::Timeout);
            return Err(BreakerError::Timeout { limit });
        };
        call.settle(is_failure(&result));
        result.map_err(BreakerError::Failed)
    }

    /// Makes a synchronous call if the breaker admits it. Every `Err` is a failure. A call that returns after the call
    /// timeout is a failure too, but its result is returned, because it cannot be interrupted.
    ///
    /// # Errors
    /// Returns [`BreakerError::Open`] or [`BreakerError::Failed`].
    pub fn call_sync<T, E>(
        &self,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, BreakerError<E>> {
        self.call_sync_deciding(body, Result::is_err)
    }

    /// Does the same as [`CircuitBreaker::call_sync`], with a decider as in [`CircuitBreaker::call_deciding`].
    ///
    /// # Errors
    /// Returns [`BreakerError::Open`] or [`BreakerError::Failed`].
    pub fn call_sync_deciding<T, E>(
        &self,
        body: impl FnOnce() -> Result<T, E>,
        is_failure: impl FnOnce(&Result<T, E>) -> bool,
    ) -> Result<T, BreakerError<E>> {
        let mut call = self.inner.begin()?;
        let result = body();
        call.settle(is_failure(&result));
        result.map_err(BreakerError::Failed)
    }

    /// Counts a success that happened elsewhere: resets the count, or closes a half-open breaker. It has no effect
    /// while the breaker is open.
    pub fn succeed(&self) {
        self.inner.mark(None, true);
    }

    /// Counts a failure that happened elsewhere. It has no effect while the breaker is open.
    pub fn fail(&self) {
        self.inner.mark(None, false);
    }

    /// Returns the state.
    pub fn state(&self) -> BreakerState {
        self.inner.tick();
        self.inner.core().machine.state()
    }

    /// Returns the number of failures in a row. They are counted while the breaker is closed, and kept until it closes
    /// again.
    pub fn failures(&self) -> u32 {
        self.inner.core().machine.failures()
    }

    /// Returns the duration of the next opening.
    pub fn next_reset_timeout(&self) -> Duration {
        self.inner.core().machine.next_reset()
    }

    /// Calls `listener` each time the breaker opens, as long as the breaker lives. Listeners run on the thread that
    /// caused the event, after it took effect, and should be short. A panic in a listener is logged.
    pub fn on_open(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.inner.listeners().open.push(Arc::new(listener));
    }

    /// Calls `listener` each time the breaker becomes half-open; see [`CircuitBreaker::on_open`].
    pub fn on_half_open(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.inner.listeners().half_open.push(Arc::new(listener));
    }

    /// Calls `listener` each time the breaker closes again; see [`CircuitBreaker::on_open`].
    pub fn on_close(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.inner.listeners().close.push(Arc::new(listener));
    }

    /// Calls `listener` with the result of each call, including calls whose result has no effect any more; see
    /// [`CircuitBreaker::on_open`].
    pub fn on_call(&self, listener: impl Fn(CallEvent) + Send + Sync + 'static) {
        self.inner.listeners().call.push(Arc::new(listener));
    }
}

/// A call in progress. If it is dropped without a result, it is not counted.
struct Call<'a> {
    inner: &'a Arc<Inner>,
    ticket: Ticket,
    began: Instant,
    ended: bool,
}

impl Call<'_> {
    fn settle(&mut self, failed: bool) {
        let late = self.inner.is_late(self.began.elapsed());
        self.end(match (late, failed) {
            (true, _) => CallEvent::Timeout,
            (false, true) => CallEvent::Failure,
            (false, false) => CallEvent::Success,
        });
    }

    fn end(&mut self, event: fn(Duration) -> CallEvent) {
        self.ended = true;
        let event = event(self.began.elapsed());
        // The listeners of the call run before the listeners of the state that it caused.
        self.inner.tell(event);
        let succeeded = matches!(event, CallEvent::Success(_));
        self.inner.mark(Some(self.ticket), succeeded);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if std::thread::panicking() {
            self.end(CallEvent::Failure);
        } else if self.inner.is_late(self.began.elapsed()) {
            self.end(CallEvent::Timeout);
        } else {
            self.inner.core().machine.abandon(self.ticket);
        }
    }
}

impl Inner {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        let locked = self.listeners.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    fn is_late(&self, elapsed: Duration) -> bool {
        !self.call_timeout.is_zero() && elapsed > self.call_timeout
    }

    fn begin<E>(self: &Arc<Self>) -> Result<Call<'_>, BreakerError<E>> {
        self.tick();
        let began = Instant::now();
        let admitted = self.core().machine.admit(began);
        match admitted {
            Ok(ticket) => Ok(Call {
                inner: self,
                ticket,
                began,
                ended: false,
            }),
            Err(remaining) => {
                self.tell(CallEvent::Refused);
                Err(BreakerError::Open { remaining })
            }
        }
    }

    /// Counts a result for the call of `ticket`, or for the present state if there is none.
    fn mark(self: &Arc<Self>, ticket: Option<Ticket>, succeeded: bool) {
        self.tick();
        let entered = {
            let mut core = self.core();
            let Core { machine, dice } = &mut *core;
            let ticket = ticket.unwrap_or_else(|| machine.current());
            if succeeded {
                machine.succeed(ticket)
            } else {
                machine.fail(ticket, Instant::now(), dice.f64())
            }
        };
        self.entered(entered);
    }

    fn tick(self: &Arc<Self>) {
        let entered = self.core().machine.tick(Instant::now());
        self.entered(entered);
    }

    fn entered(self: &Arc<Self>, entered: Option<Entered>) {
        let Some(entered) = entered else {
            return;
        };
        if let Entered::Open { until } = entered {
            self.wake_at(until);
        }
        let listeners = {
            let all = self.listeners();
            match entered {
                Entered::Closed => all.close.clone(),
                Entered::Open { .. } => all.open.clone(),
                Entered::HalfOpen => all.half_open.clone(),
            }
        };
        for listener in listeners {
            guarded(|| listener());
        }
    }

    /// Makes the breaker half-open at `until`, without a call. The task does not keep the breaker alive and ends by
    /// itself. There is at most one such task, because an opening ends in no other way.
    fn wake_at(self: &Arc<Self>, until: Instant) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let breaker = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(breaker) = breaker.upgrade() {
                breaker.tick();
            }
        });
    }

    fn tell(&self, event: CallEvent) {
        let listeners = self.listeners().call.clone();
        for listener in listeners {
            guarded(|| listener(event));
        }
    }
}

/// Runs a listener and catches its panic, so that it does not reach the call.
fn guarded(listener: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(listener)).is_err() {
        tracing::error!("a listener of a circuit breaker panicked");
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.inner.core();
        formatter
            .debug_struct("CircuitBreaker")
            .field("machine", &core.machine)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
