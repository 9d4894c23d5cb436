//! Answers that are futures: their panics, their interruption, and the bound on those in flight.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context as Task, Poll, Waker},
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, AtomicResponse, Handler, Message, Response,
    ResponseActFuture, ResponseFuture, WrapFuture,
};
use futures_util::stream;

use super::counter::*;
use crate::system::*;

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
