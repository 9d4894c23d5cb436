//! Retries by Pekko's rules: the first attempt is made at once, then up to `retries` more, each after a delay; the
//! caller gets the last result.
//!
//! Owns the number of retries and the waits. It does not interpret a result; a decider does. A lane has its own
//! retries, which are paid from a budget; this module is for everything else. Source: Pekko `RetrySupport` and
//! `RetrySpec`.

use std::{fmt, sync::Arc, time::Duration};

use crate::backoff::Backoff;

/// The number of retries and the delay before each.
#[derive(Clone, Debug)]
pub struct Retry {
    retries: u32,
    delay: Delay,
    seed: u64,
}

#[derive(Clone)]
enum Delay {
    None,
    Fixed(Duration),
    Backoff(Backoff),
    Function(Arc<dyn Fn(u32) -> Option<Duration> + Send + Sync>),
}

impl Retry {
    /// Retries up to `retries` times, without a delay. `retries` counts the *additional* attempts, as Pekko's
    /// `attempts` does: 0 means one attempt in all.
    pub fn times(retries: u32) -> Self {
        Self {
            retries,
            delay: Delay::None,
            seed: 1,
        }
    }

    /// Sets the wait before each retry.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = Delay::Fixed(delay);
        self
    }

    /// Waits `backoff.delay(n)` before the nth retry. The first retry is n = 1, so it waits **twice** the
    /// minimum: Pekko's formula as it is.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.delay = Delay::Backoff(backoff);
        self
    }

    /// Sets a function that returns the wait before the nth retry, n counted from 1; `None` means no wait.
    #[must_use]
    pub fn delays(
        mut self,
        delay: impl Fn(u32) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.delay = Delay::Function(Arc::new(delay));
        self
    }

    /// Sets the seed of the backoff's random part; default 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Makes attempts until one succeeds or no retry is left.
    ///
    /// # Errors
    /// Returns the error of the last attempt.
    pub async fn run<T, E, F>(&self, attempt: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.run_deciding(attempt, Result::is_err).await
    }

    /// Makes attempts until `retry_on` returns `false` for the result or no retry is left. The function can reject an
    /// error and can retry a value; it is not called for the last attempt. A panic in an attempt is not caught.
    ///
    /// # Errors
    /// Returns the error of the last attempt.
    pub async fn run_deciding<T, E, F>(
        &self,
        mut attempt: impl FnMut() -> F,
        mut retry_on: impl FnMut(&Result<T, E>) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut dice = fastrand::Rng::with_seed(self.seed);
        let mut retried = 0;
        loop {
            let result = attempt().await;
            if retried >= self.retries || !retry_on(&result) {
                return result;
            }
            retried += 1;
            let delay = match &self.delay {
                Delay::None => None,
                Delay::Fixed(delay) => Some(*delay),
                Delay::Backoff(backoff) => Some(backoff.delay(retried, dice.f64())),
                Delay::Function(delay) => delay(retried),
            };
            if let Some(delay) = delay
                && !delay.is_zero()
            {
                tokio::time::sleep(delay).await;
            }
        }
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Fixed(delay) => formatter.debug_tuple("Fixed").field(delay).finish(),
            Self::Backoff(backoff) => backoff.fmt(formatter),
            Self::Function(_) => formatter.write_str("Function"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time::Instant;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs attempts that fail until the `good`th. Returns the result and the time at which each attempt began.
    async fn run(retry: Retry, good: usize) -> (Result<usize, usize>, Vec<u128>) {
        let start = Instant::now();
        let began = RefCell::new(Vec::new());
        let attempt = || {
            began.borrow_mut().push(start.elapsed().as_millis());
            let nth = began.borrow().len();
            async move { if nth >= good { Ok(nth) } else { Err(nth) } }
        };
        let result = retry.run(attempt).await;
        (result, began.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_is_attempted_once_and_at_once() {
        let (result, began) = run(Retry::times(5).after(MS * 300), 1).await;
        assert_eq!((result, began), (Ok(1), vec![0]));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_come_after_the_fixed_delay_until_one_succeeds() {
        let (result, began) = run(Retry::times(5).after(MS * 300), 3).await;
        assert_eq!((result, began), (Ok(3), vec![0, 300, 600]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_is_returned_when_no_retry_is_left() {
        let (result, began) = run(Retry::times(2).after(MS * 300), 9).await;
        assert_eq!((result, began), (Err(3), vec![0, 300, 600]));
    }

    #[tokio::test(start_paused = true)]
    async fn zero_retries_are_one_attempt() {
        let (result, began) = run(Retry::times(0).after(MS * 300), 9).await;
        assert_eq!((result, began), (Err(1), vec![0]));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_delay_all_attempts_come_at_once() {
        let (result, began) = run(Retry::times(3), 9).await;
        assert_eq!((result, began), (Err(4), vec![0; 4]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_function_counts_from_one_and_none_is_no_wait() {
        let retry = Retry::times(3).delays(|n| (n != 2).then_some(MS * 100 * n));
        let (_, began) = run(retry, 9).await;
        assert_eq!(began, vec![0, 100, 100, 400]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_retry_with_backoff_waits_twice_the_minimum() {
        let backoff = Backoff::new(MS * 100, MS * 500, 0.0).unwrap();
        let (_, began) = run(Retry::times(3).backoff(backoff), 9).await;
        assert_eq!(began, vec![0, 200, 600, 1100]);
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_repeats_with_its_seed() {
        let backoff = Backoff::new(MS * 100, MS * 500, 1.0).unwrap();
        let began = async |seed| run(Retry::times(4).backoff(backoff).seed(seed), 9).await.1;
        assert_eq!(began(7).await, began(7).await);
        assert_ne!(began(7).await, began(8).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_decider_may_refuse_an_error_and_retry_a_value() {
        let tries = Cell::new(0);
        let attempt = || {
            tries.set(tries.get() + 1);
            let nth = tries.get();
            async move { if nth < 3 { Ok(nth) } else { Err(nth) } }
        };
        let only_values = |result: &Result<i32, i32>| result.is_ok();
        let result = Retry::times(9).run_deciding(attempt, only_values).await;
        assert_eq!((result, tries.get()), (Err(3), 3));
    }
}
