//! The event stream: publishing to whoever subscribed to a type.

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    a_subscriber_hears_an_event => "EventStreamSpec: accept published events", Same;
    a_subscriber_hears_events_of_its_type_only => "EventStreamSpec: dispatch events to subscribers of that type", Same;
    a_subscriber_hears_nothing_from_before => "EventStreamSpec: manage sub-channels using classes and traits (subscribe after publish)", Same;
    events_come_in_the_order_of_publishing => "EventStreamSpec: accept published events", Same;
    every_subscriber_hears_an_event => "EventStreamSpec: register subscribers", Same;
    one_actor_may_subscribe_to_two_types => "EventStreamSpec: register subscribers", Same;
    an_ended_subscription_is_silent => "EventStreamSpec: unsubscribe subscribers", Same;
    ending_a_subscription_leaves_the_others => "EventStreamSpec: unsubscribe subscribers", Same;
    an_event_without_subscribers_harms_nobody => "EventStreamSpec: manage subscriptions", Same;
    a_subscriber_that_stopped_is_forgotten => "EventStreamSpec: unsubscribe an actor on its termination", Same;
    a_subscriber_is_still_one_after_a_restart => "EventStreamSpec: unsubscribe an actor on its termination", Same;
    an_event_is_lost_to_a_subscriber_whose_mailbox_is_full => "MailboxSelectorSpec: set capacity on a bounded mailbox", Same;
    a_restart_is_published_once => "WatchSpec: notify a parent of child termination because of failure with a supervisor",
        Different("restarts are events, so that nobody need read them from the log");
];

async fn a_subscriber_hears_an_event(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.subscribe(Topic::Red, &a).await?;
    world.expect_taken(Topic::Red, 1, 1)?;
    world.expect_notes(&["a red 1"]).await
}

async fn a_subscriber_hears_events_of_its_type_only(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.subscribe(Topic::Red, &a).await?;
    world.backend.publish(Topic::Blue, 1)?;
    world.backend.publish(Topic::Red, 2)?;
    world.expect_notes(&["a red 2"]).await
}

async fn a_subscriber_hears_nothing_from_before(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.publish(Topic::Red, 1)?;
    world.backend.subscribe(Topic::Red, &a).await?;
    world.expect_notes(&[]).await
}

async fn events_come_in_the_order_of_publishing(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.subscribe(Topic::Red, &a).await?;
    for number in 1..=3 {
        world.backend.publish(Topic::Red, number)?;
    }
    world.expect_notes(&["a red 1", "a red 2", "a red 3"]).await
}

async fn every_subscriber_hears_an_event(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    for puppet in [&a, &b] {
        world.backend.subscribe(Topic::Red, puppet).await?;
    }
    world.expect_taken(Topic::Red, 1, 2)?;
    world.settle().await?;
    let heard = [world.times("a red 1"), world.times("b red 1")];
    ensure_eq("heard", &heard, &[1, 1])
}

async fn one_actor_may_subscribe_to_two_types(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.subscribe(Topic::Red, &a).await?;
    world.backend.subscribe(Topic::Blue, &a).await?;
    world.backend.publish(Topic::Red, 1)?;
    world.backend.publish(Topic::Blue, 2)?;
    world.expect_notes(&["a red 1", "a blue 2"]).await
}

async fn an_ended_subscription_is_silent(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let subscription = world.backend.subscribe(Topic::Red, &a).await?;
    let ended = world.backend.unsubscribe(subscription)?;
    ensure_eq("ended", &ended.unwrap_or(true), &true)?;
    world.expect_taken(Topic::Red, 1, 0)?;
    world.expect_notes(&[]).await
}

async fn ending_a_subscription_leaves_the_others(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    let of_a = world.backend.subscribe(Topic::Red, &a).await?;
    world.backend.subscribe(Topic::Red, &b).await?;
    world.backend.subscribe(Topic::Blue, &a).await?;
    world.backend.unsubscribe(of_a)?;
    world.backend.publish(Topic::Red, 1)?;
    world.settle().await?;
    world.backend.publish(Topic::Blue, 2)?;
    world.expect_notes(&["b red 1", "a blue 2"]).await
}

async fn an_event_without_subscribers_harms_nobody(driver: &dyn Driver) -> CaseResult {
    let world = driver.open();
    world.expect_taken(Topic::Red, 1, 0)?;
    ensure_eq("dead letters", &world.dead_letters()?, &0)
}

async fn a_subscriber_that_stopped_is_forgotten(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.subscribe(Topic::Red, &a).await?;
    a.tell(Stop)?;
    world.settle().await?;
    world.expect_taken(Topic::Red, 1, 0)?;
    let before = world.dead_letters()?;
    world.backend.publish(Topic::Red, 2)?;
    ensure_eq("dead letters", &world.dead_letters()?, &before)
}

async fn a_subscriber_is_still_one_after_a_restart(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    world.backend.subscribe(Topic::Red, &a).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    world.backend.publish(Topic::Red, 1)?;
    world.expect_notes(&["a red 1"]).await
}

async fn an_event_is_lost_to_a_subscriber_whose_mailbox_is_full(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::EventsAreBounded)?;
    let spec = plain("a").mailbox(1).overflow(Overflow::DropNew);
    let (world, a) = driver.with(spec).await?;
    world.backend.subscribe(Topic::Red, &a).await?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    world.expect_taken(Topic::Red, 1, 1)?;
    world.expect_taken(Topic::Red, 2, 0)?;
    world.pass(SECOND).await?;
    world.backend.publish(Topic::Red, 3)?;
    world.expect_notes(&["a red 1", "a red 3"]).await
}

async fn a_restart_is_published_once(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    world.backend.note_restarts()?;
    a.tell(Panic("on purpose"))?;
    world.expect_notes(&["restarted /user/a"]).await
}
