//! How an ask ends.

use super::counter::*;
use crate::system::*;

#[actix::test]
async fn an_ask_is_answered_and_a_stopped_actor_says_so() {
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&Log::default()), "counter");
    assert_eq!(actor.ask(Add(2), SECOND).await, Ok(2));
    assert_eq!(actor.path(), "/user/counter");
    actor.stop();
    actor.when_stopped().await;
    assert_eq!(actor.ask(Add(2), SECOND).await, Err(AskError::Stopped));
    assert_eq!(actor.tell(Note("late")), Offer::Closed);
    assert_eq!(system.dead_letters(), 2);
    assert!(system.tree().is_empty());
}

#[actix::test]
async fn an_ask_that_was_dropped_is_skipped() {
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&Log::default()), "counter");
    assert!(futures_util::FutureExt::now_or_never(actor.ask(Add(7), SECOND),).is_none());
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
}

#[actix::test]
async fn the_ask_that_fails_the_actor_learns_it() {
    let system = ActorSystem::new("test", 1);
    let props = counter(&Log::default()).supervise(Strategy::restart());
    let actor = system.spawn(props, "counter");
    assert_eq!(actor.ask(Panic, SECOND).await, Err(AskError::Failed));
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
}

#[actix::test]
async fn an_adapter_translates_where_its_panic_is_the_actors_failure() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).supervise(Strategy::restart()), "counter");
    let adapter = actor.adapter(|number: u32| match number {
        1 => Note("one"),
        _ => panic!("no such number"),
    });
    assert!(adapter.tell(2).is_enqueued());
    assert!(adapter.tell(1).is_enqueued());
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    assert_eq!(log.entries(), ["started", "stopped", "started", "one"]);
    let renamed = actor.recipient().contramap(|(): ()| Note("mapped"));
    assert!(renamed.tell(()).is_enqueued());
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    assert_eq!(log.entries().last().unwrap(), "mapped");
}

#[actix::test]
async fn an_ask_of_an_actor_in_backoff_waits_and_hears_restarting_when_there_is_no_room() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart().with_backoff(SECOND, SECOND);
    let props = counter(&Log::default()).mailbox(1).supervise(strategy);
    let actor = system.spawn(props, "counter");
    assert!(actor.tell(Fail).is_enqueued());
    tokio::task::yield_now().await;
    let (first, second) = tokio::join!(
        actor.ask(Add(1), 10 * SECOND),
        actor.ask(Add(1), 10 * SECOND)
    );
    assert_eq!((first, second), (Ok(1), Err(AskError::Restarting)));
    assert_eq!(system.dead_letters(), 1);
}

#[actix::test]
async fn a_strategy_may_refuse_work_while_the_actor_restarts() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart()
        .with_backoff(SECOND, SECOND)
        .reject_while_restarting();
    let actor = system.spawn(counter(&log).supervise(strategy), "counter");
    assert!(actor.tell(Fail).is_enqueued());
    assert!(actor.tell(Note("waited before")).is_enqueued());
    tokio::task::yield_now().await;
    let asked_at = tokio::time::Instant::now();
    assert_eq!(actor.ask(Add(1), SECOND).await, Err(AskError::Restarting));
    assert_eq!(asked_at.elapsed(), std::time::Duration::ZERO);
    assert_eq!(actor.tell(Note("refused")), Offer::Dropped);
    assert!(actor.control(Note("control")).is_enqueued());
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    let expected = ["started", "stopped", "started", "control", "waited before"];
    assert_eq!(log.entries(), expected);
}
