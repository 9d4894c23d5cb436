//! What stock actix code does on our context: streams, waits, addresses, response futures.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context as Task, Poll, Waker},
    thread,
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, ActorStreamExt, AsyncContext, AtomicResponse,
    ContextFutureSpawner, Handler, Message, Response, ResponseActFuture, ResponseFuture,
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

/// Answers by futures of every kind.
struct Answerer;

impl Actor for Answerer {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Beside(bool);
impl Handler<Beside> for Answerer {
    type Result = ResponseFuture<u32>;
    fn handle(&mut self, Beside(panics): Beside, _: &mut Context<Self>) -> ResponseFuture<u32> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(!panics, "on purpose");
            7
        })
    }
}
#[derive(Message)]
#[rtype(result = "u32")]
struct ByResponse(bool);
impl Handler<ByResponse> for Answerer {
    type Result = Response<u32>;
    fn handle(&mut self, ByResponse(panics): ByResponse, _: &mut Context<Self>) -> Response<u32> {
        Response::fut(async move {
            tokio::task::yield_now().await;
            assert!(!panics, "on purpose");
            8
        })
    }
}
#[derive(Message)]
#[rtype(result = "u32")]
struct AtOnce;
impl Handler<AtOnce> for Answerer {
    type Result = Response<u32>;
    fn handle(&mut self, _: AtOnce, _: &mut Context<Self>) -> Response<u32> {
        Response::reply(9)
    }
}
type Within = Box<dyn FnOnce(&mut Context<Answerer>) + Send>;
#[derive(Message)]
#[rtype(result = "u32")]
struct ByActor(Within);
impl Handler<ByActor> for Answerer {
    type Result = ResponseActFuture<Self, u32>;
    fn handle(&mut self, ByActor(act): ByActor, _: &mut Context<Self>) -> Self::Result {
        let future = tokio::task::yield_now().into_actor(self);
        Box::pin(future.map(move |(), _, ctx| {
            act(ctx);
            10
        }))
    }
}

fn answerer(system: &ActorSystem) -> ActorRef<Answerer> {
    let props = Props::new(|| Answerer).supervise(Strategy::restart());
    system.spawn(props, "answerer")
}

#[actix::test]
async fn a_panic_in_a_response_future_is_a_failure_of_the_actor() {
    let system = ActorSystem::new("test", 1);
    let actor = answerer(&system);
    assert_eq!(actor.ask(Beside(false), SECOND).await, Ok(7));
    let panicked = actor.ask(Beside(true), SECOND).await;
    assert_eq!(panicked, Err(AskError::Failed));
    assert_eq!(actor.ask(Beside(false), SECOND).await, Ok(7));
    assert_eq!(actor.report().restarts, 1);
}

#[actix::test]
async fn a_panic_in_a_response_future_that_nobody_awaits_is_one_too() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let actor = answerer(&system);
    assert!(actor.tell(Beside(true)).is_enqueued());
    assert!(actor.tell(ByResponse(true)).is_enqueued());
    tokio::time::sleep(SECOND).await;
    // Both belong to one incarnation: the second finds it gone.
    assert_eq!(actor.report().restarts, 1);
}

#[actix::test]
async fn a_panic_in_a_response_is_a_failure_of_the_actor() {
    let system = ActorSystem::new("test", 1);
    let actor = answerer(&system);
    assert_eq!(actor.ask(AtOnce, SECOND).await, Ok(9));
    assert_eq!(actor.ask(ByResponse(false), SECOND).await, Ok(8));
    let panicked = actor.ask(ByResponse(true), SECOND).await;
    assert_eq!(panicked, Err(AskError::Failed));
    assert_eq!(actor.ask(AtOnce, SECOND).await, Ok(9));
    assert_eq!(actor.report().restarts, 1);
}

#[actix::test]
async fn a_panic_in_a_response_future_is_a_failure_by_a_delayed_message_too() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let actor = answerer(&system);
    let delayed = actor.ask(
        ByActor(Box::new(|ctx| {
            ctx.notify_later(Beside(true), Duration::from_millis(1));
        })),
        SECOND,
    );
    assert_eq!(delayed.await, Ok(10));
    tokio::time::sleep(SECOND).await;
    let streamed = actor.ask(
        ByActor(Box::new(|ctx| {
            ctx.add_message_stream(stream::iter([Beside(true)]));
        })),
        SECOND,
    );
    assert_eq!(streamed.await, Ok(10));
    tokio::time::sleep(SECOND).await;
    assert_eq!(actor.report().restarts, 2);
}

/// Answers after a while by the kind of future that is asked for, or panics; counts how many run at once.
struct Busy(Arc<Running>);

#[derive(Default)]
struct Running {
    now: AtomicU32,
    most: AtomicU32,
}

impl Running {
    async fn run(self: Arc<Self>, panics: bool) -> u32 {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!panics, "on purpose");
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.now.fetch_sub(1, SeqCst) + 1
    }
}

impl Actor for Busy {
    type Context = Context<Self>;
}
#[derive(Message)]
#[rtype(result = "u32")]
struct Work(bool);
impl Handler<Work> for Busy {
    type Result = ResponseActFuture<Self, u32>;
    fn handle(&mut self, Work(panics): Work, _: &mut Context<Self>) -> Self::Result {
        let running = Arc::clone(&self.0);
        Box::pin(running.run(panics).into_actor(self))
    }
}
#[derive(Message)]
#[rtype(result = "u32")]
struct Apart(bool);
impl Handler<Apart> for Busy {
    type Result = ResponseFuture<u32>;
    fn handle(&mut self, Apart(panics): Apart, _: &mut Context<Self>) -> Self::Result {
        Box::pin(Arc::clone(&self.0).run(panics))
    }
}
#[derive(Message)]
#[rtype(result = "u32")]
struct Alone;
impl Handler<Alone> for Busy {
    type Result = AtomicResponse<Self, u32>;
    fn handle(&mut self, _: Alone, _: &mut Context<Self>) -> Self::Result {
        let running = Arc::clone(&self.0);
        AtomicResponse::new(Box::pin(running.run(false).into_actor(self)))
    }
}

fn busy(running: &Arc<Running>) -> Props<Busy> {
    let running = Arc::clone(running);
    Props::new(move || Busy(Arc::clone(&running))).supervise(Strategy::restart())
}

#[actix::test]
async fn one_panic_among_a_hundred_asks_is_told_from_its_bystanders() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(busy(&Arc::default()), "busy");
    let asks = (0..100).map(|n| actor.ask(Work(n == 50), SECOND));
    let answers = futures_util::future::join_all(asks).await;
    for (n, answer) in (0..).zip(answers) {
        let error = if n == 50 {
            AskError::Failed
        } else {
            AskError::Interrupted
        };
        assert_eq!(answer, Err(error), "ask {n}");
    }
    assert_eq!(actor.report().restarts, 1);
}

#[actix::test]
async fn one_panic_among_a_hundred_futures_beside_the_actor_fails_that_ask_only() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(busy(&Arc::default()), "busy");
    let asks = (0..100).map(|n| actor.ask(Apart(n == 50), SECOND));
    let answers = futures_util::future::join_all(asks).await;
    for (n, answer) in (0..).zip(answers) {
        assert_eq!(answer.is_err(), n == 50, "ask {n}: {answer:?}");
    }
    assert_eq!(actor.report().restarts, 1);
}

#[actix::test]
async fn an_ask_in_work_when_its_actor_stops_or_fails_is_interrupted() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(busy(&Arc::default()), "busy");
    let (first, second, ()) = futures_util::join!(
        actor.ask(Work(false), SECOND),
        actor.ask(Alone, SECOND),
        async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            actor.stop();
        }
    );
    assert_eq!(first, Err(AskError::Interrupted));
    assert_eq!(second, Err(AskError::Interrupted));
}

#[actix::test]
async fn an_ask_whose_own_wait_hangs_has_failed() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let props = busy(&Arc::default()).hang_after(Duration::from_millis(5));
    let actor = system.spawn(props, "busy");
    let (bystander, culprit) =
        futures_util::join!(actor.ask(Work(false), SECOND), actor.ask(Alone, SECOND));
    assert_eq!(bystander, Err(AskError::Interrupted));
    assert_eq!(culprit, Err(AskError::Failed));
}

#[actix::test]
async fn no_more_answers_are_in_flight_than_the_maximum() {
    tokio::time::pause();
    for apart in [false, true] {
        let running = Arc::new(Running::default());
        let system = ActorSystem::new("test", 1);
        let props = busy(&running).mailbox(100).max_in_flight(7);
        let actor = system.spawn(props, "busy");
        let asks = (0..100).map(|_| async {
            if apart {
                actor.ask(Apart(false), 10 * SECOND).await
            } else {
                actor.ask(Work(false), 10 * SECOND).await
            }
        });
        let answers = futures_util::future::join_all(asks).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(running.most.load(SeqCst), 7);
    }
}

#[actix::test]
async fn the_mailbox_bounds_what_waits_behind_the_answers_in_flight() {
    tokio::time::pause();
    let running = Arc::new(Running::default());
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(busy(&running).mailbox(5).max_in_flight(1), "busy");
    assert!(actor.tell(Work(false)).is_enqueued());
    tokio::time::sleep(Duration::from_millis(1)).await;
    let taken = (0..20).filter(|_| actor.tell(Work(false)).is_enqueued());
    assert_eq!(taken.count(), 5);
    // A panic in flight gives its place back.
    tokio::time::sleep(SECOND).await;
    assert!(actor.tell(Work(true)).is_enqueued());
    tokio::time::sleep(SECOND).await;
    assert!(actor.ask(Work(false), SECOND).await.is_ok());
    assert_eq!(running.most.load(SeqCst), 2, "the panic kept its number");
}

/// The ask is looked at while the actor's end is under way, as another thread may.
#[actix::test]
async fn an_ask_that_waits_when_its_actor_stops_hears_so_at_whatever_moment() {
    type Asking = Pin<Box<dyn Future<Output = Result<u32, AskError>>>>;
    thread_local! {
        static ASKING: RefCell<Option<Asking>> = const { RefCell::new(None) };
        static HEARD: RefCell<Option<Result<u32, AskError>>> = const { RefCell::new(None) };
    }
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            let asking = ASKING.with(|asking| asking.borrow_mut().take());
            let Some(mut asking) = asking else { return };
            let mut task = Task::from_waker(Waker::noop());
            if let Poll::Ready(heard) = asking.as_mut().poll(&mut task) {
                HEARD.with(|slot| slot.replace(Some(heard)));
            }
        }
    }
    impl Handler<Last> for Counter {
        type Result = ();
        fn handle(&mut self, _: Last, _: &mut Context<Self>) {}
    }
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&Log::default()), "counter");
    let asked = actor.clone();
    let mut asking: Asking = Box::pin(async move { asked.ask(Add(1), SECOND).await });
    let mut task = Task::from_waker(Waker::noop());
    assert!(asking.as_mut().poll(&mut task).is_pending());
    ASKING.with(|slot| slot.replace(Some(asking)));
    assert!(actor.tell(Last).is_enqueued());
    actor.stop();
    actor.when_stopped().await;
    let heard = HEARD.with(|slot| slot.borrow_mut().take());
    assert_eq!(heard, Some(Err(AskError::Stopped)));
}

/// One thread spawns while another terminates and a third runs the actors: none may be alive once the system has
/// terminated.
#[actix::test]
async fn no_actor_is_spawned_past_a_termination() {
    let arbiter = actix_rt::Arbiter::new();
    let mut survivors = 0;
    for round in 0..200 {
        let system = ActorSystem::new("test", round);
        let start = Arc::new(Barrier::new(2));
        let spawner = {
            let (system, start, arbiter) = (system.clone(), Arc::clone(&start), arbiter.handle());
            thread::spawn(move || {
                start.wait();
                let mut actors: Vec<ActorRef<Counter>> = Vec::new();
                while !system.is_terminating() {
                    let props = counter(&Log::default()).on_arbiter(arbiter.clone());
                    actors.push(system.spawn(props, "counter"));
                }
                actors
            })
        };
        start.wait();
        system.terminate().await;
        let spawned = spawner.join().unwrap();
        survivors += spawned.iter().filter(|actor| actor.is_alive()).count();
    }
    arbiter.stop();
    assert_eq!(survivors, 0);
}

#[actix::test]
async fn a_child_spawned_by_the_stop_hook_has_stopped_from_the_beginning() {
    struct Late(Log);
    impl Actor for Late {
        type Context = Context<Self>;
        fn stopped(&mut self, ctx: &mut Context<Self>) {
            let child = ctx.spawn_child(counter(&self.0), "child");
            self.0.note(format!("alive {}", child.is_alive()));
        }
    }
    let log = Log::default();
    let late = log.clone();
    let system = ActorSystem::new("test", 1);
    system.spawn(Props::new(move || Late(late.clone())), "late");
    tokio::task::yield_now().await;
    system.terminate().await;
    assert_eq!(log.entries(), ["alive false"]);
    assert!(system.tree().is_empty());
}

#[actix::test]
async fn terminating_skips_the_hook_of_stopping_and_the_state_says_where_an_actor_is() {
    struct Told(Log);
    impl Actor for Told {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Context<Self>) {
            self.0.note(format!("{:?}", ctx.state()));
        }
        fn stopping(&mut self, ctx: &mut Context<Self>) -> actix::Running {
            self.0.note(format!("{:?}", ctx.state()));
            actix::Running::Stop
        }
        fn stopped(&mut self, ctx: &mut Context<Self>) {
            self.0.note(format!("{:?}", ctx.state()));
        }
    }
    #[derive(Message)]
    #[rtype(result = "()")]
    struct End(bool);
    impl Handler<End> for Told {
        type Result = ();
        fn handle(&mut self, End(at_once): End, ctx: &mut Context<Self>) {
            if at_once {
                ctx.terminate();
            } else {
                ActorContext::stop(ctx);
            }
        }
    }
    for (at_once, expected) in [
        (false, vec!["Running", "Stopping", "Stopped"]),
        (true, vec!["Running", "Stopped"]),
    ] {
        let log = Log::default();
        let told = log.clone();
        let system = ActorSystem::new("test", 1);
        let actor = system.spawn(Props::new(move || Told(told.clone())), "told");
        assert!(actor.tell(End(at_once)).is_enqueued());
        actor.when_stopped().await;
        assert_eq!(log.entries(), expected);
    }
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

#[actix::test]
async fn the_control_queue_has_a_bound_too() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    let taken = (0..100_000).filter(|_| actor.control(Note("x")).is_enqueued());
    assert_eq!(taken.count(), 65_536);
    actor.inform(Note("y"));
    assert_eq!(system.dead_letters(), 100_000 - 65_536 + 1);
}

#[actix::test]
async fn a_dead_actor_collects_no_signals() {
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&Log::default()), "counter");
    for _ in 0..100 {
        actor.stop();
    }
    assert!(actor.core.signals_waiting() <= 1);
    actor.when_stopped().await;
    for _ in 0..100 {
        actor.stop();
    }
    assert_eq!(actor.core.signals_waiting(), 0);
}
