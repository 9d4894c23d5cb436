//! Stages that read ahead of a slow consumer: buffer, conflate, batch. Sources: Pekko `FlowBufferSpec`,
//! `FlowConflateSpec`, `FlowBatchSpec`.

use super::{
    Case, CaseResult, Fault, MS, SCRIPTED, StreamDriver, StreamExt, after, ensure, ensure_eq,
    expect, expect_end, expect_fault, fed, items, settle, sleep, stream, values,
};
use crate::{
    case::{
        SEED,
        Stance::{Different, Same},
    },
    cases,
    driver::streams::{Fold, Overflow},
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    a_buffer_passes_everything_in_order => "FlowBufferSpec: pass elements through normally", Same;
    a_buffer_reads_as_far_ahead_as_its_size => "FlowBufferSpec: store elements in buffer if downstream is slow", Same;
    a_full_buffer_slows_its_source => "FlowBufferSpec: backpressure strategy", Same;
    a_full_buffer_drops_its_head => "FlowBufferSpec: drop head elements if buffer full", Same;
    a_full_buffer_drops_its_tail => "FlowBufferSpec: drop tail elements if buffer full", Same;
    a_full_buffer_drops_everything => "FlowBufferSpec: drop all elements if buffer full", Same;
    a_full_buffer_drops_what_is_new => "OverflowStrategy: dropNew", Same;
    a_full_buffer_fails => "FlowBufferSpec: fail upstream if buffer is full and configured so", Same;
    a_buffer_of_one_drops_its_head => "FlowBufferSpec: work with buffer size one and dropHead", Same;
    a_buffer_keeps_what_it_holds_when_its_source_ends => "FlowBufferSpec: drain the buffer after completion", Same;
    the_failure_of_the_source_waits_for_what_is_buffered => "FlowBufferSpec: upstream failure",
        Different("an error is an element and comes in its turn; Pekko's overtakes what is buffered");
    dropping_a_buffer_drops_its_source => "FlowBufferSpec: cancel upstream when downstream cancels", Same;
    an_endless_source_that_is_always_ready_starves_nobody => "OverflowStrategy: dropHead on a fast source",
        crate::case::Stance::Trap("a stage that never waits must still let other tasks of its thread run");
    conflate_passes_what_is_asked_for_as_it_comes => "FlowConflateSpec: pass-through elements unchanged when there is no rate difference", Same;
    conflate_folds_while_the_consumer_is_away => "FlowConflateSpec: conflate elements while downstream is silent", Same;
    conflate_never_slows_its_source => "FlowConflateSpec: conflate elements while downstream is silent", Same;
    conflate_starts_anew_after_each_emission => "FlowConflateSpec: restart when seed is emitted", Same;
    conflate_emits_what_it_holds_when_its_source_ends => "FlowConflateSpec: work on a variable rate chain", Same;
    conflate_loses_nothing_of_a_sum => "FlowConflateSpec: work on a variable rate chain", Same;
    batch_folds_no_more_than_its_maximum => "FlowBatchSpec: aggregate elements while downstream is silent", Same;
    batch_slows_its_source_at_its_maximum => "FlowBatchSpec: backpressure subscriber when upstream is slower", Same;
    batch_loses_nothing_of_a_sum => "FlowBatchSpec: work on a variable rate chain", Same;
];

async fn a_buffer_passes_everything_in_order(driver: &dyn StreamDriver) -> CaseResult {
    for size in [1, 2, 100] {
        let buffered = driver.buffer(items(0..200), size, Overflow::Backpressure)?;
        ensure_eq("elements", &values(buffered).await?, &(0..200).collect())?;
    }
    Ok(())
}

async fn a_buffer_reads_as_far_ahead_as_its_size(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut buffered = driver.buffer(source, 3, Overflow::Backpressure)?;
    (0..10).for_each(|item| feeder.feed(item));
    expect(&mut buffered, 0).await?;
    settle().await;
    ensure_eq(
        "not taken, one being out and three kept",
        &feeder.untaken(),
        &6,
    )
}

async fn a_full_buffer_slows_its_source(driver: &dyn StreamDriver) -> CaseResult {
    let seen = overflowed(driver, 3, Overflow::Backpressure).await?;
    ensure_eq("elements", &seen, &vec![1, 2, 3, 4, 5, 6])
}

/// Sends 1 to 6 while the consumer is away after the first element; returns what it then receives.
async fn overflowed(
    driver: &dyn StreamDriver,
    size: usize,
    overflow: Overflow,
) -> Result<Vec<u64>, crate::case::Failure> {
    let (feeder, source) = fed();
    let mut buffered = driver.buffer(source, size, overflow)?;
    feeder.feed(0);
    expect(&mut buffered, 0).await?;
    feeder.feed_each(1..=6).await;
    drop(feeder);
    values(buffered).await
}

async fn a_full_buffer_drops_its_head(driver: &dyn StreamDriver) -> CaseResult {
    let seen = overflowed(driver, 3, Overflow::DropHead).await?;
    ensure_eq("elements", &seen, &vec![4, 5, 6])
}

async fn a_full_buffer_drops_its_tail(driver: &dyn StreamDriver) -> CaseResult {
    let seen = overflowed(driver, 3, Overflow::DropTail).await?;
    ensure_eq("elements", &seen, &vec![1, 2, 6])
}

async fn a_full_buffer_drops_everything(driver: &dyn StreamDriver) -> CaseResult {
    let seen = overflowed(driver, 3, Overflow::DropBuffer).await?;
    ensure_eq("elements of 3", &seen, &vec![4, 5, 6])?;
    let seen = overflowed(driver, 4, Overflow::DropBuffer).await?;
    ensure_eq("elements of 4", &seen, &vec![5, 6])
}

async fn a_full_buffer_drops_what_is_new(driver: &dyn StreamDriver) -> CaseResult {
    let seen = overflowed(driver, 3, Overflow::DropNew).await?;
    ensure_eq("elements", &seen, &vec![1, 2, 3])
}

async fn a_full_buffer_fails(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut buffered = driver.buffer(source, 2, Overflow::Fail)?;
    feeder.feed(0);
    expect(&mut buffered, 0).await?;
    feeder.feed_each(1..=3).await;
    ensure(feeder.is_dropped(), || {
        "the source is still held".to_owned()
    })?;
    expect_fault(&mut buffered, Fault::Overflow).await
}

async fn a_buffer_of_one_drops_its_head(driver: &dyn StreamDriver) -> CaseResult {
    let seen = overflowed(driver, 1, Overflow::DropHead).await?;
    ensure_eq("elements", &seen, &vec![6])
}

async fn a_buffer_keeps_what_it_holds_when_its_source_ends(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let (feeder, source) = fed();
    let mut buffered = driver.buffer(source, 5, Overflow::DropHead)?;
    feeder.feed(0);
    expect(&mut buffered, 0).await?;
    feeder.feed_each(1..=3).await;
    drop(feeder);
    sleep(MS * 1000).await;
    ensure_eq("elements", &values(buffered).await?, &vec![1, 2, 3])
}

async fn the_failure_of_the_source_waits_for_what_is_buffered(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let (feeder, source) = fed();
    let mut buffered = driver.buffer(source, 5, Overflow::Backpressure)?;
    feeder.feed(0);
    expect(&mut buffered, 0).await?;
    feeder.feed_each(1..=2).await;
    feeder.fail();
    settle().await;
    expect(&mut buffered, 1).await?;
    expect(&mut buffered, 2).await?;
    ensure_eq("next", &buffered.next().await, &Some(Err(SCRIPTED)))
}

async fn dropping_a_buffer_drops_its_source(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut buffered = driver.buffer(source, 5, Overflow::Backpressure)?;
    feeder.feed(0);
    expect(&mut buffered, 0).await?;
    drop(buffered);
    settle().await;
    ensure(feeder.is_dropped(), || {
        "the source is still held".to_owned()
    })
}

async fn an_endless_source_that_is_always_ready_starves_nobody(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let flood = stream::repeat(1).map(Ok).boxed();
    let mut buffered = driver.buffer(flood, 2, Overflow::DropHead)?;
    expect(&mut buffered, 1).await?;
    // No time passes here: paused time moves only when no task can run, and the flood always can.
    settle().await;
    expect(&mut buffered, 1).await
}

fn sum() -> Fold {
    Box::new(|sum, item| sum + item)
}

async fn conflate_passes_what_is_asked_for_as_it_comes(driver: &dyn StreamDriver) -> CaseResult {
    let slow = after((1..=10).map(|item| (10, item)));
    let conflated = driver.batch(slow, None, sum())?;
    ensure_eq("elements", &values(conflated).await?, &(1..=10).collect())
}

async fn conflate_folds_while_the_consumer_is_away(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut conflated = driver.batch(source, None, sum())?;
    feeder.feed(1);
    expect(&mut conflated, 1).await?;
    feeder.feed_each([10, 20, 30]).await;
    expect(&mut conflated, 60).await
}

async fn conflate_never_slows_its_source(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut conflated = driver.batch(source, None, sum())?;
    feeder.feed(1);
    expect(&mut conflated, 1).await?;
    (0..900).for_each(|_| feeder.feed(1));
    sleep(MS).await;
    ensure_eq("not taken", &feeder.untaken(), &0)?;
    expect(&mut conflated, 900).await
}

async fn conflate_starts_anew_after_each_emission(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut conflated = driver.batch(source, None, sum())?;
    feeder.feed(1);
    expect(&mut conflated, 1).await?;
    feeder.feed_each([2, 3]).await;
    expect(&mut conflated, 5).await?;
    feeder.feed_each([4]).await;
    expect(&mut conflated, 4).await
}

async fn conflate_emits_what_it_holds_when_its_source_ends(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let (feeder, source) = fed();
    let mut conflated = driver.batch(source, None, sum())?;
    feeder.feed(1);
    expect(&mut conflated, 1).await?;
    feeder.feed_each([5, 6]).await;
    drop(feeder);
    settle().await;
    expect(&mut conflated, 11).await?;
    expect_end(&mut conflated).await
}

/// Sums a source of fast and slow spells through a consumer of fast and slow spells.
async fn sum_of_all(driver: &dyn StreamDriver, max: Option<usize>) -> CaseResult {
    let mut chance = fastrand::Rng::with_seed(SEED);
    let pauses: Vec<_> = (1..=500).map(|item| (chance.u32(0..5), item)).collect();
    let mut conflated = driver.batch(after(pauses), max, sum())?;
    let (mut total, mut emissions) = (0, 0);
    while let Some(item) = conflated.next().await {
        total += item.map_err(super::unexpected)?;
        emissions += 1;
        sleep(MS * chance.u32(0..20)).await;
    }
    ensure_eq("the sum of 1 to 500", &total, &125_250)?;
    ensure(emissions < 500, || {
        format!("{emissions} emissions: nothing was folded")
    })
}

async fn conflate_loses_nothing_of_a_sum(driver: &dyn StreamDriver) -> CaseResult {
    sum_of_all(driver, None).await
}

async fn batch_folds_no_more_than_its_maximum(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut batched = driver.batch(source, Some(2), sum())?;
    feeder.feed(1);
    expect(&mut batched, 1).await?;
    feeder.feed_each([10, 20, 30, 40]).await;
    expect(&mut batched, 30).await?;
    settle().await;
    expect(&mut batched, 70).await
}

async fn batch_slows_its_source_at_its_maximum(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut batched = driver.batch(source, Some(3), sum())?;
    feeder.feed(1);
    expect(&mut batched, 1).await?;
    feeder.feed_each(1..=10).await;
    // Three are folded; Pekko takes one more and keeps it beside them.
    ensure((6..=7).contains(&feeder.untaken()), || {
        format!("{} of 10 not taken", feeder.untaken())
    })
}

async fn batch_loses_nothing_of_a_sum(driver: &dyn StreamDriver) -> CaseResult {
    sum_of_all(driver, Some(4)).await
}
