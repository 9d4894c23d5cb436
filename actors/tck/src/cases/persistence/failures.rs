//! Event-sourced actors whose writes, events or recoveries fail.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{SECOND, answered, expect, expect_failed, expect_stopped, open, persist, with};
use crate::{
    case::{
        Case, CaseResult,
        Stance::{Different, Same},
        ensure, ensure_eq,
    },
    cases,
    driver::persistence::{
        Command::{Noted, Nothing, Panic, Persist, Unwritable},
        Driver, Failing, Refusal, Spec,
    },
};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L7;
    a_failed_write_fails_its_command => "EventSourcedBehaviorFailureSpec: persist failure", Different("the ask fails at once; Pekko's has no answer until its timeout");
    a_failed_write_stops_an_entity_without_a_strategy => "EventSourcedBehaviorFailureSpec: stop (default supervisor strategy) if command handler or persist fails", Same;
    the_effect_of_a_failed_write_does_not_run => "EventSourcedBehaviorFailureSpec: thenRun not called", Same;
    a_failed_write_is_followed_by_a_backoff => "EventSourcedBehaviorFailureSpec: restart with backoff on persist failure", Same;
    the_backoff_grows_while_writes_fail => "EventSourcedBehaviorFailureSpec: onPersistFailure backoff", Same;
    commands_that_wait_during_a_backoff_are_handled_behind_it => "EventSourcedBehaviorStashSpec: stash when backing off", Same;
    a_failed_write_is_not_in_the_recovered_state => "EventSourcedBehaviorFailureSpec: persist failure", Same;
    an_event_whose_acknowledgement_was_lost_is_recovered => "EventSourcedBehaviorFailureSpec: unknown outcome of a write", Same;
    a_write_that_takes_too_long_fails => "reference.conf: circuit-breaker.call-timeout of a journal", Same;
    a_rejected_event_leaves_the_state_as_it_was => "EventSourcedBehaviorFailureSpec: handle persist rejected", Same;
    a_rejected_command_writes_none_of_its_events => "EventSourcedBehaviorFailureSpec: handle persist rejected", Same;
    a_rejected_event_stops_an_entity_without_a_strategy => "EventSourcedBehaviorFailureSpec: persist rejected", Same;
    a_failed_recovery_stops_an_entity_without_a_strategy => "EventSourcedBehaviorFailureSpec: RecoveryFailed", Same;
    a_failed_recovery_is_tried_again_after_a_backoff => "EventSourcedBehaviorRecoveryTimeoutSpec, FailureSpec: backoff on recovery failure", Same;
    commands_that_wait_for_a_recovery_that_fails_are_refused => "EventSourcedBehaviorFailureSpec: RecoveryFailed", Different("their asks end at once; Pekko's wait for their timeouts");
    a_missing_event_fails_the_recovery => "EventSourcedBehaviorFailureSpec: replay with a gap", Different("a gap is a failure; Pekko leaves that to the journal");
    a_panic_while_an_event_is_applied_is_a_failure => "EventSourcedBehaviorFailureSpec: event handler throws", Same;
    a_panic_while_a_command_is_decided_writes_nothing => "EventSourcedBehaviorFailureSpec: command handler throws", Same;
    a_second_writer_of_an_id_is_refused => "Persistence docs: single writer principle", Different("the second write is refused; Pekko repairs by filter at the replay");
];

async fn a_failed_write_fails_its_command(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Nothing, &[]).await?;
    world.fail_writes(1);
    let begun = Instant::now();
    expect_failed(&*ledger, persist("x")).await?;
    ensure(begun.elapsed() < SECOND, || "it waited".to_owned())
}

async fn a_failed_write_stops_an_entity_without_a_strategy(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    world.fail_writes(1);
    expect_failed(&*ledger, persist("x")).await?;
    expect_stopped(&*ledger).await
}

async fn the_effect_of_a_failed_write_does_not_run(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    world.fail_writes(1);
    expect_failed(&*ledger, Noted("x")).await?;
    ensure_eq("notes", &world.notes(), &vec!["recovered 0".to_owned()])
}

async fn a_failed_write_is_followed_by_a_backoff(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Backoff(SECOND))?;
    expect(&*ledger, persist("x"), &["x"]).await?;
    world.fail_writes(1);
    expect_failed(&*ledger, persist("y")).await?;
    let begun = Instant::now();
    expect(&*ledger, persist("z"), &["x", "z"]).await?;
    ensure_eq("wait", &begun.elapsed().as_secs(), &1)
}

async fn the_backoff_grows_while_writes_fail(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Backoff(SECOND))?;
    expect(&*ledger, Nothing, &[]).await?;
    world.fail_writes(3);
    let mut waits = Vec::new();
    for _ in 0..3 {
        expect_failed(&*ledger, persist("x")).await?;
        let begun = Instant::now();
        expect(&*ledger, Nothing, &[]).await?;
        waits.push(begun.elapsed().as_secs());
    }
    ensure_eq("waits", &waits, &vec![1, 2, 4])
}

async fn commands_that_wait_during_a_backoff_are_handled_behind_it(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Backoff(SECOND))?;
    world.fail_writes(1);
    let asks = ["x", "y", "z"].map(|text| ledger.ask(persist(text)));
    let answers = join_all(asks).await;
    ensure_eq("first", &answers[0], &Err(Refusal::Failed))?;
    answered(&answers[1], &["y"])?;
    answered(&answers[2], &["y", "z"])
}

async fn a_failed_write_is_not_in_the_recovered_state(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Restart)?;
    expect(&*ledger, persist("x"), &["x"]).await?;
    world.fail_writes(1);
    expect_failed(&*ledger, persist("y")).await?;
    expect(&*ledger, Nothing, &["x"]).await
}

async fn an_event_whose_acknowledgement_was_lost_is_recovered(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Restart)?;
    world.lose_acknowledgements(1);
    expect_failed(&*ledger, persist("x")).await?;
    expect(&*ledger, persist("y"), &["x", "y"]).await
}

async fn a_write_that_takes_too_long_fails(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    world.hold_writes();
    let begun = Instant::now();
    expect_failed(&*ledger, persist("x")).await?;
    ensure_eq("wait", &begun.elapsed().as_secs(), &10)
}

async fn a_rejected_event_leaves_the_state_as_it_was(driver: &dyn Driver) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Resume)?;
    expect(&*ledger, persist("x"), &["x"]).await?;
    expect_failed(&*ledger, Unwritable).await?;
    expect(&*ledger, persist("y"), &["x", "y"]).await
}

async fn a_rejected_command_writes_none_of_its_events(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Resume)?;
    expect_failed(&*ledger, Unwritable).await?;
    ensure_eq("events", &world.events("a").await, &vec![])
}

async fn a_rejected_event_stops_an_entity_without_a_strategy(driver: &dyn Driver) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Stop)?;
    expect_failed(&*ledger, Unwritable).await?;
    expect_stopped(&*ledger).await
}

async fn a_failed_recovery_stops_an_entity_without_a_strategy(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    world.fail_reads(1);
    let ledger = world.spawn(Spec::of("a"));
    expect_stopped(&*ledger).await
}

async fn a_failed_recovery_is_tried_again_after_a_backoff(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    world.fail_reads(2);
    let begun = Instant::now();
    let ledger = world.spawn(Spec::of("a").failing(Failing::Backoff(SECOND)));
    expect(&*ledger, persist("x"), &["x"]).await?;
    ensure_eq("waits", &begun.elapsed().as_secs(), &3)
}

async fn commands_that_wait_for_a_recovery_that_fails_are_refused(
    driver: &dyn Driver,
) -> CaseResult {
    let world = open(driver)?;
    world.fail_reads(1);
    let ledger = world.spawn(Spec::of("a"));
    let begun = Instant::now();
    let answer = ledger.ask(persist("x")).await;
    ensure_eq("answer", &answer, &Err(Refusal::NotHandled))?;
    ensure(begun.elapsed() < SECOND, || "it waited".to_owned())
}

async fn a_missing_event_fails_the_recovery(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Persist(vec!["x", "y"]), &["x", "y"]).await?;
    ledger.stop().await;
    world.delete_events("a", 1).await;
    let again = world.spawn(Spec::of("a"));
    expect_stopped(&*again).await
}

async fn a_panic_while_an_event_is_applied_is_a_failure(driver: &dyn Driver) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Stop)?;
    expect_failed(&*ledger, persist("boom")).await?;
    expect_stopped(&*ledger).await
}

async fn a_panic_while_a_command_is_decided_writes_nothing(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Resume)?;
    expect_failed(&*ledger, Panic).await?;
    ensure_eq("writes", &world.writes(), &vec![])?;
    expect(&*ledger, persist("x"), &["x"]).await
}

async fn a_second_writer_of_an_id_is_refused(driver: &dyn Driver) -> CaseResult {
    let (world, one) = with(driver, Failing::Stop)?;
    let two = world.spawn(Spec::of("a"));
    expect(&*two, Nothing, &[]).await?;
    expect(&*one, persist("x"), &["x"]).await?;
    expect_failed(&*two, persist("y")).await?;
    ensure_eq("events", &world.events("a").await, &vec![1])
}
