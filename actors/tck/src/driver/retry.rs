//! What a library with retries offers.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::Offered;

/// How one attempt ends.
pub type Ending = Result<u64, u64>;

/// Makes the attempt of this number, counted from 1.
pub type Attempt = Rc<dyn Fn(u32) -> LocalBoxFuture<'static, Ending>>;

/// Returns `true` if another attempt is made after this ending.
pub type RetryOn = Rc<dyn Fn(&Ending) -> bool>;

/// The wait before each retry.
#[derive(Clone)]
pub enum Delay {
    /// None.
    None,
    /// The same each time.
    Fixed(Duration),
    /// Computed for the nth retry, counted from 1; `None` is no wait.
    Function(Arc<dyn Fn(u32) -> Option<Duration> + Send + Sync>),
    /// Pekko's `min(max, min · 2^n) · (1 + U · random)`.
    Backoff {
        /// The shortest wait.
        min: Duration,
        /// The longest, before the random part.
        max: Duration,
        /// The random factor.
        random: f64,
        /// Of the random part.
        seed: u64,
    },
}

impl fmt::Debug for Delay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed",
            Self::Function(_) => "Function",
            Self::Backoff { .. } => "Backoff",
        })
    }
}

/// Attempts again.
pub trait RetryDriver {
    /// Attempts once and up to `retries` times more; without `retry_on`, after every error.
    ///
    /// # Errors
    /// When the library has no such thing.
    fn retry(
        &self,
        retries: u32,
        delay: Delay,
        attempt: Attempt,
        retry_on: Option<RetryOn>,
    ) -> Offered<LocalBoxFuture<'static, Ending>>;
}
