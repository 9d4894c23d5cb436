//! What a library with a circuit breaker offers.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::{Offered, not_offered};

/// How a guarded body ends.
pub type Ending = Result<u64, u64>;

/// A guarded body.
pub type Body = LocalBoxFuture<'static, Ending>;

/// Says of a body's ending whether it is a failure.
pub type Judge = fn(&Ending) -> bool;

/// Hears what happens to a breaker.
pub type Listener = Box<dyn Fn(BreakerEvent) + Send + Sync>;

/// How a breaker is set up.
#[derive(Clone, Copy, Debug)]
pub struct BreakerSetup {
    /// Failures in a row that open it.
    pub max_failures: u32,
    /// After which a call counts as failed; zero disables it.
    pub call_timeout: Duration,
    /// How long the first opening lasts.
    pub reset_timeout: Duration,
    /// Where the growth of the opening stops.
    pub max_reset_timeout: Duration,
    /// By how much each re-opening is longer than the one before.
    pub factor: f64,
    /// Spread of that growth.
    pub random_factor: f64,
    /// Of that spread.
    pub seed: u64,
}

/// The states of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls fail at once.
    Open,
    /// One call goes through.
    HalfOpen,
}

/// Why a guarded call has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// Not made; the breaker tries again after this.
    Open(Duration),
    /// It took too long.
    TimedOut,
    /// It failed by itself.
    Failed(u64),
}

/// What a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerEvent {
    /// The breaker opened.
    Opened,
    /// The breaker became half-open.
    HalfOpened,
    /// The breaker closed.
    Closed,
    /// A call succeeded, after this long.
    Succeeded(Duration),
    /// A call failed, after this long.
    Failed(Duration),
    /// A call passed the call timeout, after this long.
    TimedOut(Duration),
    /// A call was refused.
    Refused,
}

/// A call through a breaker, under way once polled.
pub type Call = LocalBoxFuture<'static, Result<u64, CallFault>>;

/// Makes breakers.
pub trait BreakerDriver {
    /// Makes a closed breaker.
    ///
    /// # Errors
    /// When the library has no such thing.
    fn breaker(&self, setup: BreakerSetup) -> Offered<Box<dyn Breaker>>;
}

/// A circuit breaker.
pub trait Breaker {
    /// Makes a call; every `Err` is a failure.
    fn call(&self, body: Body) -> Call;

    /// Makes a call whose failures `is_failure` names.
    ///
    /// # Errors
    /// When the library has no such thing, as with every method below.
    fn call_judged(&self, _body: Body, _is_failure: Judge) -> Offered<Call> {
        not_offered("failure predicate")
    }

    /// Makes a call that does not wait.
    ///
    /// # Errors
    /// See [`Breaker::call_judged`].
    fn call_now(&self, _body: Box<dyn FnOnce() -> Ending>) -> Offered<Result<u64, CallFault>> {
        not_offered("synchronous calls")
    }

    /// Counts a success that happened elsewhere.
    ///
    /// # Errors
    /// See [`Breaker::call_judged`].
    fn succeed(&self) -> Offered<()> {
        not_offered("manual marks")
    }

    /// Counts a failure that happened elsewhere.
    ///
    /// # Errors
    /// See [`Breaker::call_judged`].
    fn fail(&self) -> Offered<()> {
        not_offered("manual marks")
    }

    /// Returns the state.
    ///
    /// # Errors
    /// See [`Breaker::call_judged`].
    fn state(&self) -> Offered<BreakerState> {
        not_offered("state to look at")
    }

    /// Returns the failures in a row that were counted last.
    ///
    /// # Errors
    /// See [`Breaker::call_judged`].
    fn failures(&self) -> Offered<u32> {
        not_offered("count to look at")
    }

    /// Adds a listener.
    ///
    /// # Errors
    /// See [`Breaker::call_judged`].
    fn listen(&self, _listener: Listener) -> Offered<()> {
        not_offered("listeners")
    }

    /// Makes `fail` from so many threads at once, so often each.
    ///
    /// # Errors
    /// See [`Breaker::call_judged`].
    fn fail_concurrently(&self, _threads: usize, _times: usize) -> Offered<()> {
        not_offered("manual marks from many threads")
    }
}
