//! Event-sourced actors with snapshots, and with events of an old version.

use tokio::time::sleep;

use super::{Opened, SECOND, expect, expect_stopped, open, persist, with};
use crate::{
    case::{Case, CaseResult, Failure, Stance::Same, ensure_eq},
    cases,
    driver::persistence::{
        Command::{Nothing, Persist},
        Driver, Failing, Ledger, Snapshots, Spec,
    },
};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L7;
    a_snapshot_is_taken_at_each_multiple => "EventSourcedBehaviorRetentionSpec: snapshot every N events", Same;
    events_across_a_multiple_take_one_snapshot_behind_them => "EventSourcedBehaviorRetentionSpec: snapshot after multiple events", Same;
    a_recovery_begins_with_the_latest_snapshot => "EventSourcedBehaviorSpec: recover from snapshot", Same;
    obsolete_snapshots_and_events_are_deleted => "EventSourcedBehaviorRetentionSpec: delete events and snapshots", Same;
    events_are_kept_unless_their_deletion_is_asked_for => "EventSourcedBehaviorRetentionSpec: keep events", Same;
    a_failed_snapshot_costs_nothing => "EventSourcedBehaviorRetentionSpec: SnapshotFailed", Same;
    an_unreadable_snapshot_fails_the_recovery => "SnapshotRecoveryWithEmptyJournalSpec: snapshot load failure", Same;
    an_unreadable_snapshot_is_passed_over_if_it_is_optional => "SnapshotIsOptionalSpec: fall back to all events", Same;
    an_old_event_is_raised_when_it_is_read => "EventSourcedEventAdapterSpec: adapt from journal", Same;
    an_old_event_may_become_none_or_several => "EventSourcedEventAdapterSpec: EventSeq.empty and many", Same;
    numbers_go_on_behind_events_that_became_none => "EventSourcedEventAdapterSpec: sequence numbers", Same;
    an_event_of_a_newer_version_fails_the_recovery => "EventSourcedEventAdapterSpec: unknown manifest", Same;
];

fn every(events: u64) -> Snapshots {
    Snapshots {
        every: events,
        keep: 1,
        delete_events: false,
        optional: false,
    }
}

/// Persists events one by one, with time for the snapshots between them.
async fn fill(ledger: &dyn Ledger, events: usize) -> CaseResult {
    for count in 1..=events {
        expect(ledger, persist("x"), &vec!["x"; count]).await?;
        sleep(SECOND).await;
    }
    Ok(())
}

/// Starts a ledger again whose snapshot is damaged.
async fn damaged(
    driver: &dyn Driver,
    optional: bool,
) -> Result<(Opened, Box<dyn Ledger>), Failure> {
    let world = open(driver)?;
    let spec = Spec::of("a").snapshots(Snapshots {
        optional,
        ..every(2)
    });
    let ledger = world.spawn(spec.clone());
    fill(&*ledger, 2).await?;
    ledger.stop().await;
    world.damage_snapshot("a").await;
    let again = world.spawn(spec);
    Ok((world, again))
}

/// Writes events of version 1, and starts the ledger again with version 2.
async fn raised(
    driver: &dyn Driver,
    events: Vec<&'static str>,
) -> Result<(Opened, Box<dyn Ledger>), Failure> {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Persist(events.clone()), &events).await?;
    ledger.stop().await;
    let mut spec = Spec::of("a");
    spec.version = 2;
    let again = world.spawn(spec);
    Ok((world, again))
}

async fn a_snapshot_is_taken_at_each_multiple(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    let ledger = world.spawn(Spec::of("a").snapshots(every(2)));
    let mut latest = Vec::new();
    for count in 1..=4 {
        expect(&*ledger, persist("x"), &vec!["x"; count]).await?;
        sleep(SECOND).await;
        latest.push(world.latest_snapshot("a").await);
    }
    ensure_eq("latest", &latest, &vec![None, Some(2), Some(2), Some(4)])
}

async fn events_across_a_multiple_take_one_snapshot_behind_them(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    let ledger = world.spawn(Spec::of("a").snapshots(every(2)));
    expect(&*ledger, Persist(vec!["x"; 5]), &["x"; 5]).await?;
    sleep(SECOND).await;
    ensure_eq("latest", &world.latest_snapshot("a").await, &Some(5))
}

async fn a_recovery_begins_with_the_latest_snapshot(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    let spec = Spec::of("a").snapshots(every(2));
    let ledger = world.spawn(spec.clone());
    fill(&*ledger, 3).await?;
    ledger.stop().await;
    // What is before the snapshot is not needed.
    world.delete_events("a", 2).await;
    let again = world.spawn(spec);
    expect(&*again, Nothing, &["x"; 3]).await
}

async fn obsolete_snapshots_and_events_are_deleted(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    let spec = Spec::of("a").snapshots(Snapshots {
        delete_events: true,
        ..every(2)
    });
    let ledger = world.spawn(spec.clone());
    fill(&*ledger, 5).await?;
    ensure_eq("events", &world.events("a").await, &vec![3, 4, 5])?;
    ledger.stop().await;
    let again = world.spawn(spec);
    expect(&*again, Nothing, &["x"; 5]).await
}

async fn events_are_kept_unless_their_deletion_is_asked_for(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    let ledger = world.spawn(Spec::of("a").snapshots(every(1)));
    fill(&*ledger, 4).await?;
    ensure_eq("events", &world.events("a").await, &vec![1, 2, 3, 4])
}

async fn a_failed_snapshot_costs_nothing(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    let spec = Spec::of("a").snapshots(every(1));
    let ledger = world.spawn(spec.clone());
    world.fail_snapshots(2);
    fill(&*ledger, 2).await?;
    ensure_eq("latest", &world.latest_snapshot("a").await, &None)?;
    ledger.stop().await;
    let again = world.spawn(spec);
    expect(&*again, Nothing, &["x"; 2]).await
}

async fn an_unreadable_snapshot_fails_the_recovery(driver: &dyn Driver) -> CaseResult {
    let (_world, again) = damaged(driver, false).await?;
    expect_stopped(&*again).await
}

async fn an_unreadable_snapshot_is_passed_over_if_it_is_optional(
    driver: &dyn Driver,
) -> CaseResult {
    let (_world, again) = damaged(driver, true).await?;
    expect(&*again, Nothing, &["x"; 2]).await
}

async fn an_old_event_is_raised_when_it_is_read(driver: &dyn Driver) -> CaseResult {
    let (world, again) = raised(driver, vec!["x"]).await?;
    expect(&*again, persist("y"), &["x!", "y"]).await?;
    again.stop().await;
    // What was written since is of the new version already.
    let mut spec = Spec::of("a");
    spec.version = 2;
    expect(&*world.spawn(spec), Nothing, &["x!", "y"]).await
}

async fn an_old_event_may_become_none_or_several(driver: &dyn Driver) -> CaseResult {
    let (_world, again) = raised(driver, vec!["gone", "pair", "x"]).await?;
    expect(&*again, Nothing, &["left", "right", "x!"]).await
}

async fn numbers_go_on_behind_events_that_became_none(driver: &dyn Driver) -> CaseResult {
    let (world, again) = raised(driver, vec!["gone", "gone"]).await?;
    expect(&*again, persist("y"), &["y"]).await?;
    ensure_eq("events", &world.events("a").await, &vec![1, 2, 3])
}

async fn an_event_of_a_newer_version_fails_the_recovery(driver: &dyn Driver) -> CaseResult {
    let (world, again) = raised(driver, vec!["x"]).await?;
    expect(&*again, persist("y"), &["x!", "y"]).await?;
    again.stop().await;
    let old = world.spawn(Spec::of("a"));
    expect_stopped(&*old).await
}
