//! Sources that are made anew. Source: Pekko `RestartSpec`.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Case, CaseResult, Fault, Instant, MS, SCRIPTED, StreamDriver, StreamExt, ensure, ensure_eq,
    expect, failing, fed, items, settle, sleep, stream, timed,
};
use crate::{
    case::{SEED, Stance::Same},
    cases,
    driver::streams::{Factory, Flow, Restarting},
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    a_source_that_fails_is_made_anew => "RestartSpec: source, restart on failure", Same;
    a_source_that_completes_is_made_anew => "RestartSpec: source, restart on completion", Same;
    a_source_restarted_on_failures_only_completes => "RestartSpec: onFailuresWithBackoff, not restart on completion", Same;
    a_source_restarted_on_failures_only_is_made_anew_when_it_fails => "RestartSpec: onFailuresWithBackoff, restart on failure", Same;
    the_wait_before_each_restart_doubles_up_to_its_maximum => "RestartSpec: source, backoff before restart", Same;
    the_wait_is_small_again_after_a_source_that_lived => "RestartSpec: source, reset exponential backoff back to minimum", Same;
    the_random_part_of_the_wait_stays_in_its_range => "RestartSettings: randomFactor", Same;
    no_more_restarts_are_made_than_the_maximum => "RestartSpec: source, stop on failure after maxRestarts", Same;
    a_maximum_of_zero_never_restarts => "RestartSpec: maxRestarts 0", Same;
    completions_count_as_restarts_too => "RestartSpec: source, stop on completion after maxRestarts", Same;
    a_quiet_time_gives_the_restarts_back => "RestartSpec: reset maxRestarts when source runs for at least maxRestartsWithin", Same;
    a_failure_that_must_not_restart_fails_the_stream => "RestartSpec: source, provide a predicate restartOn", Same;
    a_failure_that_must_restart_does => "RestartSpec: source, provide a predicate restartOn", Same;
    dropping_it_while_it_waits_makes_no_more_sources => "RestartSpec: source, not restart when cancelled while backing off", Same;
    dropping_it_drops_the_running_source => "RestartSpec: source, cancel the currently running source", Same;
    what_a_source_yielded_before_it_failed_was_passed_on => "RestartSpec: source, pass elements through", Same;
];

/// Waits of 100 to 400 ms, without chance or limit.
fn restarting() -> Restarting {
    Restarting {
        min: MS * 100,
        max: MS * 400,
        random: 0.0,
        seed: 1,
        limit: None,
        on_completion: true,
        restart_on: None,
    }
}

/// When each source was made, in milliseconds.
type Made = Arc<Mutex<Vec<u128>>>;

/// Makes the nth source by `source`, and notes when.
fn factory(made: &Made, mut source: impl FnMut(u64) -> Flow + Send + 'static) -> Factory {
    let (made, start) = (Arc::clone(made), Instant::now());
    Box::new(move || {
        let nth = {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push(start.elapsed().as_millis());
            u64::try_from(made.len()).unwrap_or(u64::MAX)
        };
        source(nth)
    })
}

fn seen(made: &Made) -> Vec<u128> {
    made.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn a_source_that_fails_is_made_anew(driver: &dyn StreamDriver) -> CaseResult {
    let factory = factory(&Made::default(), |nth| failing([nth]));
    let mut flow = driver.restart(restarting(), factory)?;
    for nth in 1..=4 {
        expect(&mut flow, nth).await?;
    }
    Ok(())
}

async fn a_source_that_completes_is_made_anew(driver: &dyn StreamDriver) -> CaseResult {
    let factory = factory(&Made::default(), |nth| items([nth]));
    let mut flow = driver.restart(restarting(), factory)?;
    for nth in 1..=4 {
        expect(&mut flow, nth).await?;
    }
    Ok(())
}

fn on_failures_only() -> Restarting {
    Restarting {
        on_completion: false,
        ..restarting()
    }
}

async fn a_source_restarted_on_failures_only_completes(driver: &dyn StreamDriver) -> CaseResult {
    let factory = factory(&Made::default(), |nth| items([nth]));
    let flow = driver.restart(on_failures_only(), factory)?;
    ensure_eq("elements", &timed(flow).await, &vec![(0, Ok(1))])
}

async fn a_source_restarted_on_failures_only_is_made_anew_when_it_fails(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let factory = factory(&Made::default(), |nth| {
        if nth < 3 {
            failing([nth])
        } else {
            items([nth])
        }
    });
    let flow = driver.restart(on_failures_only(), factory)?;
    let expected = vec![(0, Ok(1)), (100, Ok(2)), (300, Ok(3))];
    ensure_eq("elements", &timed(flow).await, &expected)
}

async fn the_wait_before_each_restart_doubles_up_to_its_maximum(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let made = Made::default();
    let factory = factory(&made, |_| failing([]));
    let flow = driver.restart(limited(4), factory)?;
    timed(flow).await;
    ensure_eq("made", &seen(&made), &vec![0, 100, 300, 700, 1100])
}

/// At most so many restarts within 10 s.
fn limited(restarts: u32) -> Restarting {
    Restarting {
        limit: Some((restarts, MS * 10_000)),
        ..restarting()
    }
}

async fn the_wait_is_small_again_after_a_source_that_lived(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let made = Made::default();
    let factory = factory(&made, |nth| {
        // The third lives for longer than the shortest wait.
        let life = if nth == 3 { 150 } else { 0 };
        stream::once(async move {
            sleep(MS * life).await;
            Err(SCRIPTED)
        })
        .boxed()
    });
    let mut flow = driver.restart(restarting(), factory)?;
    let ended = tokio::time::timeout(MS * 600, flow.next()).await;
    ensure(ended.is_err(), || format!("it ended: {ended:?}"))?;
    // After 100, after 200 more; lived 150; then after 100 again.
    ensure_eq("made", &seen(&made), &vec![0, 100, 300, 550])
}

async fn the_random_part_of_the_wait_stays_in_its_range(driver: &dyn StreamDriver) -> CaseResult {
    let mut waits = Vec::new();
    for seed in SEED..SEED + 20 {
        let made = Made::default();
        let factory = factory(&made, |_| failing([]));
        let random = Restarting {
            random: 0.5,
            seed,
            ..limited(1)
        };
        timed(driver.restart(random, factory)?).await;
        waits.push(seen(&made).last().copied().unwrap_or_default());
    }
    let in_range = waits.iter().all(|wait| (100..=151).contains(wait));
    ensure(in_range, || {
        format!("not all from 100 to 150 ms: {waits:?}")
    })?;
    waits.dedup();
    ensure(waits.len() > 10, || format!("hardly random: {waits:?}"))
}

async fn no_more_restarts_are_made_than_the_maximum(driver: &dyn StreamDriver) -> CaseResult {
    let made = Made::default();
    let flow = driver.restart(limited(2), factory(&made, |_| failing([])))?;
    ensure_eq("elements", &timed(flow).await, &vec![(300, Err(SCRIPTED))])?;
    ensure_eq("made", &seen(&made).len(), &3)
}

async fn a_maximum_of_zero_never_restarts(driver: &dyn StreamDriver) -> CaseResult {
    let made = Made::default();
    let flow = driver.restart(limited(0), factory(&made, |nth| failing([nth])))?;
    ensure_eq(
        "elements",
        &timed(flow).await,
        &vec![(0, Ok(1)), (0, Err(SCRIPTED))],
    )?;
    ensure_eq("made", &seen(&made).len(), &1)
}

async fn completions_count_as_restarts_too(driver: &dyn StreamDriver) -> CaseResult {
    let made = Made::default();
    let flow = driver.restart(limited(2), factory(&made, |nth| items([nth])))?;
    let expected = vec![(0, Ok(1)), (100, Ok(2)), (300, Ok(3))];
    ensure_eq("elements", &timed(flow).await, &expected)
}

async fn a_quiet_time_gives_the_restarts_back(driver: &dyn StreamDriver) -> CaseResult {
    let made = Made::default();
    let factory = factory(&made, |nth| {
        let life = if nth == 2 { 1500 } else { 0 };
        stream::once(async move {
            sleep(MS * life).await;
            Err(SCRIPTED)
        })
        .boxed()
    });
    let once = Restarting {
        limit: Some((1, MS * 1000)),
        ..restarting()
    };
    timed(driver.restart(once, factory)?).await;
    ensure_eq("made", &seen(&made), &vec![0, 100, 1700])
}

async fn a_failure_that_must_not_restart_fails_the_stream(driver: &dyn StreamDriver) -> CaseResult {
    let made = Made::default();
    let choosy = Restarting {
        restart_on: Some(Arc::new(|_: &Fault| false)),
        ..restarting()
    };
    let flow = driver.restart(choosy, factory(&made, |nth| failing([nth])))?;
    ensure_eq(
        "elements",
        &timed(flow).await,
        &vec![(0, Ok(1)), (0, Err(SCRIPTED))],
    )?;
    ensure_eq("made", &seen(&made).len(), &1)
}

async fn a_failure_that_must_restart_does(driver: &dyn StreamDriver) -> CaseResult {
    let choosy = Restarting {
        restart_on: Some(Arc::new(|fault: &Fault| *fault == SCRIPTED)),
        ..restarting()
    };
    let fatal = || stream::iter([Err(Fault::Scripted("fatal"))]).boxed();
    let factory = factory(&Made::default(), move |nth| {
        if nth < 3 { failing([]) } else { fatal() }
    });
    let flow = driver.restart(choosy, factory)?;
    ensure_eq(
        "elements",
        &timed(flow).await,
        &vec![(300, Err(Fault::Scripted("fatal")))],
    )
}

async fn dropping_it_while_it_waits_makes_no_more_sources(driver: &dyn StreamDriver) -> CaseResult {
    let made = Made::default();
    let mut flow = driver.restart(restarting(), factory(&made, |nth| failing([nth])))?;
    expect(&mut flow, 1).await?;
    super::expect_nothing(&mut flow, MS * 50).await?;
    drop(flow);
    sleep(MS * 1000).await;
    ensure_eq("made", &seen(&made).len(), &1)
}

async fn dropping_it_drops_the_running_source(driver: &dyn StreamDriver) -> CaseResult {
    let (feeder, source) = fed();
    let mut source = Some(source);
    let factory = factory(&Made::default(), move |_| {
        source.take().unwrap_or_else(|| items([]))
    });
    let mut flow = driver.restart(restarting(), factory)?;
    feeder.feed(1);
    expect(&mut flow, 1).await?;
    drop(flow);
    settle().await;
    ensure(feeder.is_dropped(), || {
        "the source is still held".to_owned()
    })
}

async fn what_a_source_yielded_before_it_failed_was_passed_on(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let factory = factory(&Made::default(), |nth| failing([nth * 10, nth * 10 + 1]));
    let flow = driver.restart(limited(1), factory)?;
    let expected = [(0, 10), (0, 11), (100, 20), (100, 21)].map(|(at, item)| (at, Ok(item)));
    let mut expected = expected.to_vec();
    expected.push((100, Err(SCRIPTED)));
    ensure_eq("elements", &timed(flow).await, &expected)
}
