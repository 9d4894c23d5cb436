//! Asynchronous work on elements. Source: Pekko `FlowMapAsyncSpec` and `FlowMapAsyncUnorderedSpec`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::FutureExt;

use super::{
    Case, CaseResult, Fault, Gauge, Instant, MS, Mapping, SCRIPTED, StreamDriver, StreamExt,
    ensure, ensure_eq, expect, expect_end, expect_fault, failing, fed, items, ordered, resuming,
    settle, sleep, timed, unordered, values,
};
use crate::{
    case::Stance::{Different, Same, Trap},
    cases,
    driver::streams::Work,
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    ordered_work_is_emitted_in_the_order_of_the_source => "FlowMapAsyncSpec: produce future elements in the order of the source", Same;
    unordered_work_is_emitted_as_it_is_done => "FlowMapAsyncUnorderedSpec: produce future elements in the order they are ready", Same;
    no_more_runs_than_the_parallelism => "FlowMapAsyncSpec: not run more futures than configured", Same;
    no_more_runs_unordered_than_the_parallelism => "FlowMapAsyncUnorderedSpec: not run more futures than configured", Same;
    a_parallelism_of_one_works_one_by_one => "FlowMapAsyncSpec: parallelism 1", Same;
    what_is_done_and_not_taken_counts_as_running => "FlowMapAsyncSpec: not run more futures than requested elements", Same;
    work_advances_while_the_consumer_is_idle => "FlowMapAsyncSpec: futures run by themselves",
        Same;
    unordered_work_advances_while_the_consumer_is_idle => "FlowMapAsyncUnorderedSpec: futures run by themselves", Same;
    a_slow_first_element_does_not_hold_the_others_work_up => "FlowMapAsyncSpec: not run more futures than configured", Same;
    a_failure_is_told_when_it_happens_and_not_in_its_turn => "FlowMapAsyncSpec: signal future failure asap", Same;
    an_unordered_failure_is_told_when_it_happens => "FlowMapAsyncUnorderedSpec: signal future failure", Same;
    work_that_is_already_failed_fails_the_stream => "FlowMapAsyncSpec: signal future already failed", Same;
    a_failure_aborts_the_work_beside_it => "FlowMapAsyncSpec: signal future failure",
        Different("the work beside it is aborted; Pekko's futures run on, their results ignored");
    a_function_that_panics_fails_the_stream => "FlowMapAsyncSpec: signal error from mapAsync", Same;
    work_that_panics_fails_the_stream => "FlowMapAsyncSpec: signal future failure", Same;
    resuming_skips_the_element_that_failed => "FlowMapAsyncSpec: resume after future failure", Same;
    resuming_skips_many_failures => "FlowMapAsyncSpec: resume after multiple failures", Same;
    resuming_skips_a_function_that_panics => "FlowMapAsyncSpec: resume when mapAsync throws", Same;
    resuming_unordered_skips_the_element_that_failed => "FlowMapAsyncUnorderedSpec: resume after future failure", Same;
    the_decider_is_asked_once_for_each_failure => "FlowMapAsyncSpec: not invoke the decider twice for the same failed future", Same;
    an_empty_source_completes => "FlowMapAsyncSpec: complete without requesting", Same;
    it_completes_with_the_last_work_pending => "FlowMapAsyncSpec: finish after future completes", Same;
    it_completes_without_being_asked_again => "FlowMapAsyncSpec: complete without more demand", Same;
    the_failure_of_the_source_is_passed_on => "FlowMapAsyncSpec: signal upstream failure", Same;
    dropping_it_drops_the_source_and_aborts_the_work => "FlowMapAsyncSpec: should handle cancel properly",
        Different("the work is aborted with the stream; Pekko's futures run on");
    nothing_is_taken_before_the_first_poll => "Flow: nothing runs before it is materialised",
        Different("a stream materialises at its first poll, not by a call of its own");
    a_thousand_elements_keep_their_order => "FlowMapAsyncSpec: produce elements in order under load", Same;
    timers_inside_the_work_are_served_while_the_consumer_is_busy => "futures::buffered polls its work only when polled",
        Trap("`buffered` advances its futures only while the stream is polled, so their timers and their I/O stall");
];

async fn ordered_work_is_emitted_in_the_order_of_the_source(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let mapped = driver.map_async(items([30, 10, 20]), ordered(3), Gauge::default().work())?;
    let expected = vec![(30, Ok(30)), (30, Ok(10)), (30, Ok(20))];
    ensure_eq("elements", &timed(mapped).await, &expected)
}

async fn unordered_work_is_emitted_as_it_is_done(driver: &dyn StreamDriver) -> CaseResult {
    let mapped = driver.map_async(items([30, 10, 20]), unordered(3), Gauge::default().work())?;
    let expected = vec![(10, Ok(10)), (20, Ok(20)), (30, Ok(30))];
    ensure_eq("elements", &timed(mapped).await, &expected)
}

async fn most_at_a_time(
    driver: &dyn StreamDriver,
    mapping: Mapping,
    expected: usize,
) -> CaseResult {
    let gauge = Gauge::default();
    let source = items((1..=40).map(|item| item % 7 + 1));
    let mapped = driver.map_async(source, mapping, gauge.work())?;
    ensure_eq("elements", &values(mapped).await?.len(), &40)?;
    ensure_eq("most at a time", &gauge.most(), &expected)
}

async fn no_more_runs_than_the_parallelism(driver: &dyn StreamDriver) -> CaseResult {
    most_at_a_time(driver, ordered(4), 4).await
}

async fn no_more_runs_unordered_than_the_parallelism(driver: &dyn StreamDriver) -> CaseResult {
    most_at_a_time(driver, unordered(4), 4).await
}

async fn a_parallelism_of_one_works_one_by_one(driver: &dyn StreamDriver) -> CaseResult {
    most_at_a_time(driver, ordered(1), 1).await?;
    let mapped = driver.map_async(items([10, 10, 10]), ordered(1), Gauge::default().work())?;
    ensure_eq("times", &super::times(mapped).await?, &vec![10, 20, 30])
}

async fn what_is_done_and_not_taken_counts_as_running(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let mut mapped = driver.map_async(items([10; 20]), ordered(4), gauge.work())?;
    expect(&mut mapped, 10).await?;
    sleep(MS * 1000).await;
    ensure(gauge.begun() <= 5, || {
        format!("{} begun with one taken and room for four", gauge.begun())
    })
}

async fn advances(driver: &dyn StreamDriver, mapping: Mapping) -> CaseResult {
    let gauge = Gauge::default();
    let mut mapped = driver.map_async(items([10; 8]), mapping, gauge.work())?;
    expect(&mut mapped, 10).await?;
    sleep(MS * 1000).await;
    ensure_eq("still running", &gauge.running(), &0)?;
    let start = Instant::now();
    for _ in 0..4 {
        expect(&mut mapped, 10).await?;
    }
    ensure_eq("time for four", &start.elapsed().as_millis(), &0)
}

async fn work_advances_while_the_consumer_is_idle(driver: &dyn StreamDriver) -> CaseResult {
    advances(driver, ordered(4)).await
}

async fn unordered_work_advances_while_the_consumer_is_idle(
    driver: &dyn StreamDriver,
) -> CaseResult {
    advances(driver, unordered(4)).await
}

async fn a_slow_first_element_does_not_hold_the_others_work_up(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let gauge = Gauge::default();
    let mut mapped = driver.map_async(items([1000, 10, 10, 10]), ordered(4), gauge.work())?;
    let early = tokio::time::timeout(MS * 20, mapped.next()).await;
    ensure(early.is_err(), || {
        format!("an element out of order: {early:?}")
    })?;
    ensure_eq("still running", &gauge.running(), &1)
}

fn ten_fails(item: u64) -> Result<u64, Fault> {
    if item == 10 { Err(SCRIPTED) } else { Ok(item) }
}

async fn a_failure_is_told_when_it_happens_and_not_in_its_turn(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let work = Gauge::default().ending(ten_fails);
    let mapped = driver.map_async(items([500, 10, 500]), ordered(3), work)?;
    ensure_eq("elements", &timed(mapped).await, &vec![(10, Err(SCRIPTED))])
}

async fn an_unordered_failure_is_told_when_it_happens(driver: &dyn StreamDriver) -> CaseResult {
    let work = Gauge::default().ending(ten_fails);
    let mapped = driver.map_async(items([500, 10, 500, 5]), unordered(4), work)?;
    let expected = vec![(5, Ok(5)), (10, Err(SCRIPTED))];
    ensure_eq("elements", &timed(mapped).await, &expected)
}

async fn work_that_is_already_failed_fails_the_stream(driver: &dyn StreamDriver) -> CaseResult {
    let work: Work = Box::new(|_| std::future::ready(Err(SCRIPTED)).boxed());
    let mapped = driver.map_async(items([1, 2]), ordered(2), work)?;
    ensure_eq("elements", &timed(mapped).await, &vec![(0, Err(SCRIPTED))])
}

async fn a_failure_aborts_the_work_beside_it(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let work = gauge.ending(ten_fails);
    let mut mapped = driver.map_async(items([500, 10, 500]), ordered(3), work)?;
    expect_fault(&mut mapped, SCRIPTED).await?;
    settle().await;
    ensure_eq("still running", &gauge.running(), &0)
}

/// Panics at 3, when called or when polled.
fn panicking(when_called: bool) -> Work {
    Box::new(move |item| {
        assert!(!(when_called && item == 3), "as scripted");
        async move {
            assert!(item != 3, "as scripted");
            Ok(item)
        }
        .boxed()
    })
}

async fn a_function_that_panics_fails_the_stream(driver: &dyn StreamDriver) -> CaseResult {
    let mapped = driver.map_async(items([3]), ordered(2), panicking(true))?;
    ensure_eq(
        "elements",
        &timed(mapped).await,
        &vec![(0, Err(Fault::Panicked))],
    )
}

async fn work_that_panics_fails_the_stream(driver: &dyn StreamDriver) -> CaseResult {
    let mapped = driver.map_async(items([3]), ordered(2), panicking(false))?;
    ensure_eq(
        "elements",
        &timed(mapped).await,
        &vec![(0, Err(Fault::Panicked))],
    )
}

async fn resuming_skips_the_element_that_failed(driver: &dyn StreamDriver) -> CaseResult {
    let work = Gauge::default().ending(ten_fails);
    let mapped = driver.map_async(items([30, 10, 20]), resuming(&ordered(3)), work)?;
    ensure_eq("elements", &values(mapped).await?, &vec![30, 20])
}

async fn resuming_skips_many_failures(driver: &dyn StreamDriver) -> CaseResult {
    let work = Gauge::default().ending(ten_fails);
    let source = items([10, 10, 10, 1, 10, 10, 2, 10]);
    let mapped = driver.map_async(source, resuming(&ordered(2)), work)?;
    ensure_eq("elements", &values(mapped).await?, &vec![1, 2])
}

async fn resuming_skips_a_function_that_panics(driver: &dyn StreamDriver) -> CaseResult {
    let mapped = driver.map_async(items(1..=5), resuming(&ordered(2)), panicking(true))?;
    ensure_eq("elements", &values(mapped).await?, &vec![1, 2, 4, 5])
}

async fn resuming_unordered_skips_the_element_that_failed(driver: &dyn StreamDriver) -> CaseResult {
    let work = Gauge::default().ending(ten_fails);
    let mapped = driver.map_async(items([30, 10, 20]), resuming(&unordered(3)), work)?;
    ensure_eq("elements", &values(mapped).await?, &vec![20, 30])
}

async fn the_decider_is_asked_once_for_each_failure(driver: &dyn StreamDriver) -> CaseResult {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mapping = Mapping {
        resume: Some(Arc::new(move |_| {
            count.fetch_add(1, SeqCst);
            true
        })),
        ..ordered(3)
    };
    let work = Gauge::default().ending(ten_fails);
    let mapped = driver.map_async(items([10, 1, 10, 2, 10]), mapping, work)?;
    ensure_eq("elements", &values(mapped).await?, &vec![1, 2])?;
    ensure_eq("asked", &asked.load(SeqCst), &3)
}

async fn an_empty_source_completes(driver: &dyn StreamDriver) -> CaseResult {
    let mut mapped = driver.map_async(items([]), ordered(2), Gauge::default().work())?;
    expect_end(&mut mapped).await
}

async fn it_completes_with_the_last_work_pending(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut mapped = driver.map_async(source, ordered(2), Gauge::default().work())?;
    feeder.feed(100);
    drop(feeder);
    expect(&mut mapped, 100).await?;
    expect_end(&mut mapped).await
}

async fn it_completes_without_being_asked_again(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut mapped = driver.map_async(source, ordered(1), Gauge::default().work())?;
    feeder.feed(10);
    drop(feeder);
    expect(&mut mapped, 10).await?;
    let end = tokio::time::timeout(MS, mapped.next()).await;
    ensure(end == Ok(None), || {
        format!("expected the end at once, saw {end:?}")
    })
}

async fn the_failure_of_the_source_is_passed_on(driver: &dyn StreamDriver) -> CaseResult {
    let mut mapped = driver.map_async(failing([]), ordered(2), Gauge::default().work())?;
    expect_fault(&mut mapped, SCRIPTED).await
}

async fn dropping_it_drops_the_source_and_aborts_the_work(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let (feeder, source) = fed();
    let mut mapped = driver.map_async(source, ordered(4), gauge.work())?;
    for item in [10, 500, 500] {
        feeder.feed(item);
    }
    expect(&mut mapped, 10).await?;
    drop(mapped);
    settle().await;
    ensure_eq("still running", &gauge.running(), &0)?;
    ensure(feeder.is_dropped(), || {
        "the source is still held".to_owned()
    })
}

async fn nothing_is_taken_before_the_first_poll(driver: &dyn StreamDriver) -> CaseResult {
    let gauge = Gauge::default();
    let mapped = driver.map_async(items([1, 2]), ordered(2), gauge.work())?;
    sleep(MS * 100).await;
    ensure_eq("begun", &gauge.begun(), &0)?;
    ensure_eq("elements", &values(mapped).await?, &vec![1, 2])
}

async fn a_thousand_elements_keep_their_order(driver: &dyn StreamDriver) -> CaseResult {
    // Work that takes from 0 to 12 ms, seeded by the element itself.
    let work: Work = Box::new(|item: u64| {
        async move {
            sleep(MS * u32::try_from(item.wrapping_mul(2_654_435_761) % 13).unwrap_or(0)).await;
            Ok(item)
        }
        .boxed()
    });
    let mapped = driver.map_async(items(0..1000), ordered(16), work)?;
    ensure_eq("elements", &values(mapped).await?, &(0..1000).collect())
}

async fn timers_inside_the_work_are_served_while_the_consumer_is_busy(
    driver: &dyn StreamDriver,
) -> CaseResult {
    // Each work must do its second step within 50 ms of its first, as a call that must answer a ping.
    let late = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&late);
    let work: Work = Box::new(move |item| {
        let count = Arc::clone(&count);
        async move {
            let start = Instant::now();
            sleep(MS * 10).await;
            if start.elapsed() > MS * 50 {
                count.fetch_add(1, SeqCst);
            }
            Ok(item)
        }
        .boxed()
    });
    let mut mapped = driver.map_async(items(1..=12), ordered(4), work)?;
    while mapped.next().await.is_some() {
        sleep(MS * 500).await;
    }
    ensure_eq("steps that came late", &late.load(SeqCst), &0)
}
