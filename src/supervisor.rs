//! The root of the actor tree: it starts what the service is made of.
//!
//! A child whose own restarts are used up escalates to this actor, which lets the system end with the reason. It is not on
//! the path of any call.

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Directive, Fault, Props, Spawn, Strategy};

/// The root actor.
#[derive(Debug, Default)]
pub struct Supervisor;

impl Supervisor {
    /// Spawns the root as `/user/supervisor`.
    pub fn spawn(system: &ActorSystem) -> ActorRef<Self> {
        let strategy = Strategy::decide(|fault| match fault {
            // A child escalates only when its own restarts are used up.
            Fault::Child { .. } => Directive::Escalate,
            _ => Directive::Resume,
        });
        system.spawn(Props::new(Self::default).supervise(strategy), "supervisor")
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
