//! What a stop and a termination end, and what they leave.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use actix::{Actor, ActorContext, Handler, Message};

use super::counter::*;
use crate::system::*;

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
