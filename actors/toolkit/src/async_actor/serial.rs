//! Actors whose `async` handlers run one after another.

use std::{cell::RefCell, fmt, future::Future, rc::Rc};

use actix::{Actor, AsyncContext as _, AtomicResponse, Handler, Message};

use super::{
    Scope,
    running::{Abort, Running},
};
use crate::{Context, Props};

/// The state of an actor with `async` handlers. It need not be `Send`.
pub trait AsyncActor: Sized + 'static {
    /// Runs at the start of each instance, before its first message.
    fn started(&mut self, _: &Scope<Async<Self>>) -> impl Future<Output = ()> {
        async {}
    }

    /// Runs at the end of each instance. A handler that was under way has been dropped.
    fn stopped(&mut self, _: &mut Context<Async<Self>>) {}
}

/// Handles messages of type `M` by an `async fn`.
///
/// While it waits the actor handles nothing else: the next message waits in the mailbox, and timers and futures of the
/// actor pause. The strategy and `Props::hang_after` apply as to any handler. When the actor stops or fails the
/// handler is dropped at its `await`.
///
/// A handler that asks its own actor waits for the timeout of that ask; so do two actors that ask each other. Use
/// [`Reentrant`](super::Reentrant) for these.
pub trait AsyncHandler<M: Message>: AsyncActor {
    /// Handles a message; what it returns is the answer of an ask.
    fn handle(&mut self, message: M, scope: &Scope<Async<Self>>)
    -> impl Future<Output = M::Result>;
}

/// The actor of a state with `async` handlers, which run one after another.
pub struct Async<S> {
    state: Rc<RefCell<S>>,
    running: Option<Rc<dyn Abort>>,
}

impl<S: AsyncActor> Async<S> {
    /// Creates props from a factory of the state, which is called at the start and at each restart.
    pub fn props(mut factory: impl FnMut() -> S + Send + 'static) -> Props<Self> {
        Props::new(move || Self::new(factory()))
    }

    /// Creates the actor of a state.
    pub fn new(state: S) -> Self {
        Self {
            state: Rc::new(RefCell::new(state)),
            running: None,
        }
    }

    /// Takes note of the handler that runs now, to drop it when the actor ends.
    fn run<T: 'static>(&mut self, running: Running<Self, T>) -> Running<Self, T> {
        self.running = Some(running.slot());
        running
    }
}

impl<S: AsyncActor> Actor for Async<S> {
    type Context = Context<Self>;

    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "`ctx.wait` holds back all else that borrows the state"
    )]
    fn started(&mut self, ctx: &mut Context<Self>) {
        let scope = Scope::of(ctx);
        let (state, its_scope) = (Rc::clone(&self.state), scope.clone());
        let start = async move { state.borrow_mut().started(&its_scope).await };
        let start = self.run(Running::new(start, scope));
        ctx.wait(start);
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        self.state.borrow_mut().stopped(ctx);
    }
}

impl<S, M> Handler<M> for Async<S>
where
    S: AsyncHandler<M>,
    M: Message + 'static,
    M::Result: 'static,
{
    type Result = AtomicResponse<Self, M::Result>;

    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "`ctx.wait` holds back all else that borrows the state"
    )]
    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> Self::Result {
        let scope = Scope::of(ctx);
        let (state, its_scope) = (Rc::clone(&self.state), scope.clone());
        let handling = async move { state.borrow_mut().handle(message, &its_scope).await };
        let handling = self.run(Running::new(handling, scope));
        AtomicResponse::new(Box::pin(handling))
    }
}

impl<S> fmt::Debug for Async<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Async").finish_non_exhaustive()
    }
}
