//! Ending streams from outside. Source: Pekko `FlowKillSwitchSpec`.

use super::{
    Case, CaseResult, Fault, MS, StreamDriver, StreamExt, ensure, ensure_eq, expect, expect_end,
    expect_fault, fed, items, settle, stream, values,
};
use crate::{case::Stance::Same, cases};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    an_unpulled_switch_changes_nothing => "FlowKillSwitchSpec: unique, not interfere", Same;
    a_shutdown_completes_the_stream => "FlowKillSwitchSpec: unique, stop a stream if requested", Same;
    an_abort_fails_the_stream => "FlowKillSwitchSpec: unique, fail a stream if requested", Same;
    a_shutdown_ends_a_stream_that_waits => "FlowKillSwitchSpec: unique, work if the stream is idle", Same;
    a_pulled_switch_drops_the_source => "FlowKillSwitchSpec: unique, cancel upstream", Same;
    the_first_pull_wins => "FlowKillSwitchSpec: ignore aborts and shutdowns after the first one", Same;
    an_abort_is_not_undone_by_a_shutdown => "FlowKillSwitchSpec: ignore shutdown after abort", Same;
    a_pull_after_the_end_changes_nothing => "FlowKillSwitchSpec: ignore kill requests after completion", Same;
    a_shared_switch_ends_all_its_streams => "FlowKillSwitchSpec: shared, stop all streams", Same;
    a_shared_abort_fails_all_its_streams => "FlowKillSwitchSpec: shared, fail all streams", Same;
    streams_that_come_after_a_shutdown_end_at_once => "FlowKillSwitchSpec: shared, complete streams materialised after shutdown", Same;
    streams_that_come_after_an_abort_fail_at_once => "FlowKillSwitchSpec: shared, fail streams materialised after abort", Same;
    one_switch_does_not_end_the_streams_of_another => "FlowKillSwitchSpec: shared, allow for independent switches", Same;
    two_switches_in_one_stream_each_end_it => "FlowKillSwitchSpec: work with multiple switches in one stream", Same;
];

const STOP: Fault = Fault::Scripted("stop");

async fn an_unpulled_switch_changes_nothing(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let flow = switch.via(items(1..=5));
    ensure_eq("elements", &values(flow).await?, &(1..=5).collect())
}

async fn a_shutdown_completes_the_stream(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let mut flow = switch.via(items(1..));
    expect(&mut flow, 1).await?;
    switch.shutdown();
    expect_end(&mut flow).await
}

async fn an_abort_fails_the_stream(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let mut flow = switch.via(items(1..));
    expect(&mut flow, 1).await?;
    switch.abort("stop");
    expect_fault(&mut flow, STOP).await
}

async fn a_shutdown_ends_a_stream_that_waits(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let flow = switch.via(stream::pending().boxed());
    let collected = tokio::spawn(values(flow));
    settle().await;
    switch.shutdown();
    let ended = tokio::time::timeout(MS, collected).await;
    let ended = ended.map(|joined| joined.is_ok_and(|values| values.is_ok()));
    ensure(ended == Ok(true), || {
        "it did not complete at once".to_owned()
    })
}

async fn a_pulled_switch_drops_the_source(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let (feeder, source) = fed();
    let mut flow = switch.via(source);
    feeder.feed(1);
    expect(&mut flow, 1).await?;
    switch.shutdown();
    expect_end(&mut flow).await?;
    ensure(feeder.is_dropped(), || {
        "the source is still held".to_owned()
    })
}

async fn the_first_pull_wins(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let mut flow = switch.via(items(1..));
    switch.shutdown();
    switch.abort("late");
    switch.shutdown();
    expect_end(&mut flow).await
}

async fn an_abort_is_not_undone_by_a_shutdown(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let mut flow = switch.via(items(1..));
    switch.abort("stop");
    switch.shutdown();
    switch.abort("late");
    expect_fault(&mut flow, STOP).await
}

async fn a_pull_after_the_end_changes_nothing(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let mut flow = switch.via(items([1]));
    expect(&mut flow, 1).await?;
    expect_end(&mut flow).await?;
    switch.abort("late");
    expect_end(&mut flow).await
}

async fn a_shared_switch_ends_all_its_streams(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let mut flows = [
        switch.via(items(1..)),
        switch.via(items(1..)),
        switch.via(items(1..)),
    ];
    for flow in &mut flows {
        expect(flow, 1).await?;
    }
    switch.shutdown();
    for flow in &mut flows {
        expect_end(flow).await?;
    }
    Ok(())
}

async fn a_shared_abort_fails_all_its_streams(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    let mut flows = [
        switch.via(items(1..)),
        switch.via(stream::pending().boxed()),
    ];
    switch.abort("stop");
    for flow in &mut flows {
        expect_fault(flow, STOP).await?;
    }
    Ok(())
}

async fn streams_that_come_after_a_shutdown_end_at_once(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    switch.shutdown();
    expect_end(&mut switch.via(items(1..))).await
}

async fn streams_that_come_after_an_abort_fail_at_once(driver: &dyn StreamDriver) -> CaseResult {
    let switch = driver.switch()?;
    switch.abort("stop");
    expect_fault(&mut switch.via(items(1..)), STOP).await
}

async fn one_switch_does_not_end_the_streams_of_another(driver: &dyn StreamDriver) -> CaseResult {
    let (first, second) = (driver.switch()?, driver.switch()?);
    let mut flow = second.via(items([1, 2]));
    first.abort("stop");
    expect(&mut flow, 1).await?;
    expect(&mut flow, 2).await?;
    expect_end(&mut flow).await
}

async fn two_switches_in_one_stream_each_end_it(driver: &dyn StreamDriver) -> CaseResult {
    for pull_first in [true, false] {
        let (first, second) = (driver.switch()?, driver.switch()?);
        let mut flow = second.via(first.via(items(1..)));
        expect(&mut flow, 1).await?;
        if pull_first {
            first.shutdown();
        } else {
            second.shutdown();
        }
        expect_end(&mut flow).await?;
    }
    Ok(())
}
