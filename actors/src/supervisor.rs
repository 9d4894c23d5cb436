//! The root of the tree: starts what the service is made of and lets a failure that nobody below could
//! mend end the system with its reason.
//!
//! Not in the path of any call.

use actix::{Actor, Handler, Message};

use crate::system::{ActorRef, ActorSystem, Context, Directive, Fault, Props, Strategy};

type Spawn = Box<dyn FnOnce(&mut Context<Supervisor>) + Send>;

/// Has the supervisor start a child.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Adopt(Spawn);

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

impl Adopt {
    /// Makes the message from what to spawn and under which name.
    pub fn new<A>(props: Props<A>, name: impl Into<String>) -> Self
    where
        A: Actor<Context = Context<A>>,
    {
        let name = name.into();
        Self(Box::new(move |ctx| {
            ctx.spawn_child(props, &name);
        }))
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;
}

impl Handler<Adopt> for Supervisor {
    type Result = ();

    fn handle(&mut self, Adopt(spawn): Adopt, ctx: &mut Context<Self>) {
        spawn(ctx);
    }
}

impl std::fmt::Debug for Adopt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Adopt").finish()
    }
}
