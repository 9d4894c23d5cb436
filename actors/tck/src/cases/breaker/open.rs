//! The breaker while it is open, and how it comes to be half-open.

use futures_util::future::poll_immediate;
use tokio::time::{advance, sleep};

use super::{
    BreakerDriver, BreakerEvent, BreakerSetup, BreakerState, Case, CaseResult, Failure, MS, SECOND,
    bad, ensure, events, good, in_state, listen, open, refused, setup, slow,
};
use crate::{
    case::{
        SEED,
        Stance::{Different, Same},
        ensure_eq,
    },
    cases,
};

pub(super) const CASES: &[Case<dyn BreakerDriver>] = cases![dyn BreakerDriver, L4;
    an_open_breaker_refuses_with_the_time_that_remains => "CircuitBreakerSpec: open, fail fast with remainingDuration", Same;
    an_open_breaker_does_not_run_the_body => "CircuitBreakerSpec: open, fail fast", Same;
    an_open_breaker_becomes_half_open_without_a_call => "CircuitBreakerSpec: open, transition to half-open on reset timeout", Same;
    half_open_is_told_by_the_timer => "CircuitBreakerSpec: open, invoke onHalfOpen during transition", Same;
    a_success_mark_while_open_changes_nothing => "CircuitBreakerSpec: open, still be in open state after calling success method", Same;
    a_failure_mark_while_open_changes_nothing => "CircuitBreakerSpec: open, still be in open state after calling fail method", Same;
    a_refusal_is_told_to_the_listener => "CircuitBreakerSpec: open, invoke onCallBreakerOpen", Same;
    the_late_success_of_an_old_call_does_not_close => "CircuitBreakerSpec: attribution of outcomes to the state of the call", Same;
    the_late_failure_of_an_old_call_does_not_prolong => "CircuitBreakerSpec: attribution of outcomes to the state of the call", Same;
    the_opening_does_not_grow_by_a_factor_of_one => "CircuitBreakerSpec: reset timeout with factor 1", Same;
    each_re_opening_is_longer_by_the_factor => "CircuitBreakerSpec: increase the reset timeout after it transits to open again", Same;
    growth_stops_before_the_maximum_and_is_not_cut_to_it => "CircuitBreaker: maxResetTimeout", Same;
    the_growth_is_spread_by_the_random_factor => "CircuitBreaker: randomFactor", Same;
    a_success_of_an_earlier_closed_spell_does_not_count_in_this_one => "CircuitBreaker: one closed state object",
        Different("a result counts in the spell of the state in which its call began; Pekko counts it in the present spell");
];

async fn an_open_breaker_refuses_with_the_time_that_remains(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let breaker = open(driver, setup()).await?;
    advance(MS * 300).await;
    ensure_eq("time that remains", &refused(&*breaker).await?, &(MS * 700))
}

async fn an_open_breaker_does_not_run_the_body(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = open(driver, setup()).await?;
    let ran = std::rc::Rc::new(std::cell::Cell::new(false));
    let note = std::rc::Rc::clone(&ran);
    let body = async move {
        note.set(true);
        Ok(1)
    };
    let ending = breaker.call(Box::pin(body)).await;
    ensure(ending.is_err() && !ran.get(), || {
        format!("it ran and ended as {ending:?}")
    })
}

async fn an_open_breaker_becomes_half_open_without_a_call(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let breaker = open(driver, setup()).await?;
    sleep(MS * 999).await;
    refused(&*breaker).await?;
    sleep(MS * 2).await;
    good(&*breaker).await
}

async fn half_open_is_told_by_the_timer(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = open(driver, setup()).await?;
    let heard = listen(&*breaker)?;
    sleep(MS * 999).await;
    ensure_eq("told early", &events(&heard), &Vec::new())?;
    sleep(MS * 2).await;
    ensure_eq("told", &events(&heard), &vec![BreakerEvent::HalfOpened])
}

async fn a_success_mark_while_open_changes_nothing(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = open(driver, setup()).await?;
    advance(MS * 10).await;
    breaker.succeed()?;
    ensure_eq("time that remains", &refused(&*breaker).await?, &(MS * 990))
}

async fn a_failure_mark_while_open_changes_nothing(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = open(driver, setup()).await?;
    advance(MS * 10).await;
    breaker.fail()?;
    ensure_eq("time that remains", &refused(&*breaker).await?, &(MS * 990))
}

async fn a_refusal_is_told_to_the_listener(driver: &dyn BreakerDriver) -> CaseResult {
    let breaker = open(driver, setup()).await?;
    let heard = listen(&*breaker)?;
    refused(&*breaker).await?;
    ensure_eq("told", &events(&heard), &vec![BreakerEvent::Refused])
}

/// Begins a call that ends after 50 ms, opens the breaker meanwhile, and lets the call end.
async fn late(driver: &dyn BreakerDriver, ending: Result<u64, u64>) -> CaseResult {
    let breaker = driver.breaker(setup())?;
    let mut old = breaker.call(slow(50, ending));
    let early = poll_immediate(&mut old).await;
    ensure(early.is_none(), || format!("it ended at once: {early:?}"))?;
    bad(&*breaker).await?;
    bad(&*breaker).await?;
    let _late = old.await;
    ensure_eq("time that remains", &refused(&*breaker).await?, &(MS * 950))
}

async fn the_late_success_of_an_old_call_does_not_close(driver: &dyn BreakerDriver) -> CaseResult {
    late(driver, Ok(1)).await
}

async fn the_late_failure_of_an_old_call_does_not_prolong(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    late(driver, Err(7)).await
}

/// How long each of the first openings lasts, when every probe fails.
async fn openings(
    driver: &dyn BreakerDriver,
    setup: BreakerSetup,
    times: usize,
) -> Result<Vec<std::time::Duration>, Failure> {
    let breaker = open(driver, setup).await?;
    let mut lasted = Vec::new();
    for _ in 0..times {
        let remaining = refused(&*breaker).await?;
        lasted.push(remaining);
        sleep(remaining).await;
        tokio::task::yield_now().await;
        bad(&*breaker).await?;
        tokio::task::yield_now().await;
    }
    Ok(lasted)
}

async fn the_opening_does_not_grow_by_a_factor_of_one(driver: &dyn BreakerDriver) -> CaseResult {
    let lasted = openings(driver, setup(), 3).await?;
    ensure_eq("openings", &lasted, &vec![SECOND; 3])
}

async fn each_re_opening_is_longer_by_the_factor(driver: &dyn BreakerDriver) -> CaseResult {
    let growing = BreakerSetup {
        factor: 5.0,
        ..setup()
    };
    let lasted = openings(driver, growing, 3).await?;
    ensure_eq("openings", &lasted, &vec![SECOND, SECOND * 5, SECOND * 25])
}

async fn growth_stops_before_the_maximum_and_is_not_cut_to_it(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let bounded = BreakerSetup {
        factor: 2.0,
        max_reset_timeout: SECOND * 5,
        ..setup()
    };
    let lasted = openings(driver, bounded, 5).await?;
    let expected = [1, 2, 4, 4, 4].map(|n| SECOND * n);
    ensure_eq("openings", &lasted, &expected.to_vec())
}

async fn the_growth_is_spread_by_the_random_factor(driver: &dyn BreakerDriver) -> CaseResult {
    let mut seconds = Vec::new();
    for seed in SEED..SEED + 20 {
        let spread = BreakerSetup {
            factor: 2.0,
            random_factor: 0.5,
            seed,
            ..setup()
        };
        seconds.push(openings(driver, spread, 2).await?[1]);
    }
    let in_range = seconds
        .iter()
        .all(|s| (SECOND * 2..=SECOND * 3).contains(s));
    ensure(in_range, || format!("not all from 2 to 3 s: {seconds:?}"))?;
    seconds.dedup();
    ensure(seconds.len() > 10, || format!("hardly random: {seconds:?}"))
}

async fn a_success_of_an_earlier_closed_spell_does_not_count_in_this_one(
    driver: &dyn BreakerDriver,
) -> CaseResult {
    let patient = BreakerSetup {
        call_timeout: SECOND * 10,
        ..setup()
    };
    let breaker = driver.breaker(patient)?;
    let mut old = breaker.call(slow(1500, Ok(1)));
    let early = poll_immediate(&mut old).await;
    ensure(early.is_none(), || format!("it ended at once: {early:?}"))?;
    bad(&*breaker).await?;
    bad(&*breaker).await?;
    tokio::task::yield_now().await;
    sleep(SECOND).await;
    tokio::task::yield_now().await;
    good(&*breaker).await?;
    bad(&*breaker).await?;
    let _late = old.await;
    // The old success must not have forgiven the failure of this spell.
    bad(&*breaker).await?;
    in_state(&*breaker, BreakerState::Open)
}
