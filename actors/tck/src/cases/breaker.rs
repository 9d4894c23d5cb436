//! L4: the circuit breaker. Source: Pekko `CircuitBreakerSpec`, `CircuitBreakerMTSpec`, and the documentation of
//! `CircuitBreaker`.

mod closed;
mod half_open;
mod open;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::sleep;

use crate::{
    case::{Case, CaseResult, Failure, ensure},
    driver::{
        Offered,
        breaker::{
            Body, Breaker, BreakerDriver, BreakerEvent, BreakerSetup, BreakerState, CallFault,
        },
    },
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The cases, by the state that they are about.
pub(super) const CASES: &[&[Case<dyn BreakerDriver>]] =
    &[open::CASES, half_open::CASES, closed::CASES];

/// Two failures in a row open it, for a second; a call may take 100 ms.
fn setup() -> BreakerSetup {
    BreakerSetup {
        max_failures: 2,
        call_timeout: MS * 100,
        reset_timeout: SECOND,
        max_reset_timeout: SECOND * 1_000_000,
        factor: 1.0,
        random_factor: 0.0,
        seed: 1,
    }
}

type Bench = Box<dyn Breaker>;

fn closed(driver: &dyn BreakerDriver) -> Offered<Bench> {
    driver.breaker(setup())
}

/// Makes a breaker and fails it open, by calls.
async fn open(driver: &dyn BreakerDriver, setup: BreakerSetup) -> Offered<Bench> {
    let breaker = driver.breaker(setup)?;
    for _ in 0..setup.max_failures {
        bad(&*breaker).await?;
    }
    // The timer that will make it half-open is set by now.
    tokio::task::yield_now().await;
    Ok(breaker)
}

/// Makes a breaker, fails it open, and waits until it has become half-open.
async fn half_open(driver: &dyn BreakerDriver, setup: BreakerSetup) -> Offered<Bench> {
    let breaker = open(driver, setup).await?;
    sleep(setup.reset_timeout).await;
    tokio::task::yield_now().await;
    Ok(breaker)
}

fn body(ending: Result<u64, u64>) -> Body {
    std::future::ready(ending).boxed_local()
}

fn slow(ms: u32, ending: Result<u64, u64>) -> Body {
    async move {
        sleep(MS * ms).await;
        ending
    }
    .boxed_local()
}

fn hanging() -> Body {
    std::future::pending().boxed_local()
}

/// Makes a call that must be let through and succeed.
async fn good(breaker: &dyn Breaker) -> CaseResult {
    let ending = breaker.call(body(Ok(1))).await;
    ensure(ending == Ok(1), || {
        format!("a good call ended as {ending:?}")
    })
}

/// Makes a call that must be let through and fail.
async fn bad(breaker: &dyn Breaker) -> CaseResult {
    let ending = breaker.call(body(Err(7))).await;
    let expected = Err(CallFault::Failed(7));
    ensure(ending == expected, || {
        format!("a bad call ended as {ending:?}")
    })
}

/// Makes a call that must be refused; returns the time that remains.
async fn refused(breaker: &dyn Breaker) -> Offered<Duration> {
    match breaker.call(body(Ok(1))).await {
        Err(CallFault::Open(remaining)) => Ok(remaining),
        other => Err(Failure::Failed(format!(
            "expected a refusal, saw {other:?}"
        ))),
    }
}

fn in_state(breaker: &dyn Breaker, expected: BreakerState) -> CaseResult {
    let seen = breaker.state()?;
    ensure(seen == expected, || {
        format!("expected {expected:?}, it is {seen:?}")
    })
}

/// What was heard of a breaker.
type Heard = Arc<Mutex<Vec<BreakerEvent>>>;

fn listen(breaker: &dyn Breaker) -> Offered<Heard> {
    let heard = Heard::default();
    let listener = Arc::clone(&heard);
    breaker.listen(Box::new(move |event| {
        let mut heard = listener.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(event);
    }))?;
    Ok(heard)
}

fn events(heard: &Heard) -> Vec<BreakerEvent> {
    heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn count(heard: &Heard, event: BreakerEvent) -> usize {
    events(heard).iter().filter(|seen| **seen == event).count()
}
