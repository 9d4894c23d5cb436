//! Messages, their order, and references.

use std::thread;

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    a_message_is_handled_once => "DispatcherActorSpec: support tell", Same;
    messages_of_one_sender_are_handled_in_their_order => "DispatcherActorSpec: support tell", Same;
    a_thousand_messages_are_handled_in_their_order => "MailboxConfigSpec: dequeue what was enqueued properly", Same;
    messages_of_two_senders_each_keep_their_order => "MailboxConfigSpec: dequeue what was enqueued properly", Same;
    messages_of_many_threads_are_each_handled_once => "MailboxConfigSpec: dequeue what was enqueued properly", Same;
    messages_of_each_thread_keep_their_order => "MailboxConfigSpec: dequeue what was enqueued properly", Same;
    a_tell_returns_before_its_message_is_handled => "DispatcherActorSpec: support tell", Same;
    a_message_told_in_a_handler_is_handled_after_it => "ActorRefSpec: support reply via sender", Same;
    self_sends_keep_their_order => "MailboxConfigSpec: dequeue what was enqueued properly", Trap("T7");
    a_self_send_goes_behind_the_messages_that_wait => "MailboxConfigSpec: dequeue what was enqueued properly", Trap("T7");
    an_actor_answers_the_one_who_told_it => "ActorRefSpec: support reply via sender", Same;
    two_actors_play_ping_pong => "MailboxConfigSpec: support pathological ping-ponging", Same;
    an_actor_that_holds_handles_nothing_else => "DispatcherActorsSpec: not block fast actors by slow actors", Same;
    an_actor_that_holds_does_not_hold_up_another => "DispatcherActorsSpec: not block fast actors by slow actors", Same;
    messages_behind_a_stop_are_not_handled => "BehaviorSpec: Stopping must stop", Same;
    a_message_to_a_stopped_actor_is_said_to_be_closed => "MessageAdapterSpec: redirect to DeadLetter after termination",
        Different("a tell says at once what became of the message, where Pekko's returns nothing");
    a_clone_of_a_reference_reaches_the_same_actor => "ActorSelectionSpec: compare equally", Same;
    a_reference_equals_its_clones_and_no_other => "ActorSelectionSpec: compare equally", Same;
    a_new_actor_of_an_old_name_is_another => "ActorSelectionSpec: take actor incarnation into account when comparing actor references", Same;
    a_reference_is_the_same_after_a_restart => "ActorLifeCycleSpec: invoke preRestart, preStart, postRestart", Same;
    a_recipient_of_one_type_reaches_its_actor => "MessageAdapterSpec: map messages inside the actor", Same;
    a_recipient_outlives_a_restart => "SupervisionSpec: apply supervision to adapter function", Same;
    a_recipient_of_a_stopped_actor_is_closed => "MessageAdapterSpec: redirect to DeadLetter after termination", Same;
];

async fn a_message_is_handled_once(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Add(1))?;
    world.settle().await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &1)
}

async fn messages_of_one_sender_are_handled_in_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all(["1", "2", "3"].map(Note))?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn a_thousand_messages_are_handled_in_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").mailbox(2000)).await?;
    a.tell_all((0..1000).map(NoteNumber))?;
    world.settle().await?;
    let expected: Vec<_> = (0..1000).map(|number| format!("a {number}")).collect();
    ensure_eq("notes", &world.notes(), &expected)
}

async fn messages_of_two_senders_each_keep_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, receiver) = driver.with(plain("r")).await?;
    for (name, numbers) in [("a", 0..5), ("b", 10..15)] {
        let sender = world.spawn(plain(name)).await?;
        for number in numbers {
            sender.tell(Tell(receiver.clone(), NoteNumber(number).into()))?;
        }
    }
    world.settle().await?;
    let notes = world.notes();
    let numbers = notes
        .iter()
        .filter_map(|note| note.strip_prefix("r ")?.parse::<i64>().ok());
    let (of_a, of_b): (Vec<i64>, Vec<i64>) = numbers.partition(|number| *number < 10);
    ensure_eq("of a", &of_a, &(0..5).collect())?;
    ensure_eq("of b", &of_b, &(10..15).collect())
}

/// Has four threads tell 250 scripts each, as `script` makes them of the thread and the number.
fn tell_from_threads(puppet: &Puppet, script: fn(i64, i64) -> Script) -> CaseResult {
    let threads: Vec<_> = (0..4)
        .map(|sender| {
            let puppet = puppet.duplicate();
            let tell = move || puppet.tell_all((0..250).map(|number| script(sender, number)));
            thread::spawn(tell)
        })
        .collect();
    for told in threads {
        let told = told.join();
        told.map_err(|_| Failure::Failed("a sender panicked".to_owned()))??;
    }
    Ok(())
}

async fn messages_of_many_threads_are_each_handled_once(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").mailbox(2000)).await?;
    tell_from_threads(&a, |_, _| Add(1).into())?;
    world.settle().await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &1000)
}

async fn messages_of_each_thread_keep_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").mailbox(2000)).await?;
    tell_from_threads(&a, |sender, number| {
        NoteNumber(1000 * sender + number).into()
    })?;
    world.settle().await?;
    let mut last = [-1; 4];
    for note in world.notes() {
        let number: i64 = note.trim_start_matches("a ").parse().unwrap_or(-1);
        let sender = usize::try_from(number / 1000).unwrap_or_default();
        ensure_eq("next of a thread", &(number % 1000), &(last[sender] + 1))?;
        last[sender] = number % 1000;
    }
    ensure_eq("last of each thread", &last, &[249; 4])
}

async fn a_tell_returns_before_its_message_is_handled(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.settle().await?;
    a.tell(Note("handled"))?;
    ensure(world.notes().is_empty(), || {
        "handled within the tell".to_owned()
    })?;
    world.expect_notes(&["a handled"]).await
}

async fn a_message_told_in_a_handler_is_handled_after_it(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([TellMyself(Note("second").into()), Note("first")])?;
    world.expect_notes(&["a first", "a second"]).await
}

async fn self_sends_keep_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let sends = (0..6).map(|number| TellMyself(NoteNumber(number).into()));
    a.tell(Script(sends.collect()))?;
    world
        .expect_notes(&["a 0", "a 1", "a 2", "a 3", "a 4", "a 5"])
        .await
}

async fn a_self_send_goes_behind_the_messages_that_wait(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(TellMyself(Note("self").into()))?;
    a.tell(Note("waiting"))?;
    world.expect_notes(&["a waiting", "a self"]).await
}

async fn an_actor_answers_the_one_who_told_it(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    a.tell(Tell(b, Tell(a.clone(), Note("answered").into()).into()))?;
    world.expect_notes(&["a answered"]).await
}

async fn two_actors_play_ping_pong(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    // The innermost message is handled last, so that 200 turns are built from the end.
    let mut script: Script = Note("done").into();
    for turn in 0..200 {
        let to = if turn % 2 == 0 { &a } else { &b };
        script = [Add(1), Tell(to.clone(), script)].into();
    }
    a.tell(script)?;
    world.expect_notes(&["a done"]).await?;
    let sum = a.ask_number(Get).await? + b.ask_number(Get).await?;
    ensure_eq("turns", &sum, &200)
}

async fn an_actor_that_holds_handles_nothing_else(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([Note("1"), Hold(ms(100))])?;
    a.tell(Note("2"))?;
    world.pass(ms(50)).await?;
    world.expect_notes(&["a 1"]).await?;
    world.pass(ms(50)).await?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn an_actor_that_holds_does_not_hold_up_another(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    a.tell(Hold(ms(100)))?;
    b.tell(Note("1"))?;
    world.expect_notes(&["b 1"]).await
}

async fn messages_behind_a_stop_are_not_handled(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Note("1"), Stop, Note("2")])?;
    world.expect_notes(&["a 1"]).await
}

async fn a_message_to_a_stopped_actor_is_said_to_be_closed(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Stop)?;
    world.settle().await?;
    ensure_eq("offer", &a.tell(Note("late"))?, &Offer::Closed)
}

async fn a_clone_of_a_reference_reaches_the_same_actor(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    a.duplicate().tell(Add(2))?;
    a.tell(Add(3))?;
    ensure_eq("sum", &a.duplicate().ask_number(Get).await?, &5)
}

async fn a_reference_equals_its_clones_and_no_other(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    ensure_eq("equals its clone", &a.is_same(&a.duplicate())?, &true)?;
    ensure_eq("equals another", &a.is_same(&b)?, &false)
}

async fn a_new_actor_of_an_old_name_is_another(driver: &dyn Driver) -> CaseResult {
    let (world, old) = driver.with(plain("a")).await?;
    old.tell(Stop)?;
    world.settle().await?;
    let new = world.spawn(plain("a")).await?;
    ensure_eq("equals the old one", &new.is_same(&old)?, &false)?;
    old.tell(Note("to the old one"))?;
    new.tell(Note("to the new one"))?;
    world.expect_notes(&["a to the new one"]).await
}

async fn a_reference_is_the_same_after_a_restart(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    let now = a.ask_puppet(Myself).await?;
    ensure_eq("equals the one before", &a.is_same(&now)?, &true)
}

async fn a_recipient_of_one_type_reaches_its_actor(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_by_recipient(Note("1"))?;
    world.expect_notes(&["a 1"]).await
}

async fn a_recipient_outlives_a_restart(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    a.tell_by_recipient(Note("1"))?;
    world.expect_notes(&["a 1"]).await
}

async fn a_recipient_of_a_stopped_actor_is_closed(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Stop)?;
    world.settle().await?;
    ensure_eq("offer", &a.tell_by_recipient(Note("late"))?, &Offer::Closed)
}
