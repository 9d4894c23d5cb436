//! Kebne's retries as the suite sees them.

use futures_util::{FutureExt, future::LocalBoxFuture};
use kebne_streams::{backoff::Backoff, retry::Retry};

use crate::{
    case::Failure,
    driver::{
        Offered,
        retry::{Attempt, Delay, Ending, RetryDriver, RetryOn},
    },
};

/// Runs Kebne's retries.
#[derive(Debug)]
pub(super) struct KebneRetry;

impl RetryDriver for KebneRetry {
    fn retry(
        &self,
        retries: u32,
        delay: Delay,
        attempt: Attempt,
        retry_on: Option<RetryOn>,
    ) -> Offered<LocalBoxFuture<'static, Ending>> {
        let retry = Retry::times(retries);
        let retry = match delay {
            Delay::None => retry,
            Delay::Fixed(delay) => retry.after(delay),
            Delay::Function(delay) => retry.delays(move |nth| delay(nth)),
            Delay::Backoff {
                min,
                max,
                random,
                seed,
            } => {
                let backoff = Backoff::new(min, max, random);
                let backoff = backoff.map_err(|error| Failure::Failed(error.to_string()))?;
                retry.backoff(backoff).seed(seed)
            }
        };
        let running = async move {
            let mut nth = 0;
            let next = || {
                nth += 1;
                attempt(nth)
            };
            match retry_on {
                Some(retry_on) => retry.run_deciding(next, |ending| retry_on(ending)).await,
                None => retry.run(next).await,
            }
        };
        Ok(running.boxed_local())
    }
}
