//! What a stage does about a failure. Sources: Pekko `FlowRecoverWithSpec`, and `FlowScanSpec` with deciders.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use super::{
    Case, CaseResult, Fault, SCRIPTED, StreamDriver, ensure, ensure_eq, expect, failing, fed,
    items, timed, values,
};
use crate::{
    case::Stance::{Different, Same},
    cases,
    driver::streams::{Directive, Factory},
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    a_failed_stream_goes_on_with_another_source => "FlowRecoverWithSpec: recoverWith when there is a handler", Same;
    a_stream_that_does_not_fail_is_not_recovered => "FlowRecoverWithSpec: not influence stream when there is no exception", Same;
    recovery_is_tried_as_often_as_allowed => "FlowRecoverWithSpec: recover with the given number of attempts", Same;
    no_attempts_pass_the_failure_on => "FlowRecoverWithSpec: fail immediately when attempts is 0", Same;
    recovery_without_a_limit_goes_on => "FlowRecoverWithSpec: recover without limit with -1 attempts", Same;
    a_recovered_stream_completes_with_its_new_source => "FlowRecoverWithSpec: finish stream if it is empty", Same;
    the_failed_source_is_dropped_before_the_new_one_is_made => "FlowRecoverWithSpec: switch the source", Same;
    a_stage_stops_at_a_failure => "FlowScanSpec: supervision, stop", Same;
    a_stage_that_resumes_keeps_its_state => "FlowScanSpec: supervision, resume", Same;
    a_stage_that_restarts_has_a_fresh_state => "FlowScanSpec: supervision, restart", Same;
    a_failure_is_an_err_and_not_a_panic => "Supervision: NonFatal exceptions",
        Different("a stage's function fails by `Err`; only in map_async, whose work is a task, a panic is a failure");
];

/// Fails as often as `times`, then completes; counts the sources made.
fn failing_first(times: usize) -> (Arc<AtomicUsize>, Factory) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let factory: Factory = Box::new(move || {
        let nth = count.fetch_add(1, SeqCst) + 1;
        let item = u64::try_from(nth * 10).unwrap_or(0);
        if nth <= times {
            failing([item])
        } else {
            items([item])
        }
    });
    (made, factory)
}

async fn a_failed_stream_goes_on_with_another_source(driver: &dyn StreamDriver) -> CaseResult {
    let (_, factory) = failing_first(0);
    let flow = driver.recover(failing([1, 2]), Some(1), factory)?;
    ensure_eq("elements", &values(flow).await?, &vec![1, 2, 10])
}

async fn a_stream_that_does_not_fail_is_not_recovered(driver: &dyn StreamDriver) -> CaseResult {
    let (made, factory) = failing_first(0);
    let flow = driver.recover(items([1, 2]), Some(1), factory)?;
    ensure_eq("elements", &values(flow).await?, &vec![1, 2])?;
    ensure_eq("sources made", &made.load(SeqCst), &0)
}

async fn recovery_is_tried_as_often_as_allowed(driver: &dyn StreamDriver) -> CaseResult {
    let (made, factory) = failing_first(9);
    let flow = driver.recover(failing([1]), Some(2), factory)?;
    let expected = vec![(0, Ok(1)), (0, Ok(10)), (0, Ok(20)), (0, Err(SCRIPTED))];
    ensure_eq("elements", &timed(flow).await, &expected)?;
    ensure_eq("sources made", &made.load(SeqCst), &2)
}

async fn no_attempts_pass_the_failure_on(driver: &dyn StreamDriver) -> CaseResult {
    let (made, factory) = failing_first(0);
    let flow = driver.recover(failing([1]), Some(0), factory)?;
    ensure_eq(
        "elements",
        &timed(flow).await,
        &vec![(0, Ok(1)), (0, Err(SCRIPTED))],
    )?;
    ensure_eq("sources made", &made.load(SeqCst), &0)
}

async fn recovery_without_a_limit_goes_on(driver: &dyn StreamDriver) -> CaseResult {
    let (made, factory) = failing_first(1000);
    let flow = driver.recover(failing([]), None, factory)?;
    ensure_eq("elements", &values(flow).await?.len(), &1001)?;
    ensure_eq("sources made", &made.load(SeqCst), &1001)
}

async fn a_recovered_stream_completes_with_its_new_source(driver: &dyn StreamDriver) -> CaseResult {
    let flow = driver.recover(failing([1]), Some(1), Box::new(|| items([])))?;
    ensure_eq("elements", &values(flow).await?, &vec![1])
}

async fn the_failed_source_is_dropped_before_the_new_one_is_made(
    driver: &dyn StreamDriver,
) -> CaseResult {
    let (feeder, source) = fed();
    feeder.fail();
    let dropped = Arc::new(AtomicUsize::new(0));
    let note = Arc::clone(&dropped);
    let factory: Factory = Box::new(move || {
        note.store(1 + usize::from(feeder.is_dropped()), SeqCst);
        items([1])
    });
    let mut flow = driver.recover(source, Some(1), factory)?;
    expect(&mut flow, 1).await?;
    ensure(dropped.load(SeqCst) == 2, || {
        "the failed source was still held".to_owned()
    })
}

async fn a_stage_stops_at_a_failure(driver: &dyn StreamDriver) -> CaseResult {
    let sums = driver.sum_supervised(items([1, 3, 13, 5]), Directive::Stop)?;
    let fault = Err(Fault::Scripted("thirteen"));
    let expected = vec![(0, Ok(0)), (0, Ok(1)), (0, Ok(4)), (0, fault)];
    ensure_eq("sums", &timed(sums).await, &expected)
}

async fn a_stage_that_resumes_keeps_its_state(driver: &dyn StreamDriver) -> CaseResult {
    let sums = driver.sum_supervised(items([1, 3, 13, 5, 7]), Directive::Resume)?;
    ensure_eq("sums", &values(sums).await?, &vec![0, 1, 4, 9, 16])
}

async fn a_stage_that_restarts_has_a_fresh_state(driver: &dyn StreamDriver) -> CaseResult {
    let sums = driver.sum_supervised(items([1, 3, 13, 5, 7]), Directive::Restart)?;
    ensure_eq("sums", &values(sums).await?, &vec![0, 1, 4, 0, 5, 12])
}

async fn a_failure_is_an_err_and_not_a_panic(driver: &dyn StreamDriver) -> CaseResult {
    // The stage's function is asked at 13 and answers with an error; nothing unwinds.
    let mut sums = driver.sum_supervised(items([13]), Directive::Stop)?;
    expect(&mut sums, 0).await?;
    super::expect_fault(&mut sums, Fault::Scripted("thirteen")).await
}
