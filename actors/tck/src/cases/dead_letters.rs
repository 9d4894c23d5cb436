//! Messages that nobody will handle.

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    a_message_to_a_stopped_actor_is_a_dead_letter => "ActorSystemSpec: log dead letters", Same;
    messages_that_wait_when_an_actor_stops_are_dead_letters => "DeadLetterSuspensionSpec", Same;
    a_message_that_a_full_mailbox_refuses_is_a_dead_letter => "MailboxSelectorSpec: set capacity on a bounded mailbox", Same;
    an_ask_of_a_stopped_actor_is_a_dead_letter => "AskSpec: fail the future if the actor is already terminated", Same;
    stashed_messages_of_an_actor_that_stops_are_dead_letters => "StashSpec: deal with stop", Same;
    a_dead_letter_says_to_whom_it_was_sent => "EventStreamSpec: be subscribed by message adapter for DeadLetter", Same;
    a_handled_message_is_no_dead_letter => "ActorSystemSpec: log dead letters", Same;
    a_message_in_whose_handling_an_actor_fails_is_no_dead_letter => "SupervisionSpec: restart when handled exception", Same;
    messages_kept_through_a_restart_are_no_dead_letters => "SupervisionSpec: restart when handled exception", Same;
    a_message_through_a_recipient_of_a_stopped_actor_is_a_dead_letter => "MessageAdapterSpec: redirect to DeadLetter after termination", Same;
    a_piped_message_to_a_stopped_actor_is_a_dead_letter => "MessageAdapterSpec: redirect to DeadLetter after termination", Same;
    a_watchers_message_to_a_stopped_watcher_is_no_dead_letter => "DeathWatchSpec: only notify when watching", Same;
    two_hundred_dead_letters_are_each_counted => "DeadLetterSuspensionSpec: must suspend dead-letters logging", Same;
];

async fn expect_dead(world: &World, count: u64) -> CaseResult {
    world.settle().await?;
    ensure_eq("dead letters", &world.dead_letters()?, &count)
}

/// A stopped actor.
async fn stopped(driver: &dyn Driver) -> Result<(World, Puppet), Failure> {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.note_dead_letters()?;
    a.tell(Stop)?;
    world.settle().await?;
    Ok((world, a))
}

async fn a_message_to_a_stopped_actor_is_a_dead_letter(driver: &dyn Driver) -> CaseResult {
    let (world, a) = stopped(driver).await?;
    a.tell(Note("late"))?;
    expect_dead(&world, 1).await
}

async fn messages_that_wait_when_an_actor_stops_are_dead_letters(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.dead_letters()?;
    a.tell_all([Stop, Note("1"), Note("2")])?;
    expect_dead(&world, 2).await
}

async fn a_message_that_a_full_mailbox_refuses_is_a_dead_letter(driver: &dyn Driver) -> CaseResult {
    let spec = plain("a").mailbox(1).overflow(Overflow::DropNew);
    let (world, a) = driver.with(spec).await?;
    world.dead_letters()?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    a.tell_all([Note("1"), Note("2")])?;
    expect_dead(&world, 1).await
}

async fn an_ask_of_a_stopped_actor_is_a_dead_letter(driver: &dyn Driver) -> CaseResult {
    let (world, a) = stopped(driver).await?;
    let answer = a.try_ask(Get, ANSWER_TIMEOUT).await;
    ensure(answer.is_err(), || format!("answered {answer:?}"))?;
    expect_dead(&world, 1).await
}

async fn stashed_messages_of_an_actor_that_stops_are_dead_letters(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.dead_letters()?;
    a.tell_all([Stashing, Note("1"), Note("2")])?;
    a.tell([Urgent, Stop])?;
    expect_dead(&world, 2).await
}

async fn a_dead_letter_says_to_whom_it_was_sent(driver: &dyn Driver) -> CaseResult {
    let (world, a) = stopped(driver).await?;
    a.tell(Note("late"))?;
    world.expect_notes(&["dead /user/a"]).await
}

async fn a_handled_message_is_no_dead_letter(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Note("1"), Note("2"), Stop])?;
    expect_dead(&world, 0).await
}

async fn a_message_in_whose_handling_an_actor_fails_is_no_dead_letter(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Panic("on purpose"))?;
    expect_dead(&world, 0).await
}

async fn messages_kept_through_a_restart_are_no_dead_letters(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell_all([Panic("on purpose"), Note("1"), Note("2")])?;
    expect_dead(&world, 0).await?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn a_message_through_a_recipient_of_a_stopped_actor_is_a_dead_letter(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = stopped(driver).await?;
    a.tell_by_recipient(Note("late"))?;
    expect_dead(&world, 1).await
}

async fn a_piped_message_to_a_stopped_actor_is_a_dead_letter(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.dead_letters()?;
    a.tell([Pipe(SECOND, PipedOutcome::Value(Note("late").into())), Stop])?;
    world.pass(SECOND).await?;
    expect_dead(&world, 1).await
}

async fn a_watchers_message_to_a_stopped_watcher_is_no_dead_letter(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, watcher) = driver.with(plain("watcher")).await?;
    let watched = world.spawn(plain("watched")).await?;
    watcher.tell_all([Watch(watched.clone()), Stop])?;
    world.settle().await?;
    watched.tell(Stop)?;
    expect_dead(&world, 0).await
}

async fn two_hundred_dead_letters_are_each_counted(driver: &dyn Driver) -> CaseResult {
    let (world, a) = stopped(driver).await?;
    a.tell_all((0..200).map(NoteNumber))?;
    expect_dead(&world, 200).await
}
