//! Asynchronous work, one at a time of each key. Source: Pekko `FlowMapAsyncPartitionedSpec`.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;

use super::{
    Case, CaseResult, Duration, Fault, Gauge, MS, SCRIPTED, StreamDriver, ensure, ensure_eq,
    expect, expect_end, expect_fault, failing, fed, items, ordered, resuming, settle, sleep, timed,
    unordered, values,
};
use crate::{case::Stance::Same, cases, driver::streams::Work};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    elements_of_one_key_are_worked_on_one_at_a_time => "FlowMapAsyncPartitionedSpec: process elements of one partition one at a time", Same;
    elements_of_one_key_are_begun_in_their_order => "FlowMapAsyncPartitionedSpec: process elements in partition order", Same;
    keys_are_worked_on_beside_each_other => "FlowMapAsyncPartitionedSpec: process different partitions in parallel", Same;
    no_more_keys_are_worked_on_than_the_parallelism => "FlowMapAsyncPartitionedSpec: not exceed parallelism", Same;
    partitioned_work_is_emitted_in_the_order_of_the_source => "FlowMapAsyncPartitionedSpec: ordered, produce in order", Same;
    partitioned_work_may_be_emitted_as_it_is_done => "FlowMapAsyncPartitionedUnorderedSpec: produce when ready", Same;
    a_busy_key_does_not_hold_the_others_up => "FlowMapAsyncPartitionedSpec: buffer elements of a busy partition", Same;
    partitioned_work_that_fails_fails_the_stream => "FlowMapAsyncPartitionedSpec: signal future failure", Same;
    resuming_goes_on_with_the_next_of_the_key => "FlowMapAsyncPartitionedSpec: resume after future failure", Same;
    partitioned_work_completes_and_passes_failures_on => "FlowMapAsyncPartitionedSpec: complete; signal upstream failure", Same;
    dropping_partitioned_work_drops_the_source => "FlowMapAsyncPartitionedSpec: handle cancel", Same;
];

/// Keys by the last digit; the element is its milliseconds.
fn digit(item: u64) -> u64 {
    item % 10
}

/// Notes when each element's work began, and takes 10 ms.
fn noting() -> (Arc<Mutex<Vec<u64>>>, Work) {
    let begun = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&begun);
    let work: Work = Box::new(move |item| {
        note.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(item);
        async move {
            sleep(MS * 10).await;
            Ok(item)
        }
        .boxed()
    });
    (begun, work)
}

fn begun(note: &Arc<Mutex<Vec<u64>>>) -> Vec<u64> {
    note.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn elements_of_one_key_are_worked_on_one_at_a_time(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let mapped = driver.map_partitioned(items([11, 21, 31]), ordered(4), digit, gauge.work())?;
    let expected = vec![(11, Ok(11)), (32, Ok(21)), (63, Ok(31))];
    ensure_eq("elements", &timed(mapped).await, &expected)?;
    ensure_eq("most at a time", &gauge.most(), &1)
}

async fn elements_of_one_key_are_begun_in_their_order(driver: &dyn StreamDriver) -> CaseResult {
    let (note, work) = noting();
    let mapped =
        driver.map_partitioned(items([1, 11, 2, 21, 12, 31]), unordered(2), digit, work)?;
    ensure_eq("elements", &values(mapped).await?.len(), &6)?;
    let of = |key| {
        begun(&note)
            .into_iter()
            .filter(move |item| digit(*item) == key)
    };
    ensure_eq("key 1", &of(1).collect(), &vec![1, 11, 21, 31])?;
    ensure_eq("key 2", &of(2).collect(), &vec![2, 12])
}

async fn keys_are_worked_on_beside_each_other(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let mapped = driver.map_partitioned(items([21, 22, 23]), ordered(3), digit, gauge.work())?;
    ensure_eq("elements", &values(mapped).await?, &vec![21, 22, 23])?;
    ensure_eq("most at a time", &gauge.most(), &3)
}

async fn no_more_keys_are_worked_on_than_the_parallelism(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let mapped = driver.map_partitioned(items(1..=40), ordered(3), digit, gauge.work())?;
    ensure_eq("elements", &values(mapped).await?, &(1..=40).collect())?;
    ensure_eq("most at a time", &gauge.most(), &3)
}

async fn partitioned_work_is_emitted_in_the_order_of_the_source(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let source = items([91, 12, 13, 21, 2]);
    let mapped = driver.map_partitioned(source, ordered(4), digit, Gauge::default().work())?;
    ensure_eq("elements", &values(mapped).await?, &vec![91, 12, 13, 21, 2])
}

async fn partitioned_work_may_be_emitted_as_it_is_done(driver: &dyn StreamDriver) -> CaseResult {
    let source = items([91, 12, 1]);
    let mapped = driver.map_partitioned(source, unordered(4), digit, Gauge::default().work())?;
    let expected = vec![(12, Ok(12)), (91, Ok(91)), (92, Ok(1))];
    ensure_eq("elements", &timed(mapped).await, &expected)
}

async fn a_busy_key_does_not_hold_the_others_up(driver: &dyn StreamDriver) -> CaseResult {
    let (note, work) = noting();
    let source = items([1, 11, 21, 31, 41, 2]);
    let mut mapped = driver.map_partitioned(source, ordered(2), digit, work)?;
    let early = tokio::time::timeout(MS, futures_util::StreamExt::next(&mut mapped)).await;
    ensure(early.is_err(), || format!("it is done at once: {early:?}"))?;
    ensure_eq("begun", &begun(&note), &vec![1, 2])
}

fn eleven_fails(item: u64) -> Result<u64, Fault> {
    if item == 11 { Err(SCRIPTED) } else { Ok(item) }
}

async fn partitioned_work_that_fails_fails_the_stream(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let work = gauge.ending(eleven_fails);
    let mapped = driver.map_partitioned(items([92, 11, 3]), ordered(3), digit, work)?;
    ensure_eq("elements", &timed(mapped).await, &vec![(11, Err(SCRIPTED))])?;
    settle().await;
    ensure_eq("still running", &gauge.running(), &0)
}

async fn resuming_goes_on_with_the_next_of_the_key(driver: &dyn StreamDriver) -> CaseResult {
    let work = Gauge::default().ending(eleven_fails);
    let mapping = resuming(&ordered(2));
    let mapped = driver.map_partitioned(items([1, 11, 21, 2]), mapping, digit, work)?;
    ensure_eq("elements", &values(mapped).await?, &vec![1, 21, 2])
}

async fn partitioned_work_completes_and_passes_failures_on(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let mut mapped =
        driver.map_partitioned(items([]), ordered(2), digit, Gauge::default().work())?;
    expect_end(&mut mapped).await?;
    let mut mapped =
        driver.map_partitioned(failing([]), ordered(2), digit, Gauge::default().work())?;
    expect_fault(&mut mapped, SCRIPTED).await
}

async fn dropping_partitioned_work_drops_the_source(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let (feeder, source) = fed();
    let mut mapped = driver.map_partitioned(source, ordered(4), digit, gauge.work())?;
    for item in [11, 501, 502] {
        feeder.feed(item);
    }
    expect(&mut mapped, 11).await?;
    drop(mapped);
    sleep(Duration::from_millis(1)).await;
    ensure_eq("still running", &gauge.running(), &0)?;
    ensure(feeder.is_dropped(), || {
        "the source is still held".to_owned()
    })
}
