//! Putting messages aside, and taking them up again.

use super::prelude::*;
use crate::puppet::Directive;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L2;
    a_stashed_message_is_handled_only_after_the_unstash => "StashSpec: support unstash all", Same;
    stashed_messages_come_back_in_their_order => "StashBufferSpec: process elements in the right order", Same;
    stashed_messages_go_before_those_that_wait => "StashSpec: support unstash all", Same;
    an_empty_stash_gives_nothing_back => "StashBufferSpec: answer empty correctly", Same;
    a_stash_may_be_filled_again => "StashBufferSpec: append and drop", Same;
    a_full_stash_takes_no_more => "StashBufferSpec: enforce capacity",
        Different("the message is given back, where Pekko throws `StashOverflowException`");
    a_full_stash_keeps_what_it_has => "StashBufferSpec: enforce capacity", Same;
    messages_stashed_while_unstashing_are_not_handled_in_the_same_pass => "StashBufferSpec: be able to stash while unstashing", Same;
    a_stash_does_not_take_up_room_in_the_mailbox => "StashBufferSpec: answer thruthfully about its capacity", Same;
    unstashing_into_a_full_mailbox_loses_nothing => "StashSpec: support unstash all", Same;
    a_failing_stashed_message_is_lost_and_the_others_are_kept_by_a_restart => "SupervisionSpec: ensure unhandled message retention during unstash exception when restart", Same;
    a_failing_stashed_message_is_lost_and_the_others_are_kept_by_a_backoff => "SupervisionSpec: ensure unhandled message retention during unstash exception when backoff", Same;
    a_failing_stashed_message_is_lost_and_the_others_are_handled_when_resuming => "StashSpec: handle resume correctly on failure unstashing", Same;
    the_stash_is_handled_after_a_restart => "ActorWithStashSpec: process stashed messages after restart", Same;
    an_actor_that_stops_while_unstashing_handles_no_more => "StashSpec: deal with stop", Same;
    a_stash_gives_back_a_few_at_a_time => "StashSpec: support unstash a few at a time", Same;
    a_stash_gives_back_at_most_what_it_has => "StashBufferSpec: unstash at most the number of messages in the buffer", Same;
    what_a_stash_keeps_goes_on_waiting => "StashSpec: support unstash a few at a time", Same;
    two_actors_have_each_a_stash_of_their_own => "ActorWithStashSpec: stash messages", Same;
];

async fn a_stashed_message_is_handled_only_after_the_unstash(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1")])?;
    world.expect_notes(&[]).await?;
    a.tell(Unstash)?;
    world.expect_notes(&["a 1"]).await
}

async fn stashed_messages_come_back_in_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1"), Note("2"), Note("3"), Unstash])?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn stashed_messages_go_before_those_that_wait(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1"), Note("2"), Unstash, Note("3")])?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn an_empty_stash_gives_nothing_back(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Unstash, Note("1"), Unstash])?;
    world.expect_notes(&["a 1"]).await
}

async fn a_stash_may_be_filled_again(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1"), Unstash])?;
    world.settle().await?;
    a.tell_all([Stashing, Note("2"), Unstash])?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn a_full_stash_takes_no_more(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").stash(2)).await?;
    a.tell_all([Stashing, Note("1"), Note("2"), Note("3")])?;
    world.expect_notes(&["a stash is full"]).await
}

async fn a_full_stash_keeps_what_it_has(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").stash(2)).await?;
    a.tell_all([Stashing, Note("1"), Note("2"), Note("3"), Unstash])?;
    world.expect_notes(&["a stash is full", "a 1", "a 2"]).await
}

async fn messages_stashed_while_unstashing_are_not_handled_in_the_same_pass(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1"), Note("2")])?;
    // They come, are stashed again, and must not come round for ever.
    a.tell([Urgent, UnstashStillStashing])?;
    world.expect_notes(&[]).await?;
    a.tell(Unstash)?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn a_stash_does_not_take_up_room_in_the_mailbox(driver: &dyn Driver) -> CaseResult {
    let spec = plain("a").mailbox(2).overflow(Overflow::DropNew);
    let (world, a) = driver.with(spec).await?;
    a.tell_all([Stashing, Note("1")])?;
    world.settle().await?;
    let offers = [a.tell(Note("2"))?, a.tell(Note("3"))?];
    ensure_eq("offers", &offers, &[Offer::Enqueued; 2])
}

async fn unstashing_into_a_full_mailbox_loses_nothing(driver: &dyn Driver) -> CaseResult {
    let spec = plain("a").mailbox(2).overflow(Overflow::DropNew);
    let (world, a) = driver.with(spec).await?;
    a.tell_all([Stashing, Note("1")])?;
    world.settle().await?;
    a.tell_all([Note("2"), Note("3")])?;
    world.settle().await?;
    a.tell([Unstash, Hold(SECOND)])?;
    world.settle().await?;
    a.tell_all([Note("4"), Note("5")])?;
    world.pass(2 * SECOND).await?;
    let notes = world.notes();
    ensure(
        notes.starts_with(&["a 1", "a 2", "a 3"].map(str::to_owned)),
        || format!("handled {notes:?}"),
    )
}

/// Unstashes three messages of which the second fails, and returns what was handled.
async fn failing_in_the_middle(driver: &dyn Driver, supervision: Supervision) -> CaseResult {
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    a.tell_all([Stashing, Note("1"), Panic("on purpose"), Note("2"), Unstash])?;
    world.pass(5 * SECOND).await?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn a_failing_stashed_message_is_lost_and_the_others_are_kept_by_a_restart(
    driver: &dyn Driver,
) -> CaseResult {
    failing_in_the_middle(driver, Supervision::restart()).await
}

async fn a_failing_stashed_message_is_lost_and_the_others_are_kept_by_a_backoff(
    driver: &dyn Driver,
) -> CaseResult {
    failing_in_the_middle(driver, Supervision::backoff(SECOND, SECOND)).await
}

async fn a_failing_stashed_message_is_lost_and_the_others_are_handled_when_resuming(
    driver: &dyn Driver,
) -> CaseResult {
    failing_in_the_middle(driver, Supervision::always(Directive::Resume)).await
}

async fn the_stash_is_handled_after_a_restart(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell_all([Stashing, Note("1"), Note("2")])?;
    a.tell([Urgent, Panic("on purpose")])?;
    a.tell(Note("3"))?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn an_actor_that_stops_while_unstashing_handles_no_more(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1"), Stop, Note("2"), Unstash])?;
    world
        .expect_entries(&["a started", "a 1", "a stopped"])
        .await
}

async fn a_stash_gives_back_a_few_at_a_time(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1"), Note("2"), Note("3"), UnstashSome(2)])?;
    world.expect_notes(&["a 1", "a 2"]).await?;
    a.tell(UnstashSome(1))?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn a_stash_gives_back_at_most_what_it_has(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1"), Note("2"), UnstashSome(10), Note("3")])?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn what_a_stash_keeps_goes_on_waiting(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Stashing, Note("1"), Note("2"), UnstashSome(1), Note("3")])?;
    world.expect_notes(&["a 1", "a 3"]).await?;
    a.tell(Unstash)?;
    world.expect_notes(&["a 1", "a 3", "a 2"]).await
}

async fn two_actors_have_each_a_stash_of_their_own(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    a.tell_all([Stashing, Note("1")])?;
    b.tell_all([Stashing, Note("1"), Unstash])?;
    world.expect_notes(&["b 1"]).await
}
