//! The breaker while it is half-open: one probe decides.

use futures_util::future::poll_immediate;
use tokio::time::sleep;

use super::{
    BreakerDriver, BreakerEvent, BreakerSetup, BreakerState, CallFault, Case, CaseResult, Duration,
    MS, SECOND, bad, body, count, ensure, events, good, half_open, hanging, in_state, listen,
    refused, setup, slow,
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
    a_successful_probe_closes => "CircuitBreakerSpec: half-open, pass through next call and close on success", Same;
    a_failed_probe_opens_again => "CircuitBreakerSpec: half-open, open on exception in call", Same;
    one_failure_is_enough_to_open_again => "CircuitBreakerSpec: half-open, open on exception in call", Same;
    a_probe_past_the_call_timeout_opens_again => "CircuitBreakerSpec: half-open, re-open on async call timeout", Same;
    the_others_are_refused_while_a_probe_runs => "CircuitBreakerSpec: half-open, onCallBreakerOpen while executing other", Same;
    a_refusal_beside_the_probe_is_told => "CircuitBreakerSpec: half-open, onCallBreakerOpen while executing other", Same;
    of_many_callers_at_once_one_is_let_through => "CircuitBreakerMTSpec: allow only one call in half-open", Same;
    an_excused_error_of_the_probe_closes => "CircuitBreakerSpec: half-open, exception is defined as call succeeded", Same;
    an_accused_value_of_the_probe_opens => "CircuitBreakerSpec: half-open, even number is defined as failure", Same;
    a_failure_mark_while_half_open_opens => "CircuitBreakerSpec: half-open, open on calling fail method", Same;
    a_success_mark_while_half_open_closes => "CircuitBreakerSpec: half-open, close on calling success method", Same;
    closing_restores_the_first_reset_timeout => "CircuitBreakerSpec: half-open, reset timeout restored on close", Same;
    closing_starts_the_count_from_zero => "CircuitBreaker: closed is entered with a count of 0", Same;
    the_probe_is_told_with_its_time_and_then_the_state => "CircuitBreakerSpec: half-open, invoke onCallSuccess on success", Same;
    a_whole_round_is_told_state_by_state => "CircuitBreakerSpec: onOpen, onHalfOpen, onClose", Same;
    a_probe_that_is_given_up_lets_the_next_call_probe => "CircuitBreaker: the caller goes away",
        Different("a dropped future counts neither way; Pekko has no such case, its body runs on");
];

async fn a_successful_probe_closes(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    good(&*breaker).await?;
    // Closed: one failure is borne, and calls go on.
    bad(&*breaker).await?;
    good(&*breaker).await
}

async fn a_failed_probe_opens_again(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    bad(&*breaker).await?;
    ensure_eq("time that remains", &refused(&*breaker).await?, &SECOND)
}

async fn one_failure_is_enough_to_open_again(driver: &dyn BreakerDriver) -> CaseResult {
    let patient = BreakerSetup {
        max_failures: 5,
        ..setup()
    };
    let breaker = half_open(driver, patient).await?;
    bad(&*breaker).await?;
    refused(&*breaker).await.map(drop)
}

async fn a_probe_past_the_call_timeout_opens_again(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    let ending = breaker.call(hanging()).await;
    ensure_eq("the probe", &ending, &Err(CallFault::TimedOut))?;
    refused(&*breaker).await.map(drop)
}

async fn the_others_are_refused_while_a_probe_runs(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    let mut probe = breaker.call(slow(10, Ok(1)));
    let early = poll_immediate(&mut probe).await;
    ensure(early.is_none(), || {
        format!("the probe ended at once: {early:?}")
    })?;
    ensure_eq(
        "time that remains",
        &refused(&*breaker).await?,
        &Duration::ZERO,
    )?;
    ensure_eq("the probe", &probe.await, &Ok(1))?;
    good(&*breaker).await
}

async fn a_refusal_beside_the_probe_is_told(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    let heard = listen(&*breaker)?;
    let mut probe = breaker.call(slow(10, Ok(1)));
    let early = poll_immediate(&mut probe).await;
    ensure(early.is_none(), || {
        format!("the probe ended at once: {early:?}")
    })?;
    refused(&*breaker).await?;
    ensure_eq("told", &events(&heard), &vec![BreakerEvent::Refused])
}

async fn of_many_callers_at_once_one_is_let_through(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    let calls = (0..50).map(|_| breaker.call(slow(10, Ok(1))));
    let endings = futures_util::future::join_all(calls).await;
    let passed = endings.iter().filter(|ending| ending.is_ok()).count();
    ensure_eq("let through", &passed, &1)
}

async fn an_excused_error_of_the_probe_closes(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    let ending = breaker.call_judged(body(Err(7)), |_| false)?.await;
    ensure_eq("the probe", &ending, &Err(CallFault::Failed(7)))?;
    good(&*breaker).await?;
    good(&*breaker).await
}

async fn an_accused_value_of_the_probe_opens(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    let even = |ending: &Ending| matches!(ending, Ok(n) if n % 2 == 0);
    let ending = breaker.call_judged(body(Ok(2)), even)?.await;
    ensure_eq("the probe", &ending, &Ok(2))?;
    refused(&*breaker).await.map(drop)
}

async fn a_failure_mark_while_half_open_opens(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    breaker.fail()?;
    refused(&*breaker).await.map(drop)
}

async fn a_success_mark_while_half_open_closes(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    breaker.succeed()?;
    in_state(&*breaker, BreakerState::Closed)?;
    good(&*breaker).await
}

async fn closing_restores_the_first_reset_timeout(driver: &dyn BreakerDriver) -> CaseResult {
    let growing = BreakerSetup {
        factor: 5.0,
        ..setup()
    };
    let breaker = half_open(driver, growing).await?;
    bad(&*breaker).await?;
    ensure_eq(
        "the second opening",
        &refused(&*breaker).await?,
        &(SECOND * 5),
    )?;
    tokio::task::yield_now().await;
    sleep(SECOND * 5).await;
    tokio::task::yield_now().await;
    good(&*breaker).await?;
    bad(&*breaker).await?;
    bad(&*breaker).await?;
    ensure_eq(
        "the opening after closing",
        &refused(&*breaker).await?,
        &SECOND,
    )
}

async fn closing_starts_the_count_from_zero(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    good(&*breaker).await?;
    bad(&*breaker).await?;
    in_state(&*breaker, BreakerState::Closed)?;
    bad(&*breaker).await?;
    in_state(&*breaker, BreakerState::Open)
}

async fn the_probe_is_told_with_its_time_and_then_the_state(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    let heard = listen(&*breaker)?;
    let ending = breaker.call(slow(10, Ok(1))).await;
    ensure_eq("the probe", &ending, &Ok(1))?;
    let expected = vec![BreakerEvent::Succeeded(MS * 10), BreakerEvent::Closed];
    ensure_eq("told", &events(&heard), &expected)
}

async fn a_whole_round_is_told_state_by_state(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = driver.breaker(setup())?;
    let heard = listen(&*breaker)?;
    bad(&*breaker).await?;
    bad(&*breaker).await?;
    tokio::task::yield_now().await;
    sleep(SECOND).await;
    tokio::task::yield_now().await;
    good(&*breaker).await?;
    for state in [
        BreakerEvent::Opened,
        BreakerEvent::HalfOpened,
        BreakerEvent::Closed,
    ] {
        ensure(count(&heard, state) == 1, || {
            format!("{state:?} not once in {:?}", events(&heard))
        })?;
    }
    Ok(())
}

async fn a_probe_that_is_given_up_lets_the_next_call_probe(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let breaker = half_open(driver, setup()).await?;
    let given_up = tokio::time::timeout(MS, breaker.call(hanging())).await;
    ensure(given_up.is_err(), || {
        format!("it ended early: {given_up:?}")
    })?;
    good(&*breaker).await?;
    good(&*breaker).await
}
