//! Parents, children, names and the end of the system.

use actix::Actor;

use super::counter::*;
use crate::system::*;

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

fn named(log: &Log, children: &'static [&'static str]) -> Props<Named> {
    let log = log.clone();
    Props::new(move || Named(log.clone(), children))
}

/// Notes its path when it stops.
struct Named(Log, &'static [&'static str]);
impl Actor for Named {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        for name in self.1 {
            ctx.spawn_child(named(&self.0, &[]), name);
        }
    }
    fn stopped(&mut self, ctx: &mut Context<Self>) {
        self.0.note(ctx.path());
    }
}

#[actix::test]
async fn a_termination_says_who_stopped_in_which_order_to_all_who_asked_for_it() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    system.spawn(named(&log, &["x", "y"]), "a");
    system.spawn(named(&log, &[]), "b");
    tokio::task::yield_now().await;
    let (first, second) = tokio::join!(system.terminate(), system.terminate());
    assert_eq!(first, second);
    let paths: Vec<_> = first.stopped.iter().map(ToString::to_string).collect();
    assert_eq!(paths, log.entries());
    let below: Vec<_> = paths
        .iter()
        .filter(|path| path.starts_with("/user/a/"))
        .collect();
    assert_eq!(
        (below.len(), &*paths[0], &*paths[3]),
        (2, "/user/b", "/user/a")
    );
    assert!(first.cut_off.is_empty());
    assert_eq!(system.terminate().await, first, "it may be called again");
    system.when_terminated().await;
}

#[actix::test]
async fn what_is_spawned_after_the_termination_has_stopped_from_the_beginning() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    assert!(!system.is_terminating());
    system.terminate().await;
    let late = system.spawn(named(&log, &[]), "late");
    late.when_stopped().await;
    assert!(system.tree().is_empty() && log.entries().is_empty());
}

#[actix::test]
async fn a_termination_in_time_names_who_blocks_its_thread() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let arbiter = actix_rt::Arbiter::new();
    let actor = system.spawn(counter(&log).on_arbiter(arbiter.handle()), "blocked");
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    act(&actor, move |_, _| {
        begin.send(()).unwrap();
        assert!(blocked.recv().is_err());
    });
    // A stop that came before the message would be served first.
    begun.recv().unwrap();
    let termination = system.terminate_within(SECOND).await;
    assert_eq!(&*termination.cut_off[0], "/user/blocked");
    drop(release);
    let termination = system.terminate().await;
    assert_eq!(&*termination.stopped[0], "/user/blocked");
    arbiter.stop();
}

#[actix::test]
async fn names_are_steps_of_a_path_and_each_is_borne_once() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let spawn = |name| system.spawn(named(&log, &[]), name).path().to_owned();
    assert_eq!(spawn("a"), "/user/a");
    let second = spawn("a");
    assert!(second.starts_with("/user/a-"), "{second}");
    assert_eq!(spawn("org/model"), "/user/org%2Fmodel");
    let unnamed = [spawn(""), spawn("")];
    assert!(
        unnamed[0].starts_with("/user/$") && unnamed[0] != unnamed[1],
        "{unnamed:?}"
    );
    let [one, two] = [(); 2].map(|()| system.spawn_anonymous(named(&log, &[])));
    assert_ne!(one.path(), two.path());
    one.stop();
    one.when_stopped().await;
    let children = system.spawn(counter(&log), "parent");
    act(&children, |_, ctx| {
        let [one, two] = [(); 2].map(|()| ctx.spawn_anonymous_child(counter(&Log::default())));
        assert_ne!(one.path(), two.path());
        assert_eq!(ctx.children().count(), 2);
    });
    assert_eq!(children.ask(Add(0), SECOND).await, Ok(0));
}

#[actix::test]
async fn an_actor_whose_thread_is_gone_before_it_starts_is_lost_and_not_alive_for_ever() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let arbiter = actix_rt::Arbiter::new();
    let handle = arbiter.handle();
    arbiter.stop();
    assert!(arbiter.join().is_ok());
    let lost = system.spawn(named(&log, &[]).on_arbiter(handle), "lost");
    lost.when_stopped().await;
    assert!(system.tree().is_empty());
}

#[actix::test]
async fn children_are_kept_at_a_restart_if_the_strategy_says_so() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart().keep_children();
    let parent = system.spawn(counter(&log).supervise(strategy), "parent");
    act(&parent, |_, ctx| {
        let child = ctx.spawn_child(counter(&Log::default()), "child");
        assert!(child.tell(Add(5)).is_enqueued());
    });
    assert!(parent.tell(Fail).is_enqueued());
    act(&parent, |actor, ctx| {
        let child = ctx.child::<Counter>("child").unwrap();
        assert!(ctx.child::<Named>("child").is_none());
        let log = actor.log.clone();
        ctx.pipe_to_self(async move { child.ask(Add(1), SECOND).await }, move |sum| {
            log.note(format!("{sum:?}"));
            Note("asked")
        });
    });
    while log.entries().last().is_none_or(|entry| entry != "asked") {
        tokio::task::yield_now().await;
    }
    let expected = ["started", "stopped", "started", "Ok(6)", "asked"];
    assert_eq!(log.entries(), expected);
    parent.stop();
    parent.when_stopped().await;
    assert!(system.tree().is_empty());
}

#[actix::test]
async fn handled_messages_are_counted_and_the_count_outlives_a_restart() {
    let system = ActorSystem::new("test", 1);
    let props = counter(&Log::default()).supervise(Strategy::restart());
    let actor = system.spawn(props, "counter");
    for expected in 1..=3 {
        assert_eq!(actor.ask(Add(1), SECOND).await, Ok(expected));
    }
    assert!(actor.tell(Fail).is_enqueued());
    assert_eq!(actor.ask(Add(1), SECOND).await, Ok(1));
    let report = system.tree().remove(0);
    // The answer of an ask is sent before its handler has been counted on the way out.
    tokio::task::yield_now().await;
    assert_eq!(report.restarts, 1);
    assert_eq!(actor.report().handled, 5);
}
