//! The future of a handler, run by its actor.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context as Task, Poll},
};

use actix::{Actor, ActorFuture};

use super::Scope;
use crate::Context;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A future in a slot from which its actor too may drop it.
pub(super) struct Running<A, T>
where
    A: Actor<Context = Context<A>>,
{
    slot: Rc<RefCell<Option<BoxFuture<T>>>>,
    scope: Scope<A>,
}

/// A handler that can be dropped where it is.
pub(super) trait Abort {
    fn abort(&self);
}

impl<T> Abort for RefCell<Option<BoxFuture<T>>> {
    fn abort(&self) {
        // Taken out first: what is dropped may not find the slot borrowed.
        let future = self.borrow_mut().take();
        drop(future);
    }
}

impl<A, T: 'static> Running<A, T>
where
    A: Actor<Context = Context<A>>,
{
    pub(super) fn new(future: impl Future<Output = T> + 'static, scope: Scope<A>) -> Self {
        let future: BoxFuture<T> = Box::pin(future);
        Self {
            slot: Rc::new(RefCell::new(Some(future))),
            scope,
        }
    }

    /// Returns the slot, for the actor to drop the future.
    pub(super) fn slot(&self) -> Rc<dyn Abort> {
        Rc::clone(&self.slot) as Rc<dyn Abort>
    }
}

impl<A, T> ActorFuture<A> for Running<A, T>
where
    A: Actor<Context = Context<A>>,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut A, ctx: &mut Context<A>, task: &mut Task<'_>) -> Poll<T> {
        loop {
            let polled = match self.slot.borrow_mut().as_mut() {
                Some(future) => future.as_mut().poll(task),
                // Dropped by its actor, which ends.
                None => return Poll::Pending,
            };
            let acted = self.scope.perform(ctx);
            if polled.is_ready() {
                self.slot.abort();
                return polled;
            }
            if !acted || ctx.ends() {
                return Poll::Pending;
            }
        }
    }
}

/// The cell may drop a future that hangs, and go on with the actor.
impl<A, T> Drop for Running<A, T>
where
    A: Actor<Context = Context<A>>,
{
    fn drop(&mut self) {
        self.slot.abort();
    }
}
