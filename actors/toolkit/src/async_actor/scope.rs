//! What an `async` handler may do with its actor's context.

use std::{cell::RefCell, collections::VecDeque, error::Error, fmt, future::Future, rc::Rc};

use actix::Actor;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{ActorRef, ActorSystem, Context};

/// An act on the context.
type Act<A> = Box<dyn FnOnce(&mut Context<A>)>;

/// The context of an actor as an `async` handler sees it; clones share it.
///
/// The context itself exists only while the actor's future is polled. A scope therefore keeps what a handler asks of
/// it, and does that when the handler reaches its next `await` or its end.
pub struct Scope<A>
where
    A: Actor<Context = Context<A>>,
{
    myself: ActorRef<A>,
    system: ActorSystem,
    asker: CancellationToken,
    acts: Rc<RefCell<VecDeque<Act<A>>>>,
}

impl<A> Scope<A>
where
    A: Actor<Context = Context<A>>,
{
    pub(super) fn of(ctx: &Context<A>) -> Self {
        Self {
            myself: ctx.self_ref(),
            system: ctx.system().clone(),
            asker: ctx.asker(),
            acts: Rc::default(),
        }
    }

    /// Returns a reference to this actor.
    pub fn self_ref(&self) -> &ActorRef<A> {
        &self.myself
    }

    /// Returns this actor's path.
    pub fn path(&self) -> &str {
        self.myself.path()
    }

    /// Returns the system that this actor belongs to.
    pub fn system(&self) -> &ActorSystem {
        &self.system
    }

    /// Returns a token that is cancelled when the asker of the message no longer waits. See [`Context::asker`].
    pub fn asker(&self) -> CancellationToken {
        self.asker.clone()
    }

    /// Stops the actor. The handler is dropped at its next `await` that is not ready.
    pub fn stop(&self) {
        self.act(actix::ActorContext::stop);
    }

    /// Reports a failure: the strategy decides what follows. The handler is dropped at its next `await` that is not
    /// ready, unless the strategy resumes.
    pub fn fail(&self, error: impl Into<Box<dyn Error + Send + Sync>>) {
        let error = error.into();
        self.act(move |ctx| ctx.fail(error));
    }

    /// Runs `act` with the context, and returns its result.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use actix::{Actor, Message};
    /// # use kebne_actors::{ActorSystem, Async, AsyncActor, AsyncHandler, Context, Props, Scope};
    /// # struct Child;
    /// # impl Actor for Child {
    /// #     type Context = Context<Self>;
    /// # }
    /// # #[derive(Message)]
    /// # #[rtype(result = "String")]
    /// # struct Spawn;
    /// # struct Parent;
    /// # impl AsyncActor for Parent {}
    /// impl AsyncHandler<Spawn> for Parent {
    ///     async fn handle(&mut self, _: Spawn, scope: &Scope<Async<Self>>) -> String {
    ///         let props = Props::new(|| Child);
    ///         let child = scope.run(|ctx| ctx.spawn_child(props, "child")).await;
    ///         child.path().to_owned()
    ///     }
    /// }
    /// # actix::System::new().block_on(async {
    /// # let system = ActorSystem::new("example", 1);
    /// # let parent = system.spawn(Async::props(|| Parent), "parent");
    /// # let path = parent.ask(Spawn, Duration::from_secs(1)).await;
    /// # assert_eq!(path.as_deref(), Ok("/user/parent/child"));
    /// # });
    /// ```
    pub fn run<T: 'static>(
        &self,
        act: impl FnOnce(&mut Context<A>) -> T + 'static,
    ) -> impl Future<Output = T> {
        let (done, result) = oneshot::channel();
        self.act(move |ctx| {
            let _the_handler_may_not_wait_for_it = done.send(act(ctx));
        });
        async move {
            match result.await {
                Ok(result) => result,
                // The actor has ended, and this handler with it.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn act(&self, act: impl FnOnce(&mut Context<A>) + 'static) {
        self.acts.borrow_mut().push_back(Box::new(act));
    }

    /// Does what was asked of the context; returns `false` if that was nothing.
    pub(super) fn perform(&self, ctx: &mut Context<A>) -> bool {
        let mut any = false;
        loop {
            // Not borrowed while it runs: it may ask for more.
            let act = self.acts.borrow_mut().pop_front();
            let Some(act) = act else { return any };
            any = true;
            act(ctx);
        }
    }
}

impl<A> Clone for Scope<A>
where
    A: Actor<Context = Context<A>>,
{
    fn clone(&self) -> Self {
        Self {
            myself: self.myself.clone(),
            system: self.system.clone(),
            asker: self.asker.clone(),
            acts: Rc::clone(&self.acts),
        }
    }
}

impl<A> fmt::Debug for Scope<A>
where
    A: Actor<Context = Context<A>>,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scope")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
