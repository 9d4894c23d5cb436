//! The breaker while it is closed: what counts, and when it opens.

use tokio::time::{Instant, sleep};

use super::{
    BreakerDriver, BreakerEvent, BreakerSetup, BreakerState, CallFault, Case, CaseResult, Duration,
    MS, SECOND, bad, body, closed, count, ensure, events, good, hanging, in_state, listen, refused,
    setup, slow,
};
use crate::{
    case::{
        Stance::{Different, Same},
        ensure_eq,
    },
    cases,
    driver::breaker::Ending,
};

pub(super) const CASES: &[Case<dyn BreakerDriver>] = cases![dyn BreakerDriver, L4;
    a_closed_breaker_lets_calls_through => "CircuitBreakerSpec: closed, allow calls through", Same;
    failures_in_a_row_open_the_breaker => "CircuitBreakerSpec: closed, open after maxFailures", Same;
    a_success_sets_the_count_to_zero => "CircuitBreakerSpec: closed, reset failure count after success", Same;
    a_success_mark_sets_the_count_to_zero => "CircuitBreakerSpec: closed, reset failure count after success method", Same;
    the_count_is_kept_while_open_and_starts_anew_when_closed => "CircuitBreakerSpec: closed, currentFailureCount after opening", Same;
    a_failure_mark_counts => "CircuitBreakerSpec: closed, increment failure count on fail method", Same;
    a_call_past_the_timeout_fails_at_the_timeout => "CircuitBreakerSpec: closed, throw TimeoutException on callTimeout", Same;
    a_timeout_counts_before_the_body_has_ended => "CircuitBreakerSpec: closed, increment failure count on callTimeout before call finishes", Same;
    the_body_of_a_call_past_its_timeout_is_dropped => "CircuitBreakerSpec: closed, the body after callTimeout",
        Different("a future that is dropped stops; Pekko's body runs on, its result ignored");
    a_call_timeout_of_zero_is_none => "CircuitBreaker: callTimeout of 0 disables it", Same;
    the_predicate_is_asked_without_a_call_timeout_too => "CircuitBreaker: defineFailureFn with callTimeout 0",
        Different("the predicate always counts; Pekko passes it by when the timeout is 0");
    an_excused_error_counts_as_a_success => "CircuitBreakerSpec: closed, exception is defined as success", Same;
    an_accused_value_counts_as_a_failure => "CircuitBreakerSpec: closed, increment failure count on even number", Same;
    what_the_caller_gets_is_not_changed_by_the_predicate => "CircuitBreakerSpec: closed, result with defineFailureFn", Same;
    synchronous_calls_count_alike => "CircuitBreakerSpec: synchronous circuit breaker, closed", Same;
    a_synchronous_call_is_refused_while_open => "CircuitBreakerSpec: synchronous circuit breaker, open", Same;
    each_call_is_told_once_with_its_time => "CircuitBreakerSpec: closed, onCallSuccess, onCallFailure, onCallTimeout", Same;
    opening_is_told_once => "CircuitBreakerSpec: closed, invoke onOpen", Same;
    failures_from_many_threads_open_once => "CircuitBreakerMTSpec: concurrent failures", Same;
    a_call_that_is_given_up_counts_neither_way => "CircuitBreaker: the caller goes away",
        Different("a dropped future counts neither way; Pekko has no such case, its body runs on");
];

async fn a_closed_breaker_lets_calls_through(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    for _ in 0..20 {
        good(&*breaker).await?;
    }
    Ok(())
}

async fn failures_in_a_row_open_the_breaker(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = driver.breaker(BreakerSetup {
        max_failures: 5,
        ..setup()
    })?;
    for _ in 0..5 {
        bad(&*breaker).await?;
    }
    refused(&*breaker).await.map(drop)
}

async fn a_success_sets_the_count_to_zero(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    for _ in 0..5 {
        bad(&*breaker).await?;
        good(&*breaker).await?;
    }
    Ok(())
}

async fn a_success_mark_sets_the_count_to_zero(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    for _ in 0..5 {
        bad(&*breaker).await?;
        breaker.succeed()?;
    }
    good(&*breaker).await
}

async fn the_count_is_kept_while_open_and_starts_anew_when_closed(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let breaker = closed(driver)?;
    ensure_eq("at first", &breaker.failures()?, &0)?;
    bad(&*breaker).await?;
    ensure_eq("after one", &breaker.failures()?, &1)?;
    bad(&*breaker).await?;
    ensure_eq("when open", &breaker.failures()?, &2)?;
    tokio::task::yield_now().await;
    sleep(SECOND).await;
    tokio::task::yield_now().await;
    good(&*breaker).await?;
    ensure_eq("when closed again", &breaker.failures()?, &0)
}

async fn a_failure_mark_counts(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    breaker.fail()?;
    breaker.fail()?;
    refused(&*breaker).await.map(drop)
}

async fn a_call_past_the_timeout_fails_at_the_timeout(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    let start = Instant::now();
    let ending = breaker.call(hanging()).await;
    ensure_eq("the call", &ending, &Err(CallFault::TimedOut))?;
    ensure_eq("time taken", &start.elapsed(), &(MS * 100))
}

async fn a_timeout_counts_before_the_body_has_ended(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    let calls = [
        breaker.call(slow(60_000, Ok(1))),
        breaker.call(slow(60_000, Ok(1))),
    ];
    let start = Instant::now();
    futures_util::future::join_all(calls).await;
    ensure(start.elapsed() < SECOND, || {
        format!("it took {:?}", start.elapsed())
    })?;
    refused(&*breaker).await.map(drop)
}

async fn the_body_of_a_call_past_its_timeout_is_dropped(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    let (held, dropped) = tokio::sync::oneshot::channel::<()>();
    let body = async move {
        let _held = held;
        std::future::pending().await
    };
    let ending = breaker.call(Box::pin(body)).await;
    ensure_eq("the call", &ending, &Err(CallFault::TimedOut))?;
    let dropped = tokio::time::timeout(MS, dropped).await;
    ensure(dropped.is_ok(), || "the body is still held".to_owned())
}

fn untimed() -> BreakerSetup {
    BreakerSetup {
        call_timeout: Duration::ZERO,
        ..setup()
    }
}

async fn a_call_timeout_of_zero_is_none(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = driver.breaker(untimed())?;
    let ending = breaker.call(slow(3_600_000, Ok(1))).await;
    ensure_eq("the call", &ending, &Ok(1))
}

async fn the_predicate_is_asked_without_a_call_timeout_too(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let breaker = driver.breaker(untimed())?;
    for _ in 0..3 {
        let ending = breaker.call_judged(body(Err(7)), |_| false)?.await;
        ensure_eq("the call", &ending, &Err(CallFault::Failed(7)))?;
    }
    good(&*breaker).await
}

async fn an_excused_error_counts_as_a_success(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    for _ in 0..5 {
        bad(&*breaker).await?;
        let ending = breaker.call_judged(body(Err(9)), |_| false)?.await;
        ensure_eq("the excused call", &ending, &Err(CallFault::Failed(9)))?;
    }
    good(&*breaker).await
}

fn even(ending: &Ending) -> bool {
    matches!(ending, Ok(n) if n % 2 == 0)
}

async fn an_accused_value_counts_as_a_failure(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    for _ in 0..2 {
        let ending = breaker.call_judged(body(Ok(2)), even)?.await;
        ensure_eq("the accused call", &ending, &Ok(2))?;
    }
    refused(&*breaker).await.map(drop)
}

async fn what_the_caller_gets_is_not_changed_by_the_predicate(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let breaker = closed(driver)?;
    let odd = breaker.call_judged(body(Ok(3)), even)?.await;
    ensure_eq("a value", &odd, &Ok(3))?;
    let error = breaker.call_judged(body(Err(3)), even)?.await;
    ensure_eq("an error", &error, &Err(CallFault::Failed(3)))
}

async fn synchronous_calls_count_alike(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    ensure_eq(
        "a good call",
        &breaker.call_now(Box::new(|| Ok(1)))?,
        &Ok(1),
    )?;
    for _ in 0..2 {
        let ending = breaker.call_now(Box::new(|| Err(7)))?;
        ensure_eq("a bad call", &ending, &Err(CallFault::Failed(7)))?;
    }
    refused(&*breaker).await.map(drop)
}

async fn a_synchronous_call_is_refused_while_open(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = super::open(driver, setup()).await?;
    let ending = breaker.call_now(Box::new(|| Ok(1)))?;
    ensure_eq("the call", &ending, &Err(CallFault::Open(SECOND)))
}

async fn each_call_is_told_once_with_its_time(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = driver.breaker(BreakerSetup {
        max_failures: 9,
        ..setup()
    })?;
    let heard = listen(&*breaker)?;
    let ending = breaker.call(slow(20, Ok(1))).await;
    ensure_eq("the slow call", &ending, &Ok(1))?;
    let ending = breaker.call(slow(30, Err(7))).await;
    ensure_eq("the bad call", &ending, &Err(CallFault::Failed(7)))?;
    let ending = breaker.call(hanging()).await;
    ensure_eq("the hanging call", &ending, &Err(CallFault::TimedOut))?;
    let expected = vec![
        BreakerEvent::Succeeded(MS * 20),
        BreakerEvent::Failed(MS * 30),
        BreakerEvent::TimedOut(MS * 100),
    ];
    ensure_eq("told", &events(&heard), &expected)
}

async fn opening_is_told_once(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    let heard = listen(&*breaker)?;
    let calls = (0..10).map(|_| breaker.call(slow(10, Err(7))));
    futures_util::future::join_all(calls).await;
    ensure_eq("told", &count(&heard, BreakerEvent::Opened), &1)
}

async fn failures_from_many_threads_open_once(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    let heard = listen(&*breaker)?;
    breaker.fail_concurrently(8, 100)?;
    ensure_eq("told", &events(&heard), &vec![BreakerEvent::Opened])
}

async fn a_call_that_is_given_up_counts_neither_way(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = closed(driver)?;
    bad(&*breaker).await?;
    for _ in 0..5 {
        let given_up = tokio::time::timeout(MS, breaker.call(hanging())).await;
        ensure(given_up.is_err(), || {
            format!("it ended early: {given_up:?}")
        })?;
    }
    sleep(SECOND).await;
    in_state(&*breaker, BreakerState::Closed)?;
    bad(&*breaker).await?;
    in_state(&*breaker, BreakerState::Open)
}
