//! Bounds, overflow, priorities, the control queue, and turns.

use futures_util::{FutureExt, future::join_all};

use super::prelude::*;
use crate::puppet::{Class, Directive};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L3;
    a_mailbox_takes_as_many_as_its_bound => "MailboxSelectorSpec: set capacity on a bounded mailbox", Same;
    a_mailbox_beyond_its_bound_refuses_the_new => "MailboxSelectorSpec: set capacity on a bounded mailbox", Same;
    a_mailbox_of_one_takes_one => "MailboxConfigSpec: create a bounded mailbox with 10 capacity", Same;
    a_message_that_is_handled_makes_room => "MailboxConfigSpec: create a bounded mailbox with 10 capacity", Same;
    the_number_of_waiting_messages_is_told => "MailboxConfigSpec: BoundedMailbox.numberOfMessages should be consistent with queue size", Same;
    a_mailbox_without_a_bound_of_its_own_takes_a_thousand => "MailboxSelectorSpec: default to unbounded", Same;
    a_mailbox_is_bounded_although_nothing_was_said => "MailboxSelectorSpec: default to unbounded",
        Different("everything that can grow has a bound; the default is 1024");
    the_bound_holds_under_twenty_clones => "none", Trap("T4");
    the_bound_holds_under_many_threads => "none", Trap("T4");
    a_thousand_asks_are_answered_through_a_mailbox_of_four => "none", Trap("T5");
    a_thousand_asks_never_fill_a_mailbox_beyond_its_bound => "none", Trap("T5");
    the_bound_holds_for_messages_told_to_oneself => "MailboxSelectorSpec: set capacity on a bounded mailbox", Same;
    the_bound_holds_through_a_restart => "SupervisionSpec: restart when handled exception", Same;
    dropping_the_head_loses_the_oldest => "FlowBufferSpec: drop head elements if buffer is full", Same;
    dropping_the_tail_loses_the_youngest_that_waits => "FlowBufferSpec: drop tail elements if buffer is full", Same;
    dropping_the_buffer_loses_all_that_wait => "FlowBufferSpec: drop all elements if buffer is full", Same;
    a_mailbox_that_is_to_fail_refuses_and_fails_the_actor => "FlowBufferSpec: fail upstream if buffer is full", Same;
    an_overflow_is_a_failure_that_supervision_meets => "FlowBufferSpec: fail upstream if buffer is full", Same;
    every_message_that_an_overflow_drops_is_a_dead_letter => "MailboxSelectorSpec: set capacity on a bounded mailbox", Same;
    an_offer_under_backpressure_waits_for_room => "MailboxConfigSpec: dequeue what was enqueued properly for bounded mailboxes with pushTimeout", Same;
    offers_under_backpressure_get_room_in_their_order => "MailboxConfigSpec: dequeue what was enqueued properly for bounded mailboxes with pushTimeout", Same;
    a_tell_under_backpressure_does_not_wait => "MailboxConfigSpec: dequeue what was enqueued properly for bounded mailboxes with 0 pushTimeout", Same;
    an_offer_that_waits_learns_that_the_actor_stopped => "MailboxConfigSpec: dequeue what was enqueued properly for bounded mailboxes with pushTimeout", Same;
    an_offer_given_up_while_it_waits_leaves_no_message => "MailboxConfigSpec: dequeue what was enqueued properly for bounded mailboxes with pushTimeout", Same;
    a_higher_priority_goes_first => "PriorityDispatcherSpec: Order it's messages according to the specified comparator", Same;
    messages_of_one_priority_keep_their_order => "StablePriorityDispatcherSpec: Order its messages according to the specified comparator while preserving FIFO for equal priority messages", Same;
    an_ordinary_message_stands_between_high_and_low => "PriorityDispatcherSpec: Order it's messages according to the specified comparator", Same;
    priorities_hold_in_a_bounded_mailbox => "PriorityDispatcherSpec: Order it's messages according to the specified comparator using a bounded mailbox", Same;
    a_control_message_goes_before_all_that_wait => "ControlAwareDispatcherSpec: deliver control messages first", Same;
    control_messages_keep_their_order => "ControlAwareDispatcherSpec: deliver control messages first", Same;
    a_control_message_goes_before_the_highest_priority => "ControlAwareDispatcherSpec: deliver control messages first", Same;
    a_control_message_is_taken_by_a_full_mailbox => "ControlAwareDispatcherSpec: deliver control messages first using a bounded mailbox",
        Different("the control queue has a bound of its own, far above the permits and children that bound its messages; in Pekko one bound holds for both");
    control_messages_take_up_no_room_for_work => "ControlAwareDispatcherSpec: deliver control messages first using a bounded mailbox",
        Different("the control queue has a bound of its own, far above the permits and children that bound its messages; in Pekko one bound holds for both");
    a_control_message_beyond_the_bound_of_the_control_queue_is_refused => "ControlAwareDispatcherSpec: deliver control messages first using a bounded mailbox",
        Different("the control queue has a bound of its own, far above the permits and children that bound its messages; in Pekko one bound holds for both");
    an_actor_gives_its_turn_away_after_its_throughput => "DispatcherActorSpec: respect the throughput setting", Same;
    an_actor_with_much_to_do_does_not_hold_up_another => "DispatcherActorsSpec: not block fast actors by slow actors", Same;
    a_flooded_actors_sibling_is_served => "none", Trap("T6"), isolated;
    a_flooded_actors_timers_are_on_time => "none", Trap("T6"), isolated;
    a_flooded_actors_futures_make_progress => "none", Trap("T6"), isolated;
    an_actor_whose_thread_ends_is_said_to_be_gone => "none", Trap("T10"), isolated;
    an_actor_whose_thread_ends_can_be_replaced => "none", Trap("T10"), isolated;
    what_is_said_of_panics_is_true => "none", Trap("T18"), isolated;
];

/// A puppet that holds for a second, with a mailbox so bounded.
async fn held(
    driver: &dyn Driver,
    bound: usize,
    overflow: Overflow,
) -> Result<(World, Puppet), Failure> {
    let (world, a) = driver
        .with(plain("a").mailbox(bound).overflow(overflow))
        .await?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    Ok((world, a))
}

fn offers(puppet: &Puppet, count: i64) -> Result<Vec<Offer>, Failure> {
    (1..=count)
        .map(|number| puppet.tell(NoteNumber(number)))
        .collect()
}

/// Lets the hold end, and expects these numbers.
async fn expect_numbers(world: &World, expected: &[i64]) -> CaseResult {
    world.pass(2 * SECOND).await?;
    let expected: Vec<_> = expected
        .iter()
        .map(|number| format!("a {number}"))
        .collect();
    ensure_eq("notes", &world.notes(), &expected)
}

async fn a_mailbox_takes_as_many_as_its_bound(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 4, Overflow::DropNew).await?;
    ensure_eq("offers", &offers(&a, 4)?, &vec![Offer::Enqueued; 4])?;
    expect_numbers(&world, &[1, 2, 3, 4]).await
}

async fn a_mailbox_beyond_its_bound_refuses_the_new(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 4, Overflow::DropNew).await?;
    let told = offers(&a, 6)?;
    ensure_eq("offers beyond", &told[4..], &[Offer::Dropped; 2][..])?;
    expect_numbers(&world, &[1, 2, 3, 4]).await
}

async fn a_mailbox_of_one_takes_one(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = held(driver, 1, Overflow::DropNew).await?;
    ensure_eq(
        "offers",
        &offers(&a, 2)?,
        &vec![Offer::Enqueued, Offer::Dropped],
    )
}

async fn a_message_that_is_handled_makes_room(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 1, Overflow::DropNew).await?;
    offers(&a, 2)?;
    world.pass(2 * SECOND).await?;
    ensure_eq("offer", &a.tell(NoteNumber(3))?, &Offer::Enqueued)?;
    expect_numbers(&world, &[1, 3]).await
}

async fn the_number_of_waiting_messages_is_told(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 10, Overflow::DropNew).await?;
    offers(&a, 3)?;
    ensure_eq("waiting", &a.waiting()?, &3)?;
    world.pass(2 * SECOND).await?;
    ensure_eq("waiting", &a.waiting()?, &0)
}

async fn a_mailbox_without_a_bound_of_its_own_takes_a_thousand(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::RoomyByDefault)?;
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    let told = offers(&a, 1000)?;
    let taken = told
        .iter()
        .filter(|offer| **offer == Offer::Enqueued)
        .count();
    ensure_eq("taken", &taken, &1000)
}

async fn a_mailbox_is_bounded_although_nothing_was_said(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::BoundedByDefault)?;
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    let told = offers(&a, 2000)?;
    let taken = told
        .iter()
        .filter(|offer| **offer == Offer::Enqueued)
        .count();
    ensure(taken < 2000, || "all were taken".to_owned())
}

async fn the_bound_holds_under_twenty_clones(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StrictBound)?;
    let (world, a) = held(driver, 4, Overflow::DropNew).await?;
    let told = (1..=20).map(|number| a.duplicate().tell(NoteNumber(number)));
    let told = told.collect::<Result<Vec<_>, _>>()?;
    let taken = told
        .iter()
        .filter(|offer| **offer == Offer::Enqueued)
        .count();
    ensure_eq("taken of 20", &taken, &4)?;
    expect_numbers(&world, &[1, 2, 3, 4]).await
}

async fn the_bound_holds_under_many_threads(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StrictBound)?;
    let (_world, a) = held(driver, 8, Overflow::DropNew).await?;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let puppet = a.duplicate();
            std::thread::spawn(move || offers(&puppet, 500))
        })
        .collect();
    let mut taken = 0;
    for thread in threads {
        let told = thread.join();
        let told = told.map_err(|_| Failure::Failed("a sender panicked".to_owned()))??;
        taken += told
            .iter()
            .filter(|offer| **offer == Offer::Enqueued)
            .count();
    }
    ensure_eq("taken of 2000", &taken, &8)
}

async fn a_thousand_asks_are_answered_through_a_mailbox_of_four(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StrictBound)?;
    let spec = plain("a").mailbox(4).overflow(Overflow::Backpressure);
    let (_world, a) = driver.with(spec).await?;
    let answers = join_all((0..1000).map(|_| a.try_ask(Add(1), ANSWER_TIMEOUT))).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    ensure_eq("answered", &answered, &1000)?;
    ensure_eq("sum", &a.ask_number(Get).await?, &1000)
}

async fn a_thousand_asks_never_fill_a_mailbox_beyond_its_bound(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StrictBound)?;
    let (world, a) = held(driver, 4, Overflow::Backpressure).await?;
    let mut asks = Box::pin(join_all(
        (0..1000).map(|_| a.try_ask(Add(1), ANSWER_TIMEOUT)),
    ));
    let early = (&mut asks).now_or_never();
    ensure(early.is_none(), || "answered while it holds".to_owned())?;
    ensure_eq("waiting", &a.waiting()?, &4)?;
    asks.await;
    world.settle().await?;
    ensure_eq("waiting", &a.waiting()?, &0)
}

async fn the_bound_holds_for_messages_told_to_oneself(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::SelfSendsAreBounded)?;
    let spec = plain("a").mailbox(2).overflow(Overflow::DropNew);
    let (world, a) = driver.with(spec).await?;
    let sends = (0..5).map(|number| TellMyself(NoteNumber(number).into()));
    a.tell(Script(sends.collect()))?;
    world.expect_notes(&["a 0", "a 1"]).await
}

async fn the_bound_holds_through_a_restart(driver: &dyn Driver) -> CaseResult {
    let spec = restarted("a").mailbox(2).overflow(Overflow::DropNew);
    let (world, a) = driver.with(spec).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    let told = offers(&a, 3)?;
    ensure_eq(
        "offers",
        &told,
        &vec![Offer::Enqueued, Offer::Enqueued, Offer::Dropped],
    )
}

async fn dropping_the_head_loses_the_oldest(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 3, Overflow::DropHead).await?;
    ensure_eq("offers", &offers(&a, 5)?, &vec![Offer::Enqueued; 5])?;
    expect_numbers(&world, &[3, 4, 5]).await
}

async fn dropping_the_tail_loses_the_youngest_that_waits(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 3, Overflow::DropTail).await?;
    ensure_eq("offers", &offers(&a, 5)?, &vec![Offer::Enqueued; 5])?;
    expect_numbers(&world, &[1, 2, 5]).await
}

async fn dropping_the_buffer_loses_all_that_wait(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 3, Overflow::DropBuffer).await?;
    ensure_eq("offers", &offers(&a, 5)?, &vec![Offer::Enqueued; 5])?;
    expect_numbers(&world, &[4, 5]).await
}

async fn a_mailbox_that_is_to_fail_refuses_and_fails_the_actor(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 2, Overflow::Fail).await?;
    let told = offers(&a, 3)?;
    ensure_eq(
        "offers",
        &told,
        &vec![Offer::Enqueued, Offer::Enqueued, Offer::Failed],
    )?;
    world.pass(2 * SECOND).await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn an_overflow_is_a_failure_that_supervision_meets(driver: &dyn Driver) -> CaseResult {
    let rules = Supervision::by_class(&[(Class::Overflow, Directive::Restart)]);
    let spec = plain("a")
        .mailbox(2)
        .overflow(Overflow::Fail)
        .supervised(rules);
    let (world, a) = driver.with(spec).await?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    offers(&a, 3)?;
    expect_numbers(&world, &[1, 2]).await?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &2)
}

async fn every_message_that_an_overflow_drops_is_a_dead_letter(driver: &dyn Driver) -> CaseResult {
    for (overflow, dropped) in [
        (Overflow::DropNew, 2),
        (Overflow::DropHead, 2),
        (Overflow::DropTail, 2),
        (Overflow::DropBuffer, 3),
    ] {
        let (world, a) = held(driver, 3, overflow).await?;
        offers(&a, 5)?;
        ensure_eq(&format!("{overflow:?}"), &world.dead_letters()?, &dropped)?;
    }
    Ok(())
}

async fn an_offer_under_backpressure_waits_for_room(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 1, Overflow::Backpressure).await?;
    offers(&a, 1)?;
    let before = world.shared.millis();
    ensure_eq("offer", &a.offer(NoteNumber(2)).await?, &Offer::Enqueued)?;
    ensure(world.shared.millis() - before > 900, || {
        "it did not wait".to_owned()
    })?;
    expect_numbers(&world, &[1, 2]).await
}

async fn offers_under_backpressure_get_room_in_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 1, Overflow::Backpressure).await?;
    let offered = join_all((1..=6).map(|number| a.offer(NoteNumber(number)))).await;
    for offer in offered {
        ensure_eq("offer", &offer?, &Offer::Enqueued)?;
    }
    expect_numbers(&world, &[1, 2, 3, 4, 5, 6]).await
}

async fn a_tell_under_backpressure_does_not_wait(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = held(driver, 1, Overflow::Backpressure).await?;
    ensure_eq(
        "offers",
        &offers(&a, 2)?,
        &vec![Offer::Enqueued, Offer::Dropped],
    )
}

async fn an_offer_that_waits_learns_that_the_actor_stopped(driver: &dyn Driver) -> CaseResult {
    let spec = plain("a").mailbox(1).overflow(Overflow::Backpressure);
    let (world, a) = driver.with(spec).await?;
    a.tell([TellMyself(Stop.into()), Hold(SECOND)])?;
    world.settle().await?;
    let offered = join_all((1..=3).map(|number| a.offer(NoteNumber(number)))).await;
    let last = offered.into_iter().next_back();
    ensure_eq("last offer", &last.transpose()?, &Some(Offer::Closed))
}

async fn an_offer_given_up_while_it_waits_leaves_no_message(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 1, Overflow::Backpressure).await?;
    offers(&a, 1)?;
    if let Some(early) = Box::pin(a.offer(NoteNumber(2))).now_or_never() {
        return Err(Failure::Failed(format!(
            "offered without room: {:?}",
            early?
        )));
    }
    a.offer(NoteNumber(3)).await?;
    expect_numbers(&world, &[1, 3]).await
}

async fn a_higher_priority_goes_first(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 10, Overflow::DropNew).await?;
    for (number, priority) in [(1, 10), (2, 250), (3, 100), (4, 200)] {
        a.tell_with_priority(NoteNumber(number), priority)?;
    }
    expect_numbers(&world, &[2, 4, 3, 1]).await
}

async fn messages_of_one_priority_keep_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 20, Overflow::DropNew).await?;
    for number in 1..=6 {
        let priority = if number % 2 == 0 { 200 } else { 100 };
        a.tell_with_priority(NoteNumber(number), priority)?;
    }
    expect_numbers(&world, &[2, 4, 6, 1, 3, 5]).await
}

async fn an_ordinary_message_stands_between_high_and_low(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 10, Overflow::DropNew).await?;
    a.tell_with_priority(NoteNumber(1), 0)?;
    a.tell(NoteNumber(2))?;
    a.tell_with_priority(NoteNumber(3), 255)?;
    expect_numbers(&world, &[3, 2, 1]).await
}

async fn priorities_hold_in_a_bounded_mailbox(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 2, Overflow::DropNew).await?;
    a.tell_with_priority(NoteNumber(1), 0)?;
    a.tell_with_priority(NoteNumber(2), 255)?;
    // A full mailbox refuses the new, however urgent.
    let offer = a.tell_with_priority(NoteNumber(3), 255)?;
    ensure_eq("offer", &offer, &Offer::Dropped)?;
    expect_numbers(&world, &[2, 1]).await
}

async fn a_control_message_goes_before_all_that_wait(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 10, Overflow::DropNew).await?;
    offers(&a, 3)?;
    a.control(NoteNumber(0))?;
    expect_numbers(&world, &[0, 1, 2, 3]).await
}

async fn control_messages_keep_their_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 10, Overflow::DropNew).await?;
    a.tell(NoteNumber(9))?;
    for number in 1..=3 {
        a.control(NoteNumber(number))?;
    }
    expect_numbers(&world, &[1, 2, 3, 9]).await
}

async fn a_control_message_goes_before_the_highest_priority(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 10, Overflow::DropNew).await?;
    a.tell_with_priority(NoteNumber(2), 255)?;
    a.control(NoteNumber(1))?;
    expect_numbers(&world, &[1, 2]).await
}

async fn a_control_message_is_taken_by_a_full_mailbox(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 1, Overflow::DropNew).await?;
    offers(&a, 2)?;
    ensure_eq("offer", &a.control(NoteNumber(0))?, &Offer::Enqueued)?;
    expect_numbers(&world, &[0, 1]).await
}

async fn control_messages_take_up_no_room_for_work(driver: &dyn Driver) -> CaseResult {
    let (world, a) = held(driver, 1, Overflow::DropNew).await?;
    for number in 1..=3 {
        a.control(NoteNumber(number))?;
    }
    ensure_eq("offer", &a.tell(NoteNumber(9))?, &Offer::Enqueued)?;
    expect_numbers(&world, &[1, 2, 3, 9]).await
}

async fn a_control_message_beyond_the_bound_of_the_control_queue_is_refused(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = held(driver, 1, Overflow::DropNew).await?;
    for _ in 0..65_536 {
        ensure_eq("offer", &a.control(Add(1))?, &Offer::Enqueued)?;
    }
    ensure_eq("offer beyond", &a.control(Add(1))?, &Offer::Dropped)?;
    ensure_eq("dead letters", &world.dead_letters()?, &1)?;
    world.pass(2 * SECOND).await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &65_536)
}

async fn an_actor_gives_its_turn_away_after_its_throughput(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").throughput(5)).await?;
    let b = world.spawn(plain("b").throughput(5)).await?;
    world.settle().await?;
    a.tell_all((0..20).map(|_| Note("1")))?;
    b.tell_all((0..20).map(|_| Note("1")))?;
    world.settle().await?;
    let notes = world.notes();
    ensure_eq("handled", &notes.len(), &40)?;
    // In which order the two have their turns within a round is the runtime's affair.
    let mut lead: i32 = 0;
    let mut leads = Vec::new();
    for note in &notes {
        lead += if note == "a 1" { 1 } else { -1 };
        leads.push(lead.abs());
    }
    ensure_eq("longest lead", &leads.into_iter().max(), &Some(5))
}

async fn an_actor_with_much_to_do_does_not_hold_up_another(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").mailbox(2000)).await?;
    let b = world.spawn(plain("b")).await?;
    world.settle().await?;
    a.tell_all((0..1000).map(|_| Note("1")))?;
    b.tell(Note("1"))?;
    world.settle().await?;
    let notes = world.notes();
    let place = notes.iter().position(|note| note == "b 1");
    ensure(place.is_some_and(|place| place < 900), || {
        format!("served after {place:?} of 1000")
    })
}

/// Messages after which a flood has lasted too long.
const FLOOD: u64 = 1_000_000;

/// A puppet that tells itself to go on for ever, and a sibling.
async fn flooded(driver: &dyn Driver) -> Result<(World, Puppet, Puppet), Failure> {
    let (world, a) = driver.with(plain("a")).await?;
    let sibling = world.spawn(plain("sibling")).await?;
    world.settle().await?;
    Ok((world, a, sibling))
}

/// Gives others their turn until the text was noted, or the flood has lasted too long; ends the flood.
async fn expect_despite_flood(world: &World, text: &str) -> CaseResult {
    while world.times(text) == 0 && world.count() < FLOOD {
        tokio::task::yield_now().await;
    }
    world
        .shared
        .enough
        .store(true, std::sync::atomic::Ordering::SeqCst);
    ensure_eq(text, &world.times(text), &1)
}

async fn a_flooded_actors_sibling_is_served(driver: &dyn Driver) -> CaseResult {
    let (world, a, sibling) = flooded(driver).await?;
    a.tell(Spin)?;
    sibling.tell(Note("served"))?;
    expect_despite_flood(&world, "sibling served").await
}

async fn a_flooded_actors_timers_are_on_time(driver: &dyn Driver) -> CaseResult {
    let (world, a, _sibling) = flooded(driver).await?;
    a.tell(StartTimer("t", ms(10), Repeat::Once, Note("tick").into()))?;
    world.settle().await?;
    a.tell(Spin)?;
    tokio::task::yield_now().await;
    tokio::time::advance(ms(20)).await;
    expect_despite_flood(&world, "a tick").await
}

async fn a_flooded_actors_futures_make_progress(driver: &dyn Driver) -> CaseResult {
    let (world, a, _sibling) = flooded(driver).await?;
    a.tell(SpawnFuture(ms(10), Note("done").into()))?;
    world.settle().await?;
    a.tell(Spin)?;
    tokio::task::yield_now().await;
    tokio::time::advance(ms(20)).await;
    expect_despite_flood(&world, "a done").await
}

/// Waits in real time, since another thread has another clock; returns `true` if it came true.
async fn comes_true(condition: impl Fn() -> bool) -> bool {
    for _ in 0..2000 {
        if condition() {
            return true;
        }
        tokio::time::sleep(ms(1)).await;
    }
    false
}

/// A watcher here, and an actor on a thread that has ended.
async fn thread_ended(driver: &dyn Driver) -> Result<(World, Puppet), Failure> {
    let (world, watcher) = driver.with(plain("w")).await?;
    let far = world.spawn(plain("far").elsewhere()).await?;
    watcher.ask(Watch(far.clone())).await?;
    tokio::time::resume();
    far.tell(EndThread)?;
    let gone = comes_true(|| !far.is_alive()).await;
    world.settle().await?;
    ensure(gone, || "it is said to live".to_owned())?;
    Ok((world, watcher))
}

async fn an_actor_whose_thread_ends_is_said_to_be_gone(driver: &dyn Driver) -> CaseResult {
    let (world, _watcher) = thread_ended(driver).await?;
    let heard = comes_true(|| !world.notes().is_empty()).await;
    ensure(heard, || "the watcher heard nothing".to_owned())?;
    ensure_eq("notes", &world.notes(), &vec!["w saw far fail".to_owned()])
}

async fn an_actor_whose_thread_ends_can_be_replaced(driver: &dyn Driver) -> CaseResult {
    let (world, _watcher) = thread_ended(driver).await?;
    let successor = world.spawn(plain("far").elsewhere()).await?;
    successor.tell(Note("served"))?;
    let served = comes_true(|| world.times("far served") == 1).await;
    ensure(served, || "the successor does not serve".to_owned())
}

async fn what_is_said_of_panics_is_true(driver: &dyn Driver) -> CaseResult {
    let world = driver.open();
    if !world.backend.catches_panics()? {
        // Built to abort: that it is said is all there is, for a panic would end this process.
        return Ok(());
    }
    let a = world.spawn(restarted("a")).await?;
    a.tell_all([Panic("on purpose"), Note("1")])?;
    world.expect_notes(&["a 1"]).await
}
