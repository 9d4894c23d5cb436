//! Stages of time: groups, delays, heartbeats. Sources: Pekko `FlowGroupedWithinSpec`, `FlowDelaySpec`,
//! `FlowIdleInjectSpec`.

use super::{
    Case, CaseResult, Duration, MS, SCRIPTED, StreamDriver, StreamExt, after, ensure, ensure_eq,
    expect, expect_end, failing, fed, items, sleep, timed, values,
};
use crate::{
    case::{
        SEED,
        Stance::{Different, Same},
    },
    cases,
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    a_group_is_emitted_when_it_is_full => "FlowGroupedWithinSpec: group elements by number", Same;
    a_group_is_emitted_when_its_time_is_over => "FlowGroupedWithinSpec: deliver buffered elements on the timeout", Same;
    a_full_group_starts_a_new_window => "FlowGroupedWithinSpec: reset time window when max elements reached", Same;
    no_group_is_empty => "FlowGroupedWithinSpec: not emit empty group when finished while not being pushed", Same;
    the_rest_is_emitted_at_the_end => "FlowGroupedWithinSpec: deliver buffered elements on completion", Same;
    a_group_grows_until_it_is_asked_for_but_not_beyond_its_size => "FlowGroupedWithinSpec: group evenly; pending demand", Same;
    grouping_loses_and_repeats_nothing => "FlowGroupedWithinSpec: group evenly", Same;
    a_delay_holds_each_element_back => "FlowDelaySpec: deliver elements with some time shift", Same;
    a_delay_counts_from_when_the_element_came => "FlowDelaySpec: deliver elements delayed from their arrival", Same;
    a_delay_by_element_keeps_the_order => "FlowDelaySpec: delayWith, not reorder", Same;
    a_delay_holds_no_more_than_its_size => "FlowDelaySpec: backpressure when the buffer is full", Same;
    a_delay_delivers_what_it_holds_when_its_source_ends => "FlowDelaySpec: deliver elements to subscriber after completion", Same;
    a_heartbeat_is_injected_into_a_silence => "FlowIdleInjectSpec: emit additional element if upstream is silent", Same;
    a_heartbeat_is_injected_again_and_again => "FlowIdleInjectSpec: inject repeatedly while silent", Same;
    an_element_in_time_is_not_joined_by_a_heartbeat => "FlowIdleInjectSpec: not emit additional elements if upstream is fast enough", Same;
    the_silence_starts_again_with_each_element => "FlowIdleInjectSpec: reset the deadline on each element", Same;
    heartbeats_do_not_queue_while_the_consumer_is_away => "FlowIdleInjectSpec: emit at most one injected element upon demand", Same;
    a_real_element_is_preferred_to_a_heartbeat => "FlowIdleInjectSpec: prefer upstream element over injected", Same;
    heartbeats_end_with_the_source => "FlowIdleInjectSpec: pass through completion", Same;
    a_failure_ends_the_heartbeats => "FlowIdleInjectSpec: pass through errors",
        Different("the error is an element; a stream that goes on after it goes on with heartbeats");
];

async fn a_group_is_emitted_when_it_is_full(driver: &dyn StreamDriver) -> CaseResult {
    let groups = driver.grouped_within(items(1..=7), 3, MS * 100)?;
    let expected = vec![vec![1, 2, 3], vec![4, 5, 6], vec![7]];
    ensure_eq("groups", &values(groups).await?, &expected)
}

async fn a_group_is_emitted_when_its_time_is_over(driver: &dyn StreamDriver) -> CaseResult {
    let source = after([(10, 1), (10, 2), (200, 3), (10, 4)]);
    let groups = driver.grouped_within(source, 1000, MS * 100)?;
    let seen = timed(groups).await;
    ensure_eq("the first", &seen.first(), &Some(&(100, Ok(vec![1, 2]))))
}

async fn a_full_group_starts_a_new_window(driver: &dyn StreamDriver) -> CaseResult {
    let source = after([(50, 1), (0, 2), (0, 3), (10, 4), (1000, 5)]);
    let groups = driver.grouped_within(source, 3, MS * 100)?;
    let seen: Vec<_> = timed(groups).await.into_iter().take(2).collect();
    let expected = vec![(50, Ok(vec![1, 2, 3])), (150, Ok(vec![4]))];
    ensure_eq("groups", &seen, &expected)
}

async fn no_group_is_empty(driver: &dyn StreamDriver) -> CaseResult {
    let groups = driver.grouped_within(after([(1050, 1), (900, 2)]), 10, MS * 100)?;
    let groups = values(groups).await?;
    ensure_eq("groups", &groups, &vec![vec![1], vec![2]])?;
    let mut none = driver.grouped_within(items([]), 10, MS * 100)?;
    expect_end(&mut none).await
}

async fn the_rest_is_emitted_at_the_end(driver: &dyn StreamDriver) -> CaseResult {
    let groups = driver.grouped_within(after([(10, 1), (10, 2)]), 10, MS * 1000)?;
    ensure_eq("groups", &timed(groups).await, &vec![(20, Ok(vec![1, 2]))])
}

async fn a_group_grows_until_it_is_asked_for_but_not_beyond_its_size(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let (feeder, source) = fed();
    let mut groups = driver.grouped_within(source, 3, MS * 100)?;
    feeder.feed(0);
    expect(&mut groups, vec![0]).await?;
    for item in 1..=5 {
        feeder.feed(item);
        sleep(MS * 150).await;
    }
    expect(&mut groups, vec![1, 2, 3]).await
}

async fn grouping_loses_and_repeats_nothing(driver: &dyn StreamDriver) -> CaseResult {
    let mut chance = fastrand::Rng::with_seed(SEED);
    let paced: Vec<_> = (0..300).map(|item| (chance.u32(0..40), item)).collect();
    let groups = driver.grouped_within(after(paced), 4, MS * 50)?;
    let groups = values(groups).await?;
    let sizes = groups.iter().all(|group| (1..=4).contains(&group.len()));
    ensure(sizes, || {
        format!("groups of other sizes than 1 to 4: {groups:?}")
    })?;
    ensure_eq("elements", &groups.concat(), &(0..300).collect())
}

fn hundred(_item: u64) -> Duration {
    MS * 100
}

async fn a_delay_holds_each_element_back(driver: &dyn StreamDriver) -> CaseResult {
    let delayed = driver.delay(after([(10, 1), (20, 2), (200, 3)]), hundred, 16)?;
    let expected = vec![(110, Ok(1)), (130, Ok(2)), (330, Ok(3))];
    ensure_eq("elements", &timed(delayed).await, &expected)
}

async fn a_delay_counts_from_when_the_element_came(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut delayed = driver.delay(source, hundred, 16)?;
    feeder.feed(1);
    expect(&mut delayed, 1).await?;
    feeder.feed(2);
    sleep(MS * 500).await;
    // It was due long ago, while nobody asked.
    let next = tokio::time::timeout(MS, delayed.next()).await;
    ensure(next == Ok(Some(Ok(2))), || {
        format!("expected 2 at once, saw {next:?}")
    })
}

async fn a_delay_by_element_keeps_the_order(driver: &dyn StreamDriver) -> CaseResult {
    let delayed = driver.delay(items([100, 10, 50, 200]), Duration::from_millis, 16)?;
    let expected = vec![(100, Ok(100)), (100, Ok(10)), (100, Ok(50)), (200, Ok(200))];
    ensure_eq("elements", &timed(delayed).await, &expected)
}

async fn a_delay_holds_no_more_than_its_size(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut delayed = driver.delay(source, hundred, 4)?;
    (1..=10).for_each(|item| feeder.feed(item));
    let early = tokio::time::timeout(MS * 50, delayed.next()).await;
    ensure(early.is_err(), || {
        format!("an element came early: {early:?}")
    })?;
    ensure_eq("not taken", &feeder.untaken(), &6)
}

async fn a_delay_delivers_what_it_holds_when_its_source_ends(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let delayed = driver.delay(items(1..=5), hundred, 16)?;
    ensure_eq("elements", &values(delayed).await?, &(1..=5).collect())
}

async fn a_heartbeat_is_injected_into_a_silence(driver: &dyn StreamDriver) -> CaseResult {
    let kept = driver.keep_alive(after([(50, 1), (150, 2)]), MS * 100, 0)?;
    let expected = vec![(50, Ok(1)), (150, Ok(0)), (200, Ok(2))];
    ensure_eq("elements", &timed(kept).await, &expected)
}

async fn a_heartbeat_is_injected_again_and_again(driver: &dyn StreamDriver) -> CaseResult {
    let kept = driver.keep_alive(after([(0, 1), (350, 2)]), MS * 100, 0)?;
    let expected = vec![
        (0, Ok(1)),
        (100, Ok(0)),
        (200, Ok(0)),
        (300, Ok(0)),
        (350, Ok(2)),
    ];
    ensure_eq("elements", &timed(kept).await, &expected)
}

async fn an_element_in_time_is_not_joined_by_a_heartbeat(driver: &dyn StreamDriver) -> CaseResult {
    let kept = driver.keep_alive(after((1..=10).map(|item| (99, item))), MS * 100, 0)?;
    ensure_eq("elements", &values(kept).await?, &(1..=10).collect())
}

async fn the_silence_starts_again_with_each_element(driver: &dyn StreamDriver) -> CaseResult {
    let kept = driver.keep_alive(after([(60, 1), (60, 2), (60, 3), (120, 4)]), MS * 100, 0)?;
    let expected = vec![
        (60, Ok(1)),
        (120, Ok(2)),
        (180, Ok(3)),
        (280, Ok(0)),
        (300, Ok(4)),
    ];
    ensure_eq("elements", &timed(kept).await, &expected)
}

async fn heartbeats_do_not_queue_while_the_consumer_is_away(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let (feeder, source) = fed();
    let mut kept = driver.keep_alive(source, MS * 100, 0)?;
    feeder.feed(1);
    expect(&mut kept, 1).await?;
    sleep(MS * 1000).await;
    expect(&mut kept, 0).await?;
    super::expect_nothing(&mut kept, MS * 99).await
}

async fn a_real_element_is_preferred_to_a_heartbeat(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut kept = driver.keep_alive(source, MS * 100, 0)?;
    feeder.feed(1);
    expect(&mut kept, 1).await?;
    sleep(MS * 1000).await;
    feeder.feed(2);
    expect(&mut kept, 2).await
}

async fn heartbeats_end_with_the_source(driver: &dyn StreamDriver) -> CaseResult {
    let mut kept = driver.keep_alive(items([1]), MS * 100, 0)?;
    expect(&mut kept, 1).await?;
    expect_end(&mut kept).await?;
    sleep(MS * 1000).await;
    expect_end(&mut kept).await
}

async fn a_failure_ends_the_heartbeats(driver: &dyn StreamDriver) -> CaseResult {
    let kept = driver.keep_alive(failing([1]), MS * 100, 0)?;
    let seen = timed(kept).await;
    ensure_eq("elements", &seen, &vec![(0, Ok(1)), (0, Err(SCRIPTED))])
}
