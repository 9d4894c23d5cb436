//! The root of the tree: starts what the service is made of and lets a failure that nobody below could
//! mend end the system with its reason.
//!
//! Not in the path of any call.

use std::time::Duration;

use actix::{Actor, Handler, Message};

use tokio::sync::oneshot;

use crate::system::{ActorRef, ActorSystem, AskError, Context, Directive, Fault, Props, Strategy};

/// Time within which the supervisor, which never works for long, must have started a child.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Has the supervisor start a child and returns the reference to it.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub async fn ask<A>(
        supervisor: &ActorRef<Supervisor>,
        props: Props<A>,
        name: impl Into<String>,
    ) -> Result<ActorRef<A>, AskError>
    where
        A: Actor<Context = Context<A>>,
    {
        let name = name.into();
        let (answer, child) = oneshot::channel();
        let adopt = Self(Box::new(move |ctx| {
            // Who asked may have given up; the child is supervised all the same.
            answer.send(ctx.spawn_child(props, &name)).ok();
        }));
        supervisor.ask_control(adopt, ADOPT_TIMEOUT).await?;
        child.await.map_err(|_| AskError::Failed)
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
