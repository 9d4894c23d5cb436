//! Event-sourced actors: what is written, when it is answered, and what is recovered.
//! Source: Pekko's `EventSourcedBehaviorSpec` and its neighbours.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    case::{
        Case, CaseResult, Failure,
        Stance::{Different, Same},
        ensure, ensure_eq,
    },
    cases,
    driver::persistence::{
        Answer, Command,
        Command::{Last, Later, Noted, Nothing, Open, Panic, Persist},
        Driver, Failing, Ledger, Refusal, Spec, World,
    },
};

mod failures;
mod snapshots;

const SECOND: Duration = Duration::from_secs(1);

/// All lists.
pub(super) const CASES: &[&[Case<dyn Driver>]] = &[OWN, failures::CASES, snapshots::CASES];

const OWN: &[Case<dyn Driver>] = cases![dyn Driver, L7;
    a_state_is_what_its_events_made_of_it => "EventSourcedBehaviorSpec: persist and update state", Same;
    events_of_one_command_are_written_together => "EventSourcedBehaviorSpec: persist then run / multiple events", Same;
    a_command_without_events_writes_nothing => "EventSourcedBehaviorSpec: Effect.none", Same;
    an_answer_follows_its_write => "EventSourcedBehaviorReplySpec: persist an event thenReply", Same;
    an_answer_without_events_comes_at_once => "EventSourcedBehaviorReplySpec: reply with none", Same;
    commands_wait_while_events_are_written => "EventSourcedBehaviorStashSpec: stash when persisting", Same;
    each_command_sees_the_state_behind_those_before_it => "EventSourcedBehaviorStashSpec: stash when persisting", Same;
    two_ids_have_each_their_events => "PersistenceIdSpec: ids are separate", Same;
    an_entity_without_events_begins_empty => "EventSourcedBehaviorSpec: emptyState", Same;
    a_state_is_recovered_after_a_stop => "EventSourcedBehaviorSpec: replay stored events", Same;
    a_state_is_recovered_after_a_restart => "EventSourcedBehaviorFailureSpec: restart and replay", Same;
    a_recovery_ends_before_the_first_command => "EventSourcedBehaviorSpec: handle commands after recovery", Same;
    the_end_of_a_recovery_is_told_once => "EventSourcedBehaviorSpec: RecoveryCompleted signal", Same;
    a_long_journal_is_recovered_in_order => "EventSourcedBehaviorSpec: replay stored events", Same;
    an_effect_runs_behind_its_event => "EventSourcedBehaviorSpec: thenRun after persist", Same;
    a_stop_follows_the_write_and_the_answer => "EventSourcedBehaviorSpec: persist then stop", Same;
    commands_behind_a_stop_are_not_handled => "EventSourcedBehaviorSpec: stop", Same;
    a_stashed_command_is_handled_after_the_unstash => "EventSourcedBehaviorStashSpec: stash and unstash", Same;
    stashed_commands_keep_their_order_and_go_before_those_that_wait => "EventSourcedBehaviorStashSpec: unstash in order", Same;
    a_stash_outlives_a_restart => "EventSourcedBehaviorStashSpec: preserve user stash when restarted due to failure", Same;
    a_full_stash_is_a_failure => "EventSourcedBehaviorStashSpec: stash overflow fail", Same;
    a_full_mailbox_refuses_commands_while_events_are_written => "EventSourcedBehaviorStashSpec: stash overflow drop", Different("the mailbox is the stash of waiting commands, with one bound");
];

type Opened = Box<dyn World>;

fn open(driver: &dyn Driver) -> Result<Opened, Failure> {
    Ok(driver.open()?)
}

/// A world with one ledger.
fn with(driver: &dyn Driver, failing: Failing) -> Result<(Opened, Box<dyn Ledger>), Failure> {
    let world = open(driver)?;
    let ledger = world.spawn(Spec::of("a").failing(failing));
    Ok((world, ledger))
}

fn persist(text: &'static str) -> Command {
    Persist(vec![text])
}

/// Expects that a command leaves this state.
async fn expect(ledger: &dyn Ledger, command: Command, state: &[&str]) -> CaseResult {
    answered(&ledger.ask(command).await, state)
}

fn answered(answer: &Answer, state: &[&str]) -> CaseResult {
    let state: Vec<_> = state.iter().map(|&text| text.to_owned()).collect();
    ensure_eq("state", answer, &Ok(state))
}

async fn expect_failed(ledger: &dyn Ledger, command: Command) -> CaseResult {
    ensure_eq("answer", &ledger.ask(command).await, &Err(Refusal::Failed))
}

/// Expects that the ledger stops.
async fn expect_stopped(ledger: &dyn Ledger) -> CaseResult {
    sleep(SECOND).await;
    ensure(!ledger.is_alive(), || "it has not stopped".to_owned())
}

async fn a_state_is_what_its_events_made_of_it(driver: &dyn Driver) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, persist("x"), &["x"]).await?;
    expect(&*ledger, persist("y"), &["x", "y"]).await
}

async fn events_of_one_command_are_written_together(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Persist(vec!["x", "y"]), &["x", "y"]).await?;
    ensure_eq("writes", &world.writes(), &vec![2])?;
    ensure_eq("events", &world.events("a").await, &vec![1, 2])
}

async fn a_command_without_events_writes_nothing(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Nothing, &[]).await?;
    ensure_eq("writes", &world.writes(), &vec![])
}

async fn an_answer_follows_its_write(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    world.hold_writes();
    let begun = Instant::now();
    let release = async {
        sleep(SECOND).await;
        world.release_writes();
    };
    let (answer, ()) = tokio::join!(ledger.ask(persist("x")), release);
    answered(&answer, &["x"])?;
    ensure(begun.elapsed() >= SECOND, || "it was early".to_owned())
}

async fn an_answer_without_events_comes_at_once(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    world.hold_writes();
    let begun = Instant::now();
    expect(&*ledger, Nothing, &[]).await?;
    ensure(begun.elapsed() < SECOND, || "it waited".to_owned())
}

async fn commands_wait_while_events_are_written(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    world.hold_writes();
    let release = async {
        sleep(SECOND).await;
        let begun = world.writes();
        world.release_writes();
        begun
    };
    let asks = join_all([ledger.ask(persist("x")), ledger.ask(Nothing)]);
    let (answers, begun) = tokio::join!(asks, release);
    ensure_eq("writes", &begun, &vec![1])?;
    for answer in &answers {
        answered(answer, &["x"])?;
    }
    Ok(())
}

async fn each_command_sees_the_state_behind_those_before_it(driver: &dyn Driver) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Stop)?;
    let asks = ["x", "y", "z"].map(|text| ledger.ask(persist(text)));
    let answers = join_all(asks).await;
    for (answer, count) in answers.iter().zip(1..) {
        answered(answer, &["x", "y", "z"][..count])?;
    }
    Ok(())
}

async fn two_ids_have_each_their_events(driver: &dyn Driver) -> CaseResult {
    let (world, a) = with(driver, Failing::Stop)?;
    let b = world.spawn(Spec::of("b"));
    expect(&*a, persist("x"), &["x"]).await?;
    expect(&*b, persist("y"), &["y"]).await
}

async fn an_entity_without_events_begins_empty(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Nothing, &[]).await?;
    ensure_eq("notes", &world.notes(), &vec!["recovered 0".to_owned()])
}

async fn a_state_is_recovered_after_a_stop(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, persist("x"), &["x"]).await?;
    ledger.stop().await;
    let again = world.spawn(Spec::of("a"));
    expect(&*again, persist("y"), &["x", "y"]).await
}

async fn a_state_is_recovered_after_a_restart(driver: &dyn Driver) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Restart)?;
    expect(&*ledger, persist("x"), &["x"]).await?;
    expect_failed(&*ledger, Panic).await?;
    expect(&*ledger, persist("y"), &["x", "y"]).await
}

async fn a_recovery_ends_before_the_first_command(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Persist(vec!["x"; 600]), &["x"; 600]).await?;
    ledger.stop().await;
    let again = world.spawn(Spec::of("a"));
    // Asked while it recovers.
    expect(&*again, Nothing, &["x"; 600]).await
}

async fn the_end_of_a_recovery_is_told_once(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Persist(vec!["x", "y"]), &["x", "y"]).await?;
    ledger.stop().await;
    let again = world.spawn(Spec::of("a"));
    expect(&*again, Nothing, &["x", "y"]).await?;
    let expected = vec!["recovered 0".to_owned(), "recovered 2".to_owned()];
    ensure_eq("notes", &world.notes(), &expected)
}

async fn a_long_journal_is_recovered_in_order(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    let texts: Vec<_> = ["x", "y", "z"].into_iter().cycle().take(1000).collect();
    expect(&*ledger, Persist(texts.clone()), &texts).await?;
    ledger.stop().await;
    let again = world.spawn(Spec::of("a"));
    expect(&*again, Nothing, &texts).await
}

async fn an_effect_runs_behind_its_event(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, persist("x"), &["x"]).await?;
    expect(&*ledger, Noted("y"), &["x", "y"]).await?;
    let expected = vec!["recovered 0".to_owned(), "noted 2".to_owned()];
    ensure_eq("notes", &world.notes(), &expected)
}

async fn a_stop_follows_the_write_and_the_answer(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    expect(&*ledger, Last("x"), &["x"]).await?;
    expect_stopped(&*ledger).await?;
    ensure_eq("events", &world.events("a").await, &vec![1])
}

async fn commands_behind_a_stop_are_not_handled(driver: &dyn Driver) -> CaseResult {
    let (world, ledger) = with(driver, Failing::Stop)?;
    let answers = join_all([ledger.ask(Last("x")), ledger.ask(persist("y"))]).await;
    answered(&answers[0], &["x"])?;
    ensure_eq("second", &answers[1], &Err(Refusal::NotHandled))?;
    ensure_eq("events", &world.events("a").await, &vec![1])
}

async fn a_stashed_command_is_handled_after_the_unstash(driver: &dyn Driver) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Stop)?;
    let answers = join_all([ledger.ask(Later("x")), ledger.ask(Open)]).await;
    answered(&answers[0], &["open", "x"])?;
    answered(&answers[1], &["open"])
}

async fn stashed_commands_keep_their_order_and_go_before_those_that_wait(
    driver: &dyn Driver,
) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Stop)?;
    let commands = [Later("x"), Later("y"), Open, persist("z")];
    let answers = join_all(commands.map(|command| ledger.ask(command))).await;
    answered(&answers[3], &["open", "x", "y", "z"])
}

async fn a_stash_outlives_a_restart(driver: &dyn Driver) -> CaseResult {
    let (_world, ledger) = with(driver, Failing::Restart)?;
    let commands = [Later("x"), Panic, Open];
    let answers = join_all(commands.map(|command| ledger.ask(command))).await;
    ensure_eq("second", &answers[1], &Err(Refusal::Failed))?;
    answered(&answers[0], &["open", "x"])
}

async fn a_full_stash_is_a_failure(driver: &dyn Driver) -> CaseResult {
    let world = open(driver)?;
    let mut spec = Spec::of("a").failing(Failing::Resume);
    spec.stash = 1;
    let ledger = world.spawn(spec);
    let commands = [Later("x"), Later("y"), Open];
    let answers = join_all(commands.map(|command| ledger.ask(command))).await;
    ensure_eq("second", &answers[1], &Err(Refusal::Failed))?;
    answered(&answers[0], &["open", "x"])
}

async fn a_full_mailbox_refuses_commands_while_events_are_written(
    driver: &dyn Driver,
) -> CaseResult {
    let world = open(driver)?;
    let mut spec = Spec::of("a");
    spec.mailbox = 2;
    let ledger = world.spawn(spec);
    world.hold_writes();
    ensure(ledger.tell(persist("x")), || "refused".to_owned())?;
    sleep(SECOND).await;
    let taken: Vec<_> = (0..3).map(|_| ledger.tell(persist("y"))).collect();
    ensure_eq("taken", &taken, &vec![true, true, false])?;
    world.release_writes();
    sleep(SECOND).await;
    expect(&*ledger, Nothing, &["x", "y", "y"]).await
}
