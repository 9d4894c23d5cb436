//! The root of the actor tree: it starts the actors that the service is made of.
//!
//! A bulkhead: a child whose restarts are used up stops, and neither this actor nor another child stops with it. It is
//! not on the path of any call.

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn, Strategy};

/// The root actor.
#[derive(Debug, Default)]
pub struct Supervisor;

impl Supervisor {
    /// Spawns the root as `/user/supervisor`.
    pub fn spawn(system: &ActorSystem) -> ActorRef<Self> {
        // A child that escalates has stopped by then. Whatever the fault is, this actor goes on.
        let props = Props::new(Self::default).supervise(Strategy::resume());
        system.spawn(props, "supervisor")
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Supervisor {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::Message;

    use super::*;

    /// Has a child fail for good.
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    /// Asks a child whether it lives.
    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Ping;

    struct Child;

    impl Actor for Child {
        type Context = Context<Self>;
    }

    impl Handler<Panic> for Child {
        type Result = ();

        fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
            panic!("as the test says");
        }
    }

    impl Handler<Ping> for Child {
        type Result = u32;

        fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> u32 {
            7
        }
    }

    #[actix::test]
    async fn a_child_that_escalates_is_stopped_and_the_others_serve_on() {
        tokio::time::pause();
        let system = ActorSystem::new("test", 7);
        let supervisor = Supervisor::spawn(&system);
        let spawn = async |name: &str| {
            let props = Props::new(|| Child).supervise(Strategy::escalate());
            Spawn::ask(&supervisor, props, name).await.unwrap()
        };
        let steady = spawn("steady").await;
        for round in 0..50 {
            let failing = spawn(&format!("failing-{round}")).await;
            assert!(failing.tell(Panic).is_enqueued());
            failing.when_stopped().await;
        }
        let answer = steady.ask(Ping, Duration::from_secs(1)).await;
        assert_eq!(answer.unwrap(), 7);
        assert!(supervisor.is_alive());
        let failed = tokio::time::timeout(Duration::from_mins(1), system.when_failed()).await;
        assert!(failed.is_err(), "the system failed: {failed:?}");
    }
}
