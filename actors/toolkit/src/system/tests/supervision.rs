//! What follows a failure.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use actix::Actor;

use super::counter::*;
use crate::system::*;

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
async fn a_stop_that_comes_with_a_failure_is_not_undone_by_the_restart() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).supervise(Strategy::restart()), "counter");
    act(&actor, |_, ctx| {
        ctx.self_ref().stop();
        panic!("on purpose");
    });
    actor.when_stopped().await;
    assert_eq!(log.entries(), ["started", "stopped"]);
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
async fn the_hook_before_a_restart_sees_the_failed_state_and_its_panic_is_only_logged() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let props = counter(&log)
        .supervise(Strategy::restart())
        .before_restart(|actor, ctx, fault| {
            assert!(ctx.is_restarting());
            actor.log.note(format!("{} {fault}", actor.sum));
            panic!("in the hook");
        });
    let actor = system.spawn(props, "counter");
    assert_eq!(actor.ask(Add(5), SECOND).await, Ok(5));
    assert!(actor.tell(Fail).is_enqueued());
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    let expected = ["started", "5 on purpose", "stopped", "started"];
    assert_eq!(log.entries(), expected);
}

/// Notes how it ends.
struct Ending(Log);
impl Actor for Ending {
    type Context = Context<Self>;
    fn stopping(&mut self, _: &mut Context<Self>) -> actix::Running {
        self.0.note("stopping");
        actix::Running::Continue
    }
    fn stopped(&mut self, ctx: &mut Context<Self>) {
        self.0.note(format!("restarting: {}", ctx.is_restarting()));
    }
}
impl actix::Handler<Fail> for Ending {
    type Result = ();
    fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) {
        ctx.fail("on purpose");
    }
}

#[actix::test]
async fn stopped_can_tell_a_restart_from_an_end_which_stopping_cannot_refuse() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let shared = log.clone();
    let props = Props::new(move || Ending(shared.clone()));
    let actor = system.spawn(props.supervise(Strategy::restart()), "ending");
    assert!(actor.tell(Fail).is_enqueued());
    while actor.report().restarts == 0 {
        tokio::task::yield_now().await;
    }
    actor.stop();
    actor.when_stopped().await;
    let expected = ["restarting: true", "stopping", "restarting: false"];
    assert_eq!(log.entries(), expected);
}

/// T3: actix restarts an actor that ends at its start within one poll, for ever.
#[actix::test]
async fn an_actor_that_fails_for_ever_leaves_the_thread_to_others() {
    struct Failing;
    impl Actor for Failing {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Context<Self>) {
            assert!(ctx.self_ref().tell(Fail).is_enqueued());
        }
    }
    impl actix::Handler<Fail> for Failing {
        type Result = ();
        fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) {
            ctx.fail("on purpose");
        }
    }
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart().without_logging();
    let failing = system.spawn(Props::new(|| Failing).supervise(strategy), "failing");
    let sibling = system.spawn(counter(&Log::default()), "sibling");
    for n in 1..=100 {
        assert_eq!(sibling.ask(Add(1), SECOND).await, Ok(n));
    }
    // tokio gives each ready task some sixty turns for one of ours, and a restart takes one turn at least.
    let restarts = failing.report().restarts;
    assert!((1..10_000).contains(&restarts), "{restarts} restarts");
    failing.stop();
    failing.when_stopped().await;
}

async fn starts(strategy: Strategy, failures: u32) -> (u32, bool) {
    let system = ActorSystem::new("test", 1);
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let props = Props::try_new(move || {
        if count.fetch_add(1, SeqCst) < failures {
            return Err(std::io::Error::other("not yet"));
        }
        Ok(Ending(Log::default()))
    });
    let actor = system.spawn(props.supervise(strategy), "a");
    tokio::time::sleep(3600 * SECOND).await;
    (made.load(SeqCst), actor.is_alive())
}

#[actix::test]
async fn a_factory_that_fails_is_a_failed_start_that_a_limit_or_a_backoff_tries_again() {
    tokio::time::pause();
    let limited = |n| Strategy::restart().with_limit(n, 60 * SECOND);
    let backoff = Strategy::restart().with_backoff(SECOND, 8 * SECOND);
    assert_eq!(starts(Strategy::restart(), 1).await, (1, false));
    assert_eq!(starts(Strategy::resume(), 1).await, (1, false));
    assert_eq!(starts(limited(1), 1).await, (1, false));
    assert_eq!(starts(limited(3), 1).await, (2, true));
    assert_eq!(starts(limited(2), 20).await, (3, false));
    assert_eq!(starts(backoff, 5).await, (6, true));
    let other = Strategy::restart()
        .on::<std::fmt::Error>()
        .with_backoff(SECOND, SECOND);
    assert_eq!(starts(other, 1).await, (1, false));
}

#[actix::test]
async fn an_actor_that_stops_itself_at_its_start_stays_stopped_whatever_its_strategy() {
    struct Brief(Arc<AtomicU32>);
    impl Actor for Brief {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Context<Self>) {
            self.0.fetch_add(1, SeqCst);
            ctx.stop();
        }
    }
    let backoff = Strategy::restart().with_backoff(SECOND, SECOND);
    for strategy in [Strategy::resume(), Strategy::restart(), backoff] {
        let system = ActorSystem::new("test", 1);
        let made = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&made);
        let props = Props::new(move || Brief(Arc::clone(&count)));
        let actor = system.spawn(props.supervise(strategy), "brief");
        actor.when_stopped().await;
        assert_eq!(made.load(SeqCst), 1);
    }
}

#[actix::test]
async fn a_panic_in_a_piped_future_is_the_actors_failure_or_a_message_as_it_chose() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart().when(|fault| matches!(fault, Fault::Task(_)));
    let actor = system.spawn(counter(&log).supervise(strategy), "counter");
    act(&actor, |_, ctx| {
        ctx.try_pipe_to_self(async { panic!("as a value") }, |result: Result<(), _>| {
            assert_eq!(result, Err(TaskPanicked("as a value".into())));
            Note("told")
        });
        ctx.pipe_to_self(async { panic!("as a failure") }, |()| Note("never"));
    });
    while actor.report().restarts == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    let mut entries = log.entries();
    entries.sort_unstable();
    assert_eq!(entries, ["started", "started", "stopped", "told"]);
}

#[actix::test]
async fn a_panic_in_a_former_instances_future_fails_nobody() {
    let system = ActorSystem::new("test", 1);
    let props = counter(&Log::default()).supervise(Strategy::restart());
    let actor = system.spawn(props, "counter");
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    act(&actor, |_, ctx| {
        let panics = async move {
            released.await.ok();
            panic!("too late");
        };
        ctx.pipe_to_self(panics, |()| Note("never"));
        ctx.fail("on purpose");
    });
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    assert!(release.send(()).is_ok());
    for n in 2..10 {
        assert_eq!(actor.ask(Add(1), SECOND).await, Ok(n));
    }
    assert_eq!(actor.report().restarts, 1);
}

#[actix::test]
async fn a_panic_in_the_strategy_itself_stops_the_actor() {
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::decide(|_| panic!("in the strategy"));
    let actor = system.spawn(counter(&Log::default()).supervise(strategy), "counter");
    assert!(actor.tell(Fail).is_enqueued());
    actor.when_stopped().await;
}

#[actix::test]
async fn a_failure_may_be_reported_from_a_result() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart().on::<std::num::ParseIntError>();
    let actor = system.spawn(counter(&log).supervise(strategy), "counter");
    act(&actor, |actor, ctx| {
        actor.sum = ctx.ok_or_fail("7".parse()).unwrap();
        assert_eq!(ctx.ok_or_fail("x".parse::<u32>()), None);
    });
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    assert_eq!(actor.report().restarts, 1);
}

#[actix::test]
async fn a_reset_of_the_backoff_lets_it_start_over() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart()
        .with_backoff(SECOND, 60 * SECOND)
        .with_manual_reset()
        .with_jitter(0.0);
    let actor = system.spawn(counter(&Log::default()).supervise(strategy), "counter");
    let mut waits = Vec::new();
    for reset in [false, false, true] {
        act(&actor, move |_, ctx| {
            if reset {
                ctx.reset_backoff();
            }
        });
        let start = tokio::time::Instant::now();
        assert!(actor.tell(Fail).is_enqueued());
        assert_eq!(actor.ask(Add(1), 90 * SECOND).await, Ok(1));
        waits.push(start.elapsed().as_secs());
    }
    assert_eq!(waits, [1, 2, 1]);
}

#[actix::test]
async fn drops_that_panic_end_neither_the_process_nor_the_order_of_things() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    struct Fragile(Bomb);
    impl Actor for Fragile {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Context<Self>) {
            use actix::{AsyncContext, WrapFuture};
            for _ in 0..2 {
                let bomb = Bomb;
                let future = async move {
                    std::future::pending::<()>().await;
                    drop(bomb);
                };
                ctx.spawn(future.into_actor(self));
            }
        }
        fn stopped(&mut self, _: &mut Context<Self>) {
            panic!("in stopped");
        }
    }
    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Carries(Bomb);
    impl actix::Handler<Carries> for Fragile {
        type Result = ();
        fn handle(&mut self, Carries(bomb): Carries, _: &mut Context<Self>) {
            std::mem::forget(bomb);
        }
    }
    impl actix::Handler<Fail> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) {
            ctx.fail("on purpose");
        }
    }
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart().with_limit(1, SECOND);
    let props = Props::new(|| Fragile(Bomb)).supervise(strategy);
    let fragile = system.spawn(props, "fragile");
    let watcher = system.spawn(counter(&log), "watcher");
    let watched = fragile.clone();
    act(&watcher, move |_, ctx| ctx.watch(&watched));
    assert_eq!(watcher.ask(Add(1), SECOND).await, Ok(1));
    assert!(fragile.tell(Fail).is_enqueued());
    assert!(fragile.tell(Carries(Bomb)).is_enqueued());
    assert!(fragile.tell(Fail).is_enqueued());
    assert!(fragile.tell(Carries(Bomb)).is_enqueued());
    assert!(fragile.tell(Carries(Bomb)).is_enqueued());
    fragile.when_stopped().await;
    assert_eq!(watcher.ask(Add(1), SECOND).await, Ok(2));
    let expected = ["started", "/user/fragile failed: on purpose"];
    assert_eq!(log.entries(), expected);
    assert_eq!(system.dead_letters(), 2);
}
