//! Bounds, order and fairness.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};

use actix::{AsyncContext, WrapFuture};

use super::counter::*;
use crate::system::*;

#[actix::test]
async fn the_mailbox_is_bounded_whoever_sends() {
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&Log::default()).mailbox(4), "counter");
    let offers: Vec<_> = (0..20).map(|_| actor.clone().tell(Note("x"))).collect();
    assert_eq!(offers.iter().filter(|offer| offer.is_enqueued()).count(), 4);
    assert_eq!(actor.ask(Add(1), SECOND).await, Err(AskError::MailboxFull));
    assert!(actor.control(Note("control")).is_enqueued());
}

#[actix::test]
async fn a_flooded_actor_does_not_starve_its_sibling_or_its_timers() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let flooded = system.spawn(counter(&log).throughput(16), "flooded");
    let sibling = system.spawn(counter(&Log::default()), "sibling");
    act(&flooded, |_, ctx| {
        ctx.start_timer("t", Note("timer"), Duration::from_millis(1));
    });
    assert!(flooded.tell(Spin).is_enqueued());
    let start = tokio::time::Instant::now();
    while log.entries().len() < 2 && start.elapsed() < 30 * SECOND {
        assert!(sibling.ask(Add(1), 30 * SECOND).await.is_ok());
    }
    assert_eq!(log.entries(), ["started", "timer"]);
}

#[actix::test]
async fn actix_addresses_and_self_notifications_work_too() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    act(&actor, move |_, ctx| {
        ctx.notify(Note("first"));
        ctx.notify(Note("second"));
        assert!(sender.send(ctx.address()).is_ok());
    });
    let address = receiver.await.unwrap();
    assert_eq!(address.send(Add(3)).await.unwrap(), 3);
    assert_eq!(log.entries(), ["started", "first", "second"]);
}

/// T7: actix handles its notifications in reverse, and messages first.
#[actix::test]
async fn notifications_and_tells_to_oneself_keep_their_order() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |_, ctx| {
        for text in ["1", "2", "3"] {
            ctx.notify(Note(text));
        }
        assert!(ctx.self_ref().tell(Note("4")).is_enqueued());
        ctx.notify(Note("5"));
    });
    assert!(actor.tell(Note("0")).is_enqueued());
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    // The ask came before the handler ran, and so did the tell.
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    let expected = ["started", "0", "1", "2", "3", "4", "5"];
    assert_eq!(log.entries(), expected);
}

#[actix::test]
async fn a_notification_is_never_refused_and_survives_a_restart() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart().with_backoff(SECOND, SECOND);
    let props = counter(&log).mailbox(1).supervise(strategy);
    let actor = system.spawn(props, "counter");
    act(&actor, |_, ctx| {
        ctx.notify(Note("first"));
        ctx.notify(Note("second"));
        ctx.fail("on purpose");
    });
    tokio::task::yield_now().await;
    // Both wait, beyond the bound, and leave no room for others.
    assert_eq!(actor.report().mailbox, 2);
    assert_eq!(actor.tell(Note("refused")), Offer::Dropped);
    tokio::time::sleep(2 * SECOND).await;
    let expected = ["started", "stopped", "started", "first", "second"];
    assert_eq!(log.entries(), expected);
}

/// T8: actix polls all of an actor's futures at each message.
#[actix::test]
async fn ten_thousand_futures_in_flight_are_not_polled_at_each_message() {
    let polls = Arc::new(AtomicUsize::new(0));
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&Log::default()), "counter");
    let count = Arc::clone(&polls);
    act(&actor, move |actor, ctx| {
        for _ in 0..10_000 {
            let count = Arc::clone(&count);
            let pending = std::future::poll_fn(move |_| {
                count.fetch_add(1, SeqCst);
                Poll::<()>::Pending
            });
            ctx.spawn(pending.into_actor(actor));
        }
    });
    for n in 1..=1000 {
        assert_eq!(actor.ask(Add(1), SECOND).await, Ok(n));
    }
    assert!(polls.load(SeqCst) <= 10_000);
}

#[actix::test]
async fn a_control_message_does_not_wait_behind_work() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    for text in ["1", "2"] {
        assert!(actor.tell(Note(text)).is_enqueued());
    }
    assert!(actor.control(Note("control")).is_enqueued());
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    assert_eq!(log.entries(), ["started", "control", "1", "2"]);
}
