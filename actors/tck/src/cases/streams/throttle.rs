//! The throttle. Source: Pekko `FlowThrottleSpec`.

use super::{
    Case, CaseResult, Duration, Fault, MS, StreamDriver, StreamExt, after, counted, ensure,
    ensure_eq, expect, expect_end, expect_nothing, failing, fed, items, sleep, timed, times,
    values,
};
use crate::{
    case::Stance::{Different, Same},
    cases,
    driver::streams::Throttling,
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    a_throttle_keeps_the_pace => "FlowThrottleSpec: shaping, work for the happy case", Same;
    the_first_burst_passes_at_once => "FlowThrottleSpec: shaping, burst according to its maximum if enough time passed", Same;
    a_silence_gives_the_burst_again => "FlowThrottleSpec: shaping, burst according to its maximum if enough time passed", Same;
    a_short_silence_gives_part_of_the_burst => "FlowThrottleSpec: shaping, burst some elements if some time passed", Same;
    a_silence_gives_no_more_than_the_burst => "FlowThrottleSpec: shaping, burst according to its maximum if enough time passed", Same;
    without_a_burst_even_the_first_element_waits => "TokenBucketSpec: work with zero capacity", Same;
    an_unset_burst_is_a_hundred_milliseconds_worth => "FlowThrottleSpec: automatic maximumBurst", Same;
    an_unset_burst_is_one_at_least => "FlowThrottleSpec: automatic maximumBurst", Same;
    very_high_rates_pass => "FlowThrottleSpec: accept very high rates", Same;
    very_low_rates_hold => "FlowThrottleSpec: accept very low rates", Same;
    cost_is_charged_by_element => "FlowThrottleSpec: elements with individual costs, work for the happy case", Same;
    an_element_dearer_than_the_burst_waits_in_proportion => "FlowThrottleSpec: emit elements according to cost", Same;
    an_element_without_cost_passes_at_once => "FlowThrottleSpec: elements with individual costs", Same;
    a_throttle_pulls_only_what_it_is_asked_for => "FlowThrottleSpec: send elements downstream as soon as the time comes", Same;
    an_element_that_is_let_pass_early_is_not_emitted_early => "FlowThrottleSpec: not send downstream before the time comes", Same;
    a_throttle_completes_with_its_source => "FlowThrottleSpec: complete when the source completes", Same;
    a_throttle_passes_the_failure_of_its_source => "FlowThrottleSpec: fail when the source fails", Same;
    dropping_a_throttle_drops_its_source => "FlowThrottleSpec: cancel when downstream cancels", Same;
    enforcing_passes_what_keeps_the_pace => "FlowThrottleSpec: enforcing, pass elements that keep the rate", Same;
    enforcing_fails_on_what_comes_too_early => "FlowThrottleSpec: enforcing, throw exception when exceeding throughput", Same;
    enforcing_lets_the_burst_pass => "FlowThrottleSpec: enforcing, burst according to its maximum", Same;
    enforcing_never_passes_what_is_dearer_than_the_burst => "FlowThrottleSpec: enforcing, fail when the cost exceeds the burst", Same;
    shaping_before_enforcing_satisfies_it => "FlowThrottleSpec: enforcing combined with shaping", Same;
    waits_end_in_whole_milliseconds_and_drift_by_none => "Throttle: timer granularity",
        Different("a wait ends in whole milliseconds of tokio's timer; the bucket makes up for it, so the rate is exact");
];

/// One each 100 ms, with this burst.
fn pace(burst: u64) -> Throttling {
    Throttling {
        cost: 1,
        per: MS * 100,
        burst: Some(burst),
        cost_of: None,
        enforcing: false,
    }
}

async fn a_throttle_keeps_the_pace(driver: &dyn StreamDriver) -> CaseResult {
    let paced = driver.throttle(items(1..=5), pace(1))?;
    ensure_eq("times", &times(paced).await?, &vec![0, 100, 200, 300, 400])
}

async fn the_first_burst_passes_at_once(driver: &dyn StreamDriver) -> CaseResult {
    let paced = driver.throttle(items(1..=6), pace(3))?;
    ensure_eq("times", &times(paced).await?, &vec![0, 0, 0, 100, 200, 300])
}

async fn a_silence_gives_the_burst_again(driver: &dyn StreamDriver) -> CaseResult {
    let source = after([(0, 1), (0, 2), (0, 3), (1000, 4), (0, 5), (0, 6)]);
    let paced = driver.throttle(source, pace(2))?;
    ensure_eq(
        "times",
        &times(paced).await?,
        &vec![0, 0, 100, 1100, 1100, 1200],
    )
}

async fn a_short_silence_gives_part_of_the_burst(driver: &dyn StreamDriver) -> CaseResult {
    let source = after([(0, 1), (0, 2), (0, 3), (0, 4), (250, 5), (0, 6), (0, 7)]);
    let paced = driver.throttle(source, pace(4))?;
    ensure_eq(
        "times",
        &times(paced).await?,
        &vec![0, 0, 0, 0, 250, 250, 300],
    )
}

async fn a_silence_gives_no_more_than_the_burst(driver: &dyn StreamDriver) -> CaseResult {
    let source = after([(100_000, 1), (0, 2), (0, 3), (0, 4)]);
    let paced = driver.throttle(source, pace(2))?;
    let expected = vec![100_000, 100_000, 100_100, 100_200];
    ensure_eq("times", &times(paced).await?, &expected)
}

async fn without_a_burst_even_the_first_element_waits(driver: &dyn StreamDriver) -> CaseResult {
    let paced = driver.throttle(items(1..=3), pace(0))?;
    ensure_eq("times", &times(paced).await?, &vec![100, 200, 300])
}

fn automatic(cost: u32, per: Duration) -> Throttling {
    Throttling {
        cost,
        per,
        burst: None,
        ..pace(1)
    }
}

async fn an_unset_burst_is_a_hundred_milliseconds_worth(driver: &dyn StreamDriver) -> CaseResult {
    let paced = driver.throttle(items(1..=6), automatic(40, MS * 1000))?;
    ensure_eq("times", &times(paced).await?, &vec![0, 0, 0, 0, 25, 50])
}

async fn an_unset_burst_is_one_at_least(driver: &dyn StreamDriver) -> CaseResult {
    let paced = driver.throttle(items(1..=3), automatic(1, MS * 500))?;
    ensure_eq("times", &times(paced).await?, &vec![0, 500, 1000])
}

async fn very_high_rates_pass(driver: &dyn StreamDriver) -> CaseResult {
    let paced = driver.throttle(items(1..=1000), automatic(1, Duration::from_nanos(1)))?;
    let seen = timed(paced).await;
    ensure_eq("elements", &seen.len(), &1000)?;
    let last = seen.last().map(|seen| seen.0);
    ensure(last <= Some(2), || {
        format!("the last came after {last:?} ms")
    })
}

async fn very_low_rates_hold(driver: &dyn StreamDriver) -> CaseResult {
    let day = Duration::from_hours(24);
    let mut paced = driver.throttle(items(1..=2), automatic(1, day))?;
    expect(&mut paced, 1).await?;
    expect_nothing(&mut paced, day.saturating_sub(MS)).await?;
    expect(&mut paced, 2).await
}

fn by_value(burst: u64) -> Throttling {
    Throttling {
        cost_of: Some(|item| item),
        ..pace(burst)
    }
}

async fn cost_is_charged_by_element(driver: &dyn StreamDriver) -> CaseResult {
    let paced = driver.throttle(items([1, 2, 3, 1]), by_value(1))?;
    ensure_eq("times", &times(paced).await?, &vec![0, 200, 500, 600])
}

async fn an_element_dearer_than_the_burst_waits_in_proportion(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let paced = driver.throttle(items([7, 1]), by_value(2))?;
    ensure_eq("times", &times(paced).await?, &vec![500, 600])
}

async fn an_element_without_cost_passes_at_once(driver: &dyn StreamDriver) -> CaseResult {
    let paced = driver.throttle(items([1, 0, 0, 1, 0]), by_value(1))?;
    ensure_eq("times", &times(paced).await?, &vec![0, 0, 0, 100, 100])
}

async fn a_throttle_pulls_only_what_it_is_asked_for(driver: &dyn StreamDriver) -> CaseResult {
    let (taken, source) = counted(items(1..=9));
    let mut paced = driver.throttle(source, pace(5))?;
    expect(&mut paced, 1).await?;
    sleep(MS * 1000).await;
    let taken = taken.load(std::sync::atomic::Ordering::SeqCst);
    ensure_eq("taken while nobody asks", &taken, &1)
}

async fn an_element_that_is_let_pass_early_is_not_emitted_early(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let mut paced = driver.throttle(items(1..=2), pace(1))?;
    expect(&mut paced, 1).await?;
    expect_nothing(&mut paced, MS * 99).await?;
    expect(&mut paced, 2).await
}

async fn a_throttle_completes_with_its_source(driver: &dyn StreamDriver) -> CaseResult {
    let mut paced = driver.throttle(items([]), pace(1))?;
    expect_end(&mut paced).await?;
    let mut paced = driver.throttle(items([1]), pace(1))?;
    expect(&mut paced, 1).await?;
    expect_end(&mut paced).await
}

async fn a_throttle_passes_the_failure_of_its_source(driver: &dyn StreamDriver) -> CaseResult {
    let mut paced = driver.throttle(failing([1]), pace(5))?;
    expect(&mut paced, 1).await?;
    ensure_eq("next", &paced.next().await, &Some(Err(super::SCRIPTED)))
}

async fn dropping_a_throttle_drops_its_source(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut paced = driver.throttle(source, pace(1))?;
    feeder.feed(1);
    feeder.feed(2);
    expect(&mut paced, 1).await?;
    expect_nothing(&mut paced, MS * 50).await?;
    drop(paced);
    ensure(feeder.is_dropped(), || {
        "the source is still held".to_owned()
    })
}

fn enforcing(throttling: Throttling) -> Throttling {
    Throttling {
        enforcing: true,
        ..throttling
    }
}

async fn enforcing_passes_what_keeps_the_pace(driver: &dyn StreamDriver) -> CaseResult {
    let source = after((1..=5).map(|item| (100, item)));
    let enforced = driver.throttle(source, enforcing(pace(1)))?;
    ensure_eq("elements", &values(enforced).await?, &(1..=5).collect())
}

async fn enforcing_fails_on_what_comes_too_early(driver: &dyn StreamDriver) -> CaseResult {
    let source = after([(0, 1), (100, 2), (40, 3), (0, 4)]);
    let enforced = driver.throttle(source, enforcing(pace(1)))?;
    let expected = vec![(0, Ok(1)), (100, Ok(2)), (140, Err(Fault::RateExceeded))];
    ensure_eq("elements", &timed(enforced).await, &expected)
}

async fn enforcing_lets_the_burst_pass(driver: &dyn StreamDriver) -> CaseResult {
    let source = after([(0, 1), (0, 2), (0, 3), (300, 4), (0, 5), (0, 6)]);
    let enforced = driver.throttle(source, enforcing(pace(3)))?;
    ensure_eq("elements", &values(enforced).await?, &(1..=6).collect())
}

async fn enforcing_never_passes_what_is_dearer_than_the_burst(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let source = after([(100_000, 3)]);
    let enforced = driver.throttle(source, enforcing(by_value(2)))?;
    let expected = vec![(100_000, Err(Fault::RateExceeded))];
    ensure_eq("elements", &timed(enforced).await, &expected)
}

async fn shaping_before_enforcing_satisfies_it(driver: &dyn StreamDriver) -> CaseResult {
    let shaped = driver.throttle(items(1..=20), pace(3))?;
    let enforced = driver.throttle(shaped, enforcing(pace(3)))?;
    ensure_eq("elements", &values(enforced).await?, &(1..=20).collect())
}

async fn waits_end_in_whole_milliseconds_and_drift_by_none(
    driver: &dyn StreamDriver,
) -> CaseResult {
    // 3 in 10 ms: each is due 10/3 ms after the one before, and emitted at the next whole millisecond.
    let throttling = Throttling {
        cost: 3,
        per: MS * 10,
        ..pace(1)
    };
    let paced = driver.throttle(items(1..=301), throttling)?;
    let last = times(paced).await?.pop();
    ensure(matches!(last, Some(1000 | 1001)), || {
        format!("the last of 300 came after {last:?} ms")
    })
}
