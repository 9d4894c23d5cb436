//! The four clocks of a stream. Source: Pekko `TimeoutsSpec`.

use super::{
    Case, CaseResult, Fault, MS, SCRIPTED, StreamDriver, StreamExt, after, ensure, ensure_eq,
    expect, expect_end, expect_fault, failing, fed, items, settle, sleep, timed, values,
};
use crate::{
    case::Stance::{Different, Same},
    cases,
    driver::streams::StreamClock::{self, Backpressure, Completion, Idle, Initial},
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    the_initial_timeout_passes_elements_in_time => "TimeoutsSpec: InitialTimeout, pass through elements unmodified", Same;
    the_initial_timeout_passes_a_failure => "TimeoutsSpec: InitialTimeout, pass through error unmodified", Same;
    the_initial_timeout_fails_when_no_first_element_comes => "TimeoutsSpec: InitialTimeout, fail if no initial element passes until timeout", Same;
    the_initial_timeout_is_over_with_the_first_element => "TimeoutsSpec: InitialTimeout, pass through elements unmodified", Same;
    the_idle_timeout_passes_elements_in_time => "TimeoutsSpec: IdleTimeout, pass through elements unmodified", Same;
    the_idle_timeout_passes_a_failure => "TimeoutsSpec: IdleTimeout, pass through error unmodified", Same;
    the_idle_timeout_fails_when_elements_are_too_far_apart => "TimeoutsSpec: IdleTimeout, fail if time between elements is too large", Same;
    the_idle_timeout_starts_again_with_each_element => "TimeoutsSpec: IdleTimeout, pass through elements unmodified", Same;
    the_completion_timeout_passes_elements_in_time => "TimeoutsSpec: CompletionTimeout, pass through elements unmodified", Same;
    the_completion_timeout_passes_a_failure => "TimeoutsSpec: CompletionTimeout, pass through error unmodified", Same;
    the_completion_timeout_fails_a_stream_that_does_not_end => "TimeoutsSpec: CompletionTimeout, fail if not completed until timeout", Same;
    the_backpressure_timeout_passes_elements_in_time => "TimeoutsSpec: BackpressureTimeout, pass through elements unmodified", Same;
    the_backpressure_timeout_passes_a_failure => "TimeoutsSpec: BackpressureTimeout, pass through error unmodified", Same;
    the_backpressure_timeout_fails_a_slow_consumer => "TimeoutsSpec: BackpressureTimeout, fail if the time between demands is too large", Same;
    the_backpressure_timeout_does_not_blame_a_slow_source => "TimeoutsSpec: BackpressureTimeout, succeed if subscriber does not lag", Same;
    nobody_is_late_for_a_stream_that_has_ended => "TimeoutsSpec: BackpressureTimeout, not throw after completion", Same;
    the_four_timeouts_are_told_apart => "TimeoutsSpec: distinct exceptions", Same;
    a_timeout_drops_the_source => "TimeoutsSpec: cancel upstream on timeout", Same;
    a_slow_consumer_that_is_away_does_not_hold_the_source => "TimeoutsSpec: BackpressureTimeout, fail without demand", Same;
    a_timeout_starts_with_the_first_poll => "TimeoutsSpec: not fail under late start",
        Different("the clock starts at the first poll, which is when a stream materialises");
];

async fn passes(driver: &dyn StreamDriver, clock: StreamClock, pauses: &[u32]) -> CaseResult {
    let paced: Vec<_> = pauses.iter().copied().zip(1..).collect();
    let expected: Vec<u64> = paced.iter().map(|(_, item)| *item).collect();
    let kept = driver.timeout(after(paced), clock, MS * 100)?;
    ensure_eq("elements", &values(kept).await?, &expected)?;
    // The same at once, and none.
    let kept = driver.timeout(items(1..=50), clock, MS * 100)?;
    ensure_eq(
        "elements at once",
        &values(kept).await?,
        &(1..=50).collect(),
    )?;
    expect_end(&mut driver.timeout(items([]), clock, MS * 100)?).await
}

async fn passes_failure(driver: &dyn StreamDriver, clock: StreamClock) -> CaseResult {
    let mut kept = driver.timeout(failing([1]), clock, MS * 100)?;
    expect(&mut kept, 1).await?;
    ensure_eq("next", &kept.next().await, &Some(Err(SCRIPTED)))
}

async fn fails(
    driver: &dyn StreamDriver,
    clock: StreamClock,
    pauses: &[u32],
    at: u128,
) -> CaseResult {
    let paced: Vec<_> = pauses.iter().copied().zip(1..).collect();
    let kept = driver.timeout(after(paced), clock, MS * 100)?;
    let seen = timed(kept).await;
    ensure_eq(
        "the end",
        &seen.last(),
        &Some(&(at, Err(Fault::Timeout(clock)))),
    )
}

async fn the_initial_timeout_passes_elements_in_time(driver: &dyn StreamDriver) -> CaseResult {
    passes(driver, Initial, &[90, 1, 1]).await
}

async fn the_initial_timeout_passes_a_failure(driver: &dyn StreamDriver) -> CaseResult {
    passes_failure(driver, Initial).await
}

async fn the_initial_timeout_fails_when_no_first_element_comes(
    driver: &dyn StreamDriver,
) -> CaseResult {
    fails(driver, Initial, &[110], 100).await
}

async fn the_initial_timeout_is_over_with_the_first_element(
    driver: &dyn StreamDriver,
) -> CaseResult {
    passes(driver, Initial, &[90, 5000, 5000]).await
}

async fn the_idle_timeout_passes_elements_in_time(driver: &dyn StreamDriver) -> CaseResult {
    passes(driver, Idle, &[10, 0, 99]).await
}

async fn the_idle_timeout_passes_a_failure(driver: &dyn StreamDriver) -> CaseResult {
    passes_failure(driver, Idle).await
}

async fn the_idle_timeout_fails_when_elements_are_too_far_apart(
    driver: &dyn StreamDriver,
) -> CaseResult {
    fails(driver, Idle, &[90, 110], 190).await?;
    fails(driver, Idle, &[110], 100).await
}

async fn the_idle_timeout_starts_again_with_each_element(driver: &dyn StreamDriver) -> CaseResult {
    passes(driver, Idle, &[90; 20]).await
}

async fn the_completion_timeout_passes_elements_in_time(driver: &dyn StreamDriver) -> CaseResult {
    passes(driver, Completion, &[40, 40]).await
}

async fn the_completion_timeout_passes_a_failure(driver: &dyn StreamDriver) -> CaseResult {
    passes_failure(driver, Completion).await
}

async fn the_completion_timeout_fails_a_stream_that_does_not_end(
    driver: &dyn StreamDriver,
) -> CaseResult {
    fails(driver, Completion, &[40, 40, 40], 100).await
}

async fn the_backpressure_timeout_passes_elements_in_time(driver: &dyn StreamDriver) -> CaseResult {
    let mut kept = driver.timeout(items(1..=5), Backpressure, MS * 100)?;
    for item in 1..=5 {
        expect(&mut kept, item).await?;
        sleep(MS * 90).await;
    }
    expect_end(&mut kept).await
}

async fn the_backpressure_timeout_passes_a_failure(driver: &dyn StreamDriver) -> CaseResult {
    passes_failure(driver, Backpressure).await
}

async fn the_backpressure_timeout_fails_a_slow_consumer(driver: &dyn StreamDriver) -> CaseResult {
    let mut kept = driver.timeout(items(1..=5), Backpressure, MS * 100)?;
    expect(&mut kept, 1).await?;
    sleep(MS * 110).await;
    expect_fault(&mut kept, Fault::Timeout(Backpressure)).await
}

async fn the_backpressure_timeout_does_not_blame_a_slow_source(
    driver: &dyn StreamDriver,
) -> CaseResult {
    passes(driver, Backpressure, &[500, 500, 500]).await
}

async fn nobody_is_late_for_a_stream_that_has_ended(driver: &dyn StreamDriver) -> CaseResult {
    let mut kept = driver.timeout(items([1]), Backpressure, MS * 100)?;
    expect(&mut kept, 1).await?;
    sleep(MS * 500).await;
    expect_end(&mut kept).await
}

async fn the_four_timeouts_are_told_apart(driver: &dyn StreamDriver) -> CaseResult {
    for clock in [Initial, Idle, Completion] {
        let mut kept = driver.timeout(after([(500, 1)]), clock, MS * 100)?;
        expect_fault(&mut kept, Fault::Timeout(clock)).await?;
    }
    // Of all four on one stream, the one that ran out is named.
    let mut all = driver.timeout(after([(10, 1), (10, 2), (500, 3)]), Initial, MS * 100)?;
    for clock in [Completion, Backpressure] {
        all = driver.timeout(all, clock, MS * 1000)?;
    }
    all = driver.timeout(all, Idle, MS * 200)?;
    expect(&mut all, 1).await?;
    expect(&mut all, 2).await?;
    ensure_eq("next", &all.next().await, &Some(Err(Fault::Timeout(Idle))))
}

async fn a_timeout_drops_the_source(driver: &dyn StreamDriver) -> CaseResult {
    for clock in [Initial, Idle, Completion] {
        let (feeder, source) = fed();
        let mut kept = driver.timeout(source, clock, MS * 100)?;
        expect_fault(&mut kept, Fault::Timeout(clock)).await?;
        ensure(feeder.is_dropped(), || {
            format!("{clock:?}: the source is still held")
        })?;
    }
    Ok(())
}

async fn a_slow_consumer_that_is_away_does_not_hold_the_source(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let (feeder, source) = fed();
    let mut kept = driver.timeout(source, Backpressure, MS * 100)?;
    (1..=3).for_each(|item| feeder.feed(item));
    expect(&mut kept, 1).await?;
    sleep(MS * 110).await;
    settle().await;
    ensure(feeder.is_dropped(), || {
        "the source waits for the consumer to come back".to_owned()
    })
}

async fn a_timeout_starts_with_the_first_poll(driver: &dyn StreamDriver) -> CaseResult {
    for clock in [Initial, Idle, Completion] {
        let kept = driver.timeout(after([(90, 1)]), clock, MS * 100)?;
        sleep(MS * 1000).await;
        ensure_eq("elements", &values(kept).await?, &vec![1])?;
    }
    Ok(())
}
