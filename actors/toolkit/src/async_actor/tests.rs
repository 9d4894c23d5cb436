//! `async` handlers, in turn and taking turns.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Message};
use tokio::time::{Instant, sleep};

use super::*;
use crate::{ActorSystem, AskError, Context, Props, Strategy};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }
    fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Adds to the sum before and after a wait, and answers with the sum.
#[derive(Message)]
#[rtype(result = "u32")]
struct Add(u32, Duration);
/// Adds one, waits, and panics.
#[derive(Message)]
#[rtype(result = "u32")]
struct Panic;
/// Asks its own actor for the sum.
#[derive(Message)]
#[rtype(result = "Result<u32, AskError>")]
struct AskItself;
#[derive(Message)]
#[rtype(result = "String")]
struct SpawnChild;
#[derive(Message)]
#[rtype(result = "()")]
struct FailAfterwards;

/// Not `Send`, as `awc`'s client is not.
struct Sum {
    sum: Rc<Cell<u32>>,
    log: Log,
}

impl Sum {
    fn new(log: &Log) -> Self {
        Self {
            sum: Rc::default(),
            log: log.clone(),
        }
    }
    fn add(&mut self, number: u32) -> u32 {
        self.sum.set(self.sum.get() + number);
        self.sum.get()
    }
}

/// Notes that it was dropped.
struct Dropped(Log);
impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}

struct Child;
impl Actor for Child {
    type Context = Context<Self>;
}

impl AsyncActor for Sum {
    async fn started(&mut self, scope: &Scope<Async<Self>>) {
        sleep(SECOND).await;
        self.log.note(format!("started {}", scope.path()));
    }
    fn stopped(&mut self, _: &mut Context<Async<Self>>) {
        self.log.note(format!("stopped with {}", self.sum.get()));
    }
}

impl AsyncHandler<Add> for Sum {
    async fn handle(&mut self, Add(number, wait): Add, _: &Scope<Async<Self>>) -> u32 {
        let _dropped = Dropped(self.log.clone());
        self.add(number);
        sleep(wait).await;
        self.add(number)
    }
}

impl AsyncHandler<Panic> for Sum {
    async fn handle(&mut self, _: Panic, _: &Scope<Async<Self>>) -> u32 {
        self.add(1);
        sleep(SECOND).await;
        panic!("on purpose");
    }
}

impl AsyncHandler<AskItself> for Sum {
    async fn handle(&mut self, _: AskItself, scope: &Scope<Async<Self>>) -> Result<u32, AskError> {
        let myself = scope.self_ref();
        myself.ask(Add(0, Duration::ZERO), SECOND).await
    }
}

impl AsyncHandler<SpawnChild> for Sum {
    async fn handle(&mut self, _: SpawnChild, scope: &Scope<Async<Self>>) -> String {
        let props = Props::new(|| Child);
        let child = scope.run(|ctx| ctx.spawn_child(props, "child")).await;
        child.path().to_owned()
    }
}

impl AsyncHandler<FailAfterwards> for Sum {
    async fn handle(&mut self, _: FailAfterwards, scope: &Scope<Async<Self>>) {
        self.add(10);
        scope.fail("on purpose");
        sleep(SECOND).await;
        self.log.note("not reached");
    }
}

impl ReentrantActor for Sum {}

impl ReentrantHandler<Add> for Sum {
    async fn handle(this: Shared<Self>, Add(number, wait): Add) -> u32 {
        this.with(|sum| sum.add(number));
        sleep(wait).await;
        this.with(|sum| sum.add(number))
    }
}

impl ReentrantHandler<AskItself> for Sum {
    async fn handle(this: Shared<Self>, _: AskItself) -> Result<u32, AskError> {
        let myself = this.scope().self_ref();
        myself.ask(Add(0, Duration::ZERO), SECOND).await
    }
}

fn serial(log: &Log) -> Props<Async<Sum>> {
    let log = log.clone();
    Async::props(move || Sum::new(&log))
}

fn reentrant(handlers: usize) -> Props<Reentrant<Sum>> {
    Reentrant::props(handlers, || Sum::new(&Log::default()))
}

#[actix::test]
async fn a_handler_keeps_its_state_across_an_await_and_the_next_message_waits() {
    tokio::time::pause();
    let log = Log::default();
    let sum = ActorSystem::new("test", 1).spawn(serial(&log), "sum");
    let (first, second) = tokio::join!(
        sum.ask(Add(1, SECOND), 10 * SECOND),
        sum.ask(Add(10, SECOND), 10 * SECOND),
    );
    assert_eq!((first, second), (Ok(2), Ok(22)));
    assert_eq!(log.entries(), ["started /user/sum", "dropped", "dropped"]);
}

#[actix::test]
async fn the_asynchronous_start_ends_before_the_first_message() {
    tokio::time::pause();
    let sum = ActorSystem::new("test", 1).spawn(serial(&Log::default()), "sum");
    let begun = Instant::now();
    let answer = sum.ask(Add(1, Duration::ZERO), 10 * SECOND).await;
    assert_eq!(answer, Ok(2));
    assert!(begun.elapsed() >= SECOND);
}

#[actix::test]
async fn a_panic_behind_an_await_restarts_with_fresh_state_and_keeps_the_mailbox() {
    tokio::time::pause();
    let log = Log::default();
    let props = serial(&log).supervise(Strategy::restart());
    let sum = ActorSystem::new("test", 1).spawn(props, "sum");
    let (panicked, next) = tokio::join!(
        sum.ask(Panic, 10 * SECOND),
        sum.ask(Add(3, Duration::ZERO), 10 * SECOND),
    );
    assert_eq!((panicked, next), (Err(AskError::Failed), Ok(6)));
    assert!(log.entries().contains(&"stopped with 1".to_owned()));
}

#[actix::test]
async fn resuming_keeps_what_the_handler_did_before_its_panic() {
    tokio::time::pause();
    let props = serial(&Log::default()).supervise(Strategy::resume());
    let sum = ActorSystem::new("test", 1).spawn(props, "sum");
    assert_eq!(sum.ask(Panic, 10 * SECOND).await, Err(AskError::Failed));
    let answer = sum.ask(Add(1, Duration::ZERO), 10 * SECOND).await;
    assert_eq!(answer, Ok(3));
}

#[actix::test]
async fn a_stop_drops_the_handler_before_the_stop_hook_sees_the_state() {
    tokio::time::pause();
    let log = Log::default();
    let sum = ActorSystem::new("test", 1).spawn(serial(&log), "sum");
    let stop = async {
        sleep(2 * SECOND).await;
        sum.stop();
        sum.when_stopped().await;
    };
    let (answer, ()) = tokio::join!(sum.ask(Add(1, 60 * SECOND), 90 * SECOND), stop);
    assert_eq!(answer, Err(AskError::Interrupted));
    let expected = ["started /user/sum", "dropped", "stopped with 1"];
    assert_eq!(log.entries(), expected);
}

#[actix::test]
async fn a_handler_that_hangs_is_dropped_and_the_actor_goes_on() {
    tokio::time::pause();
    let props = serial(&Log::default())
        .supervise(Strategy::resume())
        .hang_after(5 * SECOND);
    let sum = ActorSystem::new("test", 1).spawn(props, "sum");
    let hung = sum.ask(Add(1, 60 * SECOND), 90 * SECOND).await;
    assert!(hung.is_err(), "{hung:?}");
    let answer = sum.ask(Add(1, Duration::ZERO), 10 * SECOND).await;
    assert_eq!(answer, Ok(3));
}

#[actix::test]
async fn a_handler_uses_the_context_and_has_its_result() {
    tokio::time::pause();
    let sum = ActorSystem::new("test", 1).spawn(serial(&Log::default()), "sum");
    let path = sum.ask(SpawnChild, 10 * SECOND).await;
    assert_eq!(path.as_deref(), Ok("/user/sum/child"));
}

#[actix::test]
async fn a_failure_that_a_handler_reports_ends_it_at_its_next_await() {
    tokio::time::pause();
    let log = Log::default();
    let props = serial(&log).supervise(Strategy::restart());
    let sum = ActorSystem::new("test", 1).spawn(props, "sum");
    assert!(sum.ask(FailAfterwards, 10 * SECOND).await.is_err());
    let answer = sum.ask(Add(1, Duration::ZERO), 10 * SECOND).await;
    assert_eq!(answer, Ok(2));
    assert!(!log.entries().contains(&"not reached".to_owned()));
}

#[actix::test]
async fn reentrant_handlers_take_turns_up_to_their_number() {
    tokio::time::pause();
    let sum = ActorSystem::new("test", 1).spawn(reentrant(2), "sum");
    let begun = Instant::now();
    let (first, second, third) = tokio::join!(
        sum.ask(Add(1, SECOND), 10 * SECOND),
        sum.ask(Add(10, SECOND), 10 * SECOND),
        sum.ask(Add(100, SECOND), 10 * SECOND),
    );
    // The first two run at the same time, the third behind them.
    assert_eq!((first, second), (Ok(12), Ok(22)));
    assert!(matches!(third, Ok(222)), "{third:?}");
    assert_eq!(begun.elapsed().as_secs(), 2);
}

#[actix::test]
async fn an_actor_that_asks_itself_waits_in_vain_unless_it_is_reentrant() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let one = system.spawn(serial(&Log::default()), "one");
    let several = system.spawn(reentrant(2), "several");
    let asked = one.ask(AskItself, 10 * SECOND).await;
    assert_eq!(asked, Ok(Err(AskError::TimedOut)));
    assert_eq!(several.ask(AskItself, 10 * SECOND).await, Ok(Ok(0)));
}

#[test]
fn a_system_with_a_thread_runs_under_tokio_main_and_on_plain_threads() {
    let system = ActorSystem::with_thread("test", 1).unwrap();
    let sum = system.spawn(reentrant(2), "sum");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let answer = runtime.block_on(async {
        let other = system.spawn(reentrant(1), "other");
        other.ask(Add(2, Duration::ZERO), 60 * SECOND).await
    });
    assert_eq!(answer, Ok(4));
    let answer = sum.ask_blocking(Add(1, Duration::ZERO), 60 * SECOND);
    assert_eq!(answer, Ok(2));
    runtime.block_on(system.terminate());
}
