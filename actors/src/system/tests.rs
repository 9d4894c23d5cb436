use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, AsyncContext, Handler, Message};

use super::*;

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

#[derive(Message)]
#[rtype(result = "u32")]
struct Add(u32);
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Note(&'static str);
#[derive(Message)]
#[rtype(result = "()")]
struct Panic;
#[derive(Message)]
#[rtype(result = "()")]
struct Fail;
#[derive(Message)]
#[rtype(result = "()")]
struct Do(Act);
type Act = Box<dyn FnOnce(&mut Counter, &mut Context<Counter>) + Send>;

struct Counter {
    sum: u32,
    log: Log,
}

impl Actor for Counter {
    type Context = Context<Self>;
    fn started(&mut self, _: &mut Context<Self>) {
        self.log.note("started");
    }
    fn stopped(&mut self, _: &mut Context<Self>) {
        self.log.note("stopped");
    }
}

impl Handler<Add> for Counter {
    type Result = u32;
    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u32 {
        self.sum += n;
        self.sum
    }
}
impl Handler<Note> for Counter {
    type Result = ();
    fn handle(&mut self, Note(text): Note, _: &mut Context<Self>) {
        self.log.note(text);
    }
}
impl Handler<Panic> for Counter {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}
impl Handler<Fail> for Counter {
    type Result = ();
    fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) {
        ctx.fail("on purpose");
    }
}
impl Handler<Do> for Counter {
    type Result = ();
    fn handle(&mut self, Do(act): Do, ctx: &mut Context<Self>) {
        act(self, ctx);
    }
}
impl Handler<Terminated> for Counter {
    type Result = ();
    fn handle(&mut self, terminated: Terminated, _: &mut Context<Self>) {
        self.log
            .note(format!("{} {}", terminated.path, terminated.cause));
    }
}

fn counter(log: &Log) -> Props<Counter> {
    let log = log.clone();
    Props::new(move || Counter {
        sum: 0,
        log: log.clone(),
    })
}

const SECOND: Duration = Duration::from_secs(1);

fn act(
    actor: &ActorRef<Counter>,
    act: impl FnOnce(&mut Counter, &mut Context<Counter>) + Send + 'static,
) {
    assert!(actor.tell(Do(Box::new(act))).is_enqueued());
}

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
async fn the_mailbox_is_bounded_whoever_sends() {
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&Log::default()).mailbox(4), "counter");
    let offers: Vec<_> = (0..20).map(|_| actor.clone().tell(Note("x"))).collect();
    assert_eq!(offers.iter().filter(|offer| offer.is_enqueued()).count(), 4);
    assert_eq!(actor.ask(Add(1), SECOND).await, Err(AskError::MailboxFull));
    assert!(actor.control(Note("control")).is_enqueued());
}

#[actix::test]
async fn a_restart_after_a_panic_keeps_the_mailbox_and_loses_the_failing_message_and_the_state() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).supervise(Strategy::restart()), "counter");
    assert_eq!(actor.ask(Add(5), SECOND).await, Ok(5));
    assert!(actor.tell(Panic).is_enqueued());
    assert!(actor.tell(Note("kept")).is_enqueued());
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    assert_eq!(log.entries(), ["started", "stopped", "started", "kept"]);
    assert_eq!(system.tree()[0].restarts, 1);
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
async fn resume_keeps_the_state() {
    let system = ActorSystem::new("test", 1);
    let props = counter(&Log::default()).supervise(Strategy::resume());
    let actor = system.spawn(props, "counter");
    assert_eq!(actor.ask(Add(5), SECOND).await, Ok(5));
    assert!(actor.tell(Panic).is_enqueued());
    assert!(actor.tell(Fail).is_enqueued());
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(6));
}

#[actix::test]
async fn one_failure_too_many_in_the_window_stops_the_actor() {
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart().with_limit(2, SECOND);
    let actor = system.spawn(counter(&Log::default()).supervise(strategy), "counter");
    for _ in 0..2 {
        assert!(actor.tell(Fail).is_enqueued());
    }
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    assert!(actor.tell(Fail).is_enqueued());
    actor.when_stopped().await;
}

#[actix::test]
async fn backoff_doubles_and_messages_wait_meanwhile() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart()
        .with_backoff(SECOND, 60 * SECOND)
        .with_jitter(0.0);
    let actor = system.spawn(counter(&Log::default()).supervise(strategy), "counter");
    for expected in [1, 2, 4] {
        let start = tokio::time::Instant::now();
        assert!(actor.tell(Fail).is_enqueued());
        assert_eq!(actor.ask(Add(1), 90 * SECOND).await, Ok(1));
        assert_eq!(start.elapsed().as_secs(), expected);
    }
}

#[actix::test]
async fn children_stop_before_their_parent_and_at_its_restart() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).supervise(Strategy::restart()), "parent");
    let child_log = log.clone();
    act(&actor, move |_, ctx| {
        struct Child(Log);
        impl Actor for Child {
            type Context = Context<Self>;
            fn stopped(&mut self, ctx: &mut Context<Self>) {
                self.0.note(ctx.path());
            }
        }
        ctx.spawn_child(Props::new(move || Child(child_log.clone())), "child");
    });
    assert!(actor.tell(Fail).is_enqueued());
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    assert_eq!(
        log.entries(),
        ["started", "/user/parent/child", "stopped", "started"]
    );
}

#[actix::test]
async fn a_watcher_hears_once_with_the_cause_and_not_at_a_restart() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let watcher = system.spawn(counter(&log), "watcher");
    let strategy = Strategy::restart().with_limit(1, SECOND);
    let watched = system.spawn(counter(&Log::default()).supervise(strategy), "watched");
    let target = watched.clone();
    act(&watcher, move |_, ctx| {
        ctx.watch(&target);
        ctx.watch(&target);
    });
    assert_eq!(watcher.ask(Add(0), SECOND).await, Ok(0));
    assert!(watched.tell(Fail).is_enqueued());
    assert_eq!(watched.ask(Add(1), SECOND).await, Ok(1));
    assert_eq!(log.entries(), ["started"]);
    assert!(watched.tell(Fail).is_enqueued());
    watched.when_stopped().await;
    assert_eq!(watcher.ask(Add(0), SECOND).await, Ok(0));
    assert_eq!(
        log.entries(),
        ["started", "/user/watched failed: on purpose"]
    );
}

#[actix::test]
async fn timers_fire_by_key_and_a_cancelled_one_never_does() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |_, ctx| {
        ctx.start_timer("a", Note("replaced"), SECOND);
        ctx.start_timer("a", Note("a"), 2 * SECOND);
        ctx.start_timer("b", Note("cancelled"), SECOND);
        ctx.cancel_timer("b");
        ctx.start_timer_with_fixed_delay("c", Note("c"), SECOND);
    });
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(log.entries(), ["started", "c", "a", "c"]);
}

/// Tells itself to go on, for ever.
#[derive(Message)]
#[rtype(result = "()")]
struct Spin;
impl Handler<Spin> for Counter {
    type Result = ();
    fn handle(&mut self, _: Spin, ctx: &mut Context<Self>) {
        self.sum += 1;
        assert!(ctx.self_ref().tell(Spin).is_enqueued());
    }
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

#[actix::test]
async fn an_ask_that_was_dropped_is_skipped() {
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&Log::default()), "counter");
    assert!(futures_util::FutureExt::now_or_never(actor.ask(Add(7), SECOND),).is_none());
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
}

#[actix::test]
async fn a_panicking_stopped_does_not_end_the_process() {
    struct Bad;
    impl Actor for Bad {
        type Context = Context<Self>;
        fn started(&mut self, _: &mut Context<Self>) {
            panic!("in started");
        }
        fn stopped(&mut self, _: &mut Context<Self>) {
            panic!("in stopped");
        }
    }
    let system = ActorSystem::new("test", 1);
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let strategy = Strategy::restart().with_limit(2, SECOND);
    let props = Props::new(move || {
        count.fetch_add(1, SeqCst);
        Bad
    });
    let bad = system.spawn(props.supervise(strategy), "bad");
    bad.when_stopped().await;
    assert_eq!(made.load(SeqCst), 3);
}

#[actix::test]
async fn an_escalated_failure_fails_the_parent_and_at_the_top_the_system() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::decide(|fault| match fault {
        Fault::Child { .. } => Directive::Escalate,
        _ => Directive::Stop,
    });
    let parent = system.spawn(counter(&log).supervise(strategy), "parent");
    act(&parent, |_, ctx| {
        let child = ctx.spawn_child(
            counter(&Log::default()).supervise(Strategy::escalate()),
            "child",
        );
        assert!(child.tell(Fail).is_enqueued());
    });
    let said = system.when_failed().await;
    assert_eq!(
        said,
        "`/user/parent`: child `/user/parent/child` failed: on purpose"
    );
    parent.when_stopped().await;
}

#[actix::test]
async fn termination_stops_the_last_spawned_first_on_every_thread() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let arbiter = actix_rt::Arbiter::new();
    for name in ["a", "b"] {
        struct Named(Log, &'static str);
        impl Actor for Named {
            type Context = Context<Self>;
            fn stopped(&mut self, _: &mut Context<Self>) {
                self.0.note(self.1);
            }
        }
        let log = log.clone();
        let props = Props::new(move || Named(log.clone(), name));
        system.spawn(props.on_arbiter(arbiter.handle()), name);
    }
    system.terminate().await;
    assert_eq!(log.entries(), ["b", "a"]);
    assert!(system.tree().is_empty());
    arbiter.stop();
}
