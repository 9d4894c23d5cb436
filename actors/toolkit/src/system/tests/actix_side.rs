//! What stock actix code does on our context: streams, waits and addresses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, ActorStreamExt, AsyncContext, ContextFutureSpawner, Handler, Message,
    StreamHandler, WrapFuture, WrapStream,
};
use futures_util::stream;

use super::counter::*;
use crate::system::*;

/// Counts what streams bring.
struct Reader(Arc<AtomicU32>);

impl Actor for Reader {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Item;

impl StreamHandler<u32> for Reader {
    fn handle(&mut self, _: u32, _: &mut Context<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
    fn finished(&mut self, _: &mut Context<Self>) {}
}
impl StreamHandler<&'static str> for Reader {
    fn handle(&mut self, _: &'static str, ctx: &mut Context<Self>) {
        self.0.fetch_add(1, SeqCst);
        ctx.wait(std::future::ready(()).into_actor(self));
    }
    fn finished(&mut self, _: &mut Context<Self>) {}
}
impl StreamHandler<bool> for Reader {
    fn handle(&mut self, fails: bool, ctx: &mut Context<Self>) {
        self.0.fetch_add(1, SeqCst);
        if fails {
            ctx.fail("on purpose");
        }
    }
    fn finished(&mut self, _: &mut Context<Self>) {}
}
impl Handler<Item> for Reader {
    type Result = ();
    fn handle(&mut self, _: Item, _: &mut Context<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}
type Begin = Box<dyn FnOnce(&mut Reader, &mut Context<Reader>) + Send>;
#[derive(Message)]
#[rtype(result = "()")]
struct Read(Begin);
impl Handler<Read> for Reader {
    type Result = ();
    fn handle(&mut self, Read(begin): Read, ctx: &mut Context<Self>) {
        begin(self, ctx);
    }
}

/// Returns how many items a reader handled in a second of paused time.
async fn read(
    props: impl FnOnce(Props<Reader>) -> Props<Reader>,
    begin: impl FnOnce(&mut Reader, &mut Context<Reader>) + Send + 'static,
) -> u32 {
    tokio::time::pause();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let system = ActorSystem::new("test", 1);
    let reader = system.spawn(
        props(Props::new(move || Reader(Arc::clone(&counted)))),
        "reader",
    );
    assert!(reader.tell(Read(Box::new(begin))).is_enqueued());
    tokio::time::sleep(SECOND).await;
    count.load(SeqCst)
}

#[actix::test]
async fn a_stream_of_ready_items_is_read_to_its_end() {
    let read = read(
        |props| props,
        |_, ctx| {
            ctx.add_stream(stream::iter(0..100_000_u32));
        },
    );
    assert_eq!(read.await, 100_000);
}

#[actix::test]
async fn a_stream_is_read_to_its_end_with_a_throughput_of_one() {
    let read = read(
        |props| props.throughput(1),
        |_, ctx| {
            ctx.add_stream(stream::iter(0..1000_u32));
        },
    );
    assert_eq!(read.await, 1000);
}

#[actix::test]
async fn a_stream_of_ready_messages_is_read_to_its_end() {
    let read = read(
        |props| props.throughput(16),
        |_, ctx| {
            ctx.add_message_stream(stream::iter((0..100_000_u32).map(|_| Item)));
        },
    );
    assert_eq!(read.await, 100_000);
}

#[actix::test]
async fn a_stream_whose_handler_waits_goes_on_after_the_wait() {
    let read = read(
        |props| props,
        |_, ctx| {
            ctx.add_stream(stream::iter(vec!["item"; 100]));
        },
    );
    assert_eq!(read.await, 100);
}

#[actix::test]
async fn a_stream_goes_on_when_its_actor_fails_and_resumes() {
    let read = read(
        |props| props.supervise(Strategy::resume()),
        |_, ctx| {
            ctx.add_stream(stream::iter([true, false, true, false]));
        },
    );
    assert_eq!(read.await, 4);
}

#[actix::test]
async fn a_panic_in_the_handler_of_a_stream_drops_the_stream_and_resumes_the_actor() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).supervise(Strategy::resume()), "counter");
    act(&actor, |_, ctx| {
        let messages = [false, true, false].map(|panics| {
            Do(Box::new(
                move |actor: &mut Counter, _: &mut Context<Counter>| {
                    assert!(!panics, "on purpose");
                    actor.log.note("item");
                },
            ))
        });
        ctx.add_message_stream(stream::iter(messages));
    });
    tokio::time::sleep(SECOND).await;
    assert_eq!(log.entries(), ["started", "item"]);
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
}

/// An endless stream of messages: in stock actix nothing else on the thread ever runs again.
#[actix::test]
async fn an_endless_stream_of_messages_leaves_others_their_turn() {
    let system = ActorSystem::new("test", 1);
    let counted = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&counted);
    let reader = system.spawn(
        Props::new(move || Reader(Arc::clone(&count))).throughput(8),
        "reader",
    );
    let sibling = system.spawn(counter(&Log::default()), "sibling");
    let begin = |_: &mut Reader, ctx: &mut Context<Reader>| {
        ctx.add_message_stream(stream::repeat_with(|| Item));
    };
    assert!(reader.tell(Read(Box::new(begin))).is_enqueued());
    for n in 1..=100 {
        assert_eq!(sibling.ask(Add(1), SECOND).await, Ok(n));
    }
    let read = counted.load(SeqCst);
    assert!(read <= 8 * 300, "{read} items in 100 turns of others");
}

#[actix::test]
async fn waiting_is_not_claimed_because_a_turn_ends() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).throughput(1), "counter");
    act(&actor, |actor, ctx| {
        actor.log.note(format!("waiting {}", ctx.waiting()));
    });
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    assert_eq!(log.entries(), ["started", "waiting false"]);
}

/// Both come in one poll of the cell, whose waking is registered before the second is handled.
#[actix::test]
async fn a_timer_started_by_the_second_of_two_messages_of_an_address_fires() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    act(&actor, move |_, ctx| {
        assert!(sender.send(ctx.address()).is_ok());
    });
    let address = receiver.await.unwrap();
    address.do_send(Do(Box::new(|actor, ctx| {
        ctx.wait(std::future::ready(()).into_actor(actor));
    })));
    address.do_send(Do(Box::new(|_, ctx| {
        ctx.start_timer("timer", Note("timer"), Duration::from_millis(5));
    })));
    address.do_send(Do(Box::new(|actor, ctx| {
        ctx.wait(
            std::future::ready(())
                .into_actor(actor)
                .map(|(), actor, _| {
                    actor.log.note("waited");
                }),
        );
    })));
    tokio::time::sleep(SECOND).await;
    assert_eq!(log.entries(), ["started", "waited", "timer"]);
}

#[actix::test]
async fn what_an_actor_sends_to_its_own_address_keeps_its_order_with_notifications() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |_, ctx| {
        ctx.notify(Note("1"));
        ctx.address().do_send(Note("2"));
        ctx.notify(Note("3"));
        ctx.address().do_send(Note("4"));
    });
    for _ in 0..2 {
        assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    }
    assert_eq!(log.entries(), ["started", "1", "2", "3", "4"]);
}

#[actix::test]
async fn a_mailbox_of_one_takes_in_everything_sent_to_an_address() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).mailbox(1), "counter");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    act(&actor, move |_, ctx| {
        assert!(sender.send(ctx.address()).is_ok());
    });
    let address = receiver.await.unwrap();
    for _ in 0..100 {
        address.do_send(Note("x"));
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(log.entries().len(), 101);
}

#[actix::test]
async fn what_waits_in_an_address_when_an_actor_stops_is_a_dead_letter() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).mailbox(2), "counter");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    act(&actor, move |_, ctx| {
        assert!(sender.send(ctx.address()).is_ok());
    });
    let address = receiver.await.unwrap();
    for _ in 0..10 {
        address.do_send(Note("x"));
    }
    actor.stop();
    actor.when_stopped().await;
    assert_eq!(system.dead_letters(), 10);
    assert!(!address.connected());
}

#[actix::test]
async fn the_last_of_two_waits_ends_first_as_in_actix() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |actor, ctx| {
        for text in ["first", "second"] {
            std::future::ready(())
                .into_actor(actor)
                .map(move |(), actor: &mut Counter, _: &mut Context<Counter>| actor.log.note(text))
                .wait(ctx);
        }
    });
    tokio::time::sleep(SECOND).await;
    assert_eq!(log.entries(), ["started", "second", "first"]);
}

#[actix::test]
async fn streams_of_an_actor_run_to_their_end() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |actor, ctx| {
        stream::iter(0..1000_u32)
            .into_actor(actor)
            .map(|n, actor: &mut Counter, _: &mut Context<Counter>| actor.sum += n)
            .finish()
            .spawn(ctx);
    });
    tokio::time::sleep(SECOND).await;
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(499_500));
}
