//! The rules of Reactive Streams, as they read for a stream that is pulled.
//!
//! Source: the specification of Reactive Streams, by rule, and its compatibility kit.

use super::{
    Case, CaseResult, MS, SCRIPTED, StreamDriver, StreamExt, counted, ensure, ensure_eq, expect,
    fed, items, ordered, settle, sleep, values,
};
use crate::{
    case::{
        Failure,
        Stance::{Different, Same},
    },
    cases,
    driver::{
        Offered,
        streams::{Flow, Overflow, StreamClock, Throttling},
    },
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    no_stage_takes_more_than_it_was_asked_for_and_its_stated_buffer => "Reactive Streams 1.1: no more onNext than requested", Same;
    no_stage_yields_anything_after_its_end => "Reactive Streams 1.7: nothing after a terminal signal", Same;
    no_stage_yields_anything_after_its_failure => "Reactive Streams 1.7: nothing after a terminal signal", Same;
    every_stage_drops_its_source_when_it_is_dropped => "Reactive Streams 1.8, 3.13: references are dropped after cancel", Same;
    every_stage_drops_its_source_when_it_is_dropped_before_its_first_poll => "Reactive Streams 3.13: references are dropped after cancel", Same;
    an_element_that_comes_after_the_drop_does_no_harm => "Reactive Streams 2.8: tolerate late elements after cancel", Same;
    a_long_run_of_ready_elements_does_not_grow_the_stack => "Reactive Streams 3.3: bounded recursion", Same;
    a_parallelism_of_zero_counts_as_one => "Reactive Streams 3.9: non-positive demand is an error",
        Different("a size or parallelism of 0 counts as 1; Pekko throws when the stage is made");
    every_stage_passes_everything_when_all_is_asked_for => "Reactive Streams 3.17: unbounded demand", Same;
    a_failure_reaches_the_end_of_a_long_chain => "Reactive Streams 4.2: errors propagate", Same;
    a_stage_is_never_polled_by_two_at_once => "Reactive Streams 1.3: signals are serial", Same;
];

type Stage = fn(&dyn StreamDriver, Flow) -> Offered<Flow>;

/// Every stage that keeps elements as they are, with the elements that it may take beyond those asked for.
const STAGES: &[(&str, usize, Stage)] = &[
    ("throttle", 0, |driver, flow| {
        let throttling = Throttling {
            cost: 1000,
            per: MS,
            burst: Some(1000),
            cost_of: None,
            enforcing: false,
        };
        driver.throttle(flow, throttling)
    }),
    ("map_async", 3, |driver, flow| {
        let work = |item| -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async move { Ok(item) })
        };
        driver.map_async(flow, ordered(3), Box::new(work))
    }),
    ("buffer", 4, |driver, flow| {
        driver.buffer(flow, 4, Overflow::Backpressure)
    }),
    ("delay", 4, |driver, flow| {
        driver.delay(flow, |_| std::time::Duration::ZERO, 4)
    }),
    ("keep_alive", 0, |driver, flow| {
        driver.keep_alive(flow, MS * 1_000_000, 0)
    }),
    ("initial_timeout", 0, |driver, flow| {
        driver.timeout(flow, StreamClock::Initial, MS * 1_000_000)
    }),
    ("idle_timeout", 0, |driver, flow| {
        driver.timeout(flow, StreamClock::Idle, MS * 1_000_000)
    }),
    ("completion_timeout", 0, |driver, flow| {
        driver.timeout(flow, StreamClock::Completion, MS * 1_000_000)
    }),
    ("backpressure_timeout", 1, |driver, flow| {
        driver.timeout(flow, StreamClock::Backpressure, MS * 1_000_000)
    }),
    ("kill switch", 0, |driver, flow| {
        Ok(driver.switch()?.via(flow))
    }),
    ("recover", 0, |driver, flow| {
        driver.recover(flow, Some(0), Box::new(|| items([])))
    }),
];

/// Runs `case` on every stage that the library has; it must have one at least.
async fn on_every_stage(
    driver: &dyn StreamDriver,
    case: impl AsyncFn(&str, usize, Stage) -> CaseResult,
) -> CaseResult {
    let mut offered = 0;
    for (name, ahead, stage) in STAGES {
        match stage(driver, items([])) {
            Ok(_) => offered += 1,
            Err(Failure::NotApplicable(_)) => continue,
            Err(failure) => return Err(failure),
        }
        case(name, *ahead, *stage).await?;
    }
    if offered == 0 {
        return crate::driver::not_offered("stage of a stream");
    }
    Ok(())
}

async fn no_stage_takes_more_than_it_was_asked_for_and_its_stated_buffer(
    driver: &dyn StreamDriver,
) -> CaseResult {
    on_every_stage(driver, async |name, ahead, stage| {
        let (taken, source) = counted(items(1..));
        let mut flow = stage(driver, source)?;
        for asked in 1..=20_u64 {
            expect(&mut flow, asked).await?;
            sleep(MS).await;
            let taken = taken.load(std::sync::atomic::Ordering::SeqCst);
            let bound = usize::try_from(asked).unwrap_or(usize::MAX) + ahead;
            ensure(taken <= bound, || {
                format!("{name}: {taken} taken for {asked} asked")
            })?;
        }
        Ok(())
    })
    .await
}

async fn no_stage_yields_anything_after_its_end(driver: &dyn StreamDriver) -> CaseResult {
    on_every_stage(driver, async |name, _, stage| {
        let mut flow = stage(driver, items([1]))?;
        expect(&mut flow, 1).await?;
        for _ in 0..3 {
            let next = flow.next().await;
            ensure(next.is_none(), || format!("{name}: {next:?} after the end"))?;
        }
        Ok(())
    })
    .await
}

async fn no_stage_yields_anything_after_its_failure(driver: &dyn StreamDriver) -> CaseResult {
    on_every_stage(driver, async |name, _, stage| {
        let (feeder, source) = fed();
        let mut flow = stage(driver, source)?;
        feeder.feed(1);
        expect(&mut flow, 1).await?;
        feeder.fail();
        ensure_eq(name, &flow.next().await, &Some(Err(SCRIPTED)))?;
        for _ in 0..3 {
            let next = flow.next().await;
            ensure(next.is_none(), || {
                format!("{name}: {next:?} after the failure")
            })?;
        }
        Ok(())
    })
    .await
}

async fn every_stage_drops_its_source_when_it_is_dropped(driver: &dyn StreamDriver) -> CaseResult {
    on_every_stage(driver, async |name, _, stage| {
        let (feeder, source) = fed();
        let mut flow = stage(driver, source)?;
        feeder.feed(1);
        expect(&mut flow, 1).await?;
        drop(flow);
        settle().await;
        ensure(feeder.is_dropped(), || {
            format!("{name} still holds its source")
        })
    })
    .await
}

async fn every_stage_drops_its_source_when_it_is_dropped_before_its_first_poll(
    driver: &dyn StreamDriver,
) -> CaseResult {
    on_every_stage(driver, async |name, _, stage| {
        let (feeder, source) = fed();
        drop(stage(driver, source)?);
        settle().await;
        ensure(feeder.is_dropped(), || {
            format!("{name} still holds its source")
        })
    })
    .await
}

async fn an_element_that_comes_after_the_drop_does_no_harm(
    driver: &dyn StreamDriver,
) -> CaseResult {
    on_every_stage(driver, async |_, _, stage| {
        let (feeder, source) = fed();
        let mut flow = stage(driver, source)?;
        feeder.feed(1);
        expect(&mut flow, 1).await?;
        feeder.feed(2);
        drop(flow);
        feeder.feed(3);
        settle().await;
        Ok(())
    })
    .await
}

async fn a_long_run_of_ready_elements_does_not_grow_the_stack(
    driver: &dyn StreamDriver,
) -> CaseResult {
    on_every_stage(driver, async |name, _, stage| {
        let flow = stage(driver, items(0..20_000))?;
        ensure_eq(name, &values(flow).await?.len(), &20_000)
    })
    .await
}

async fn a_parallelism_of_zero_counts_as_one(driver: &dyn StreamDriver) -> CaseResult {
    let work = super::Gauge::default().work();
    let mapped = driver.map_async(items(1..=3), ordered(0), work)?;
    ensure_eq("mapped", &values(mapped).await?, &vec![1, 2, 3])?;
    let buffered = driver.buffer(items(1..=3), 0, Overflow::Backpressure)?;
    ensure_eq("buffered", &values(buffered).await?, &vec![1, 2, 3])
}

async fn every_stage_passes_everything_when_all_is_asked_for(
    driver: &dyn StreamDriver,
) -> CaseResult {
    on_every_stage(driver, async |name, _, stage| {
        let flow = stage(driver, items(0..500))?;
        ensure_eq(name, &values(flow).await?, &(0..500).collect())
    })
    .await
}

async fn a_failure_reaches_the_end_of_a_long_chain(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, mut flow) = fed();
    for (_, _, stage) in STAGES {
        flow = stage(driver, flow)?;
    }
    feeder.feed(1);
    expect(&mut flow, 1).await?;
    feeder.fail();
    ensure_eq("next", &flow.next().await, &Some(Err(SCRIPTED)))
}

async fn a_stage_is_never_polled_by_two_at_once(driver: &dyn StreamDriver) -> CaseResult {
    on_every_stage(driver, async |name, _, stage| {
        // A source that is asked again before it has answered says so.
        let busy = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let source = futures_util::stream::unfold((0, busy), async |(item, busy)| {
            let twice = busy.swap(true, std::sync::atomic::Ordering::SeqCst);
            tokio::task::yield_now().await;
            busy.store(false, std::sync::atomic::Ordering::SeqCst);
            let item_or_end = (item < 50).then_some(item)?;
            let item_seen = if twice {
                Err(super::Fault::Panicked)
            } else {
                Ok(item_or_end)
            };
            Some((item_seen, (item + 1, busy)))
        });
        let flow = stage(driver, source.boxed())?;
        ensure_eq(name, &values(flow).await?.len(), &50)
    })
    .await
}
