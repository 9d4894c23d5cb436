//! Actors whose `async` handlers take turns.

use std::{cell::RefCell, fmt, future::Future, rc::Rc};

use actix::{Actor, AsyncContext as _, Handler, Message, ResponseActFuture};

use super::{Scope, running::Running};
use crate::{Context, Props};

/// The state of an actor whose `async` handlers take turns. It need not be `Send`.
pub trait ReentrantActor: Sized + 'static {
    /// Runs at the start of each instance, before its first message.
    fn started(this: Shared<Self>) -> impl Future<Output = ()> + 'static {
        drop(this);
        async {}
    }

    /// Runs at the end of each instance. Handlers that are under way are dropped after it.
    fn stopped(&mut self, _: &mut Context<Reentrant<Self>>) {}
}

/// Handles messages of type `M` by an `async fn` beside others.
///
/// Handlers of one actor run on one thread and change places at their `await`s only. Between two of them the state is
/// as a handler left it; behind an `await` it may have changed. When the actor stops or restarts they are dropped, and
/// their asks have `AskError::Interrupted`.
pub trait ReentrantHandler<M: Message>: ReentrantActor {
    /// Handles a message; what it returns is the answer of an ask.
    fn handle(this: Shared<Self>, message: M) -> impl Future<Output = M::Result> + 'static;
}

/// The state of a [`Reentrant`] actor as a handler has it.
pub struct Shared<S: ReentrantActor> {
    state: Rc<RefCell<S>>,
    scope: Scope<Reentrant<S>>,
}

impl<S: ReentrantActor> Shared<S> {
    /// Runs `act` with the state.
    ///
    /// # Panics
    /// When it is called within another `with` of the same actor.
    pub fn with<T>(&self, act: impl FnOnce(&mut S) -> T) -> T {
        act(&mut self.state.borrow_mut())
    }

    /// Returns what may be done with the context.
    pub fn scope(&self) -> &Scope<Reentrant<S>> {
        &self.scope
    }
}

impl<S: ReentrantActor> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            state: Rc::clone(&self.state),
            scope: self.scope.clone(),
        }
    }
}

impl<S: ReentrantActor> fmt::Debug for Shared<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// The actor of a state whose `async` handlers take turns.
pub struct Reentrant<S> {
    state: Rc<RefCell<S>>,
}

impl<S: ReentrantActor> Reentrant<S> {
    /// Creates props from a factory of the state. At most `handlers` run at the same time; further messages wait in the
    /// mailbox. See [`Props::max_in_flight`].
    pub fn props(handlers: usize, mut factory: impl FnMut() -> S + Send + 'static) -> Props<Self> {
        let make = move || Self {
            state: Rc::new(RefCell::new(factory())),
        };
        Props::new(make).max_in_flight(handlers)
    }

    fn shared(&self, ctx: &Context<Self>) -> Shared<S> {
        Shared {
            state: Rc::clone(&self.state),
            scope: Scope::of(ctx),
        }
    }
}

impl<S: ReentrantActor> Actor for Reentrant<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let shared = self.shared(ctx);
        let scope = shared.scope.clone();
        ctx.wait(Running::new(S::started(shared), scope));
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        self.state.borrow_mut().stopped(ctx);
    }
}

impl<S, M> Handler<M> for Reentrant<S>
where
    S: ReentrantHandler<M>,
    M: Message + 'static,
    M::Result: 'static,
{
    type Result = ResponseActFuture<Self, M::Result>;

    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> Self::Result {
        let shared = self.shared(ctx);
        let scope = shared.scope.clone();
        Box::pin(Running::new(S::handle(shared, message), scope))
    }
}

impl<S> fmt::Debug for Reentrant<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reentrant").finish_non_exhaustive()
    }
}
