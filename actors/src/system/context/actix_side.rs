//! What actix asks of a context, and the way for actix's own `Addr` to reach the actor.
//!
//! A message that comes through an `Addr` is handled like any other, but has no place in the mailbox: its
//! order with messages told to the `ActorRef` is not kept, and actix's bound is no bound.

use std::{
    cell::{OnceCell, RefCell},
    pin::Pin,
};

use actix::{
    Actor, ActorContext, ActorFuture, Addr, AsyncContext, Handler, Message, SpawnHandle,
    dev::{
        Envelope as ActixEnvelope, EnvelopeProxy, Mailbox as ActixMailbox, MessageResponse,
        ToEnvelope,
    },
};
use tokio::sync::oneshot;

use super::Context;
use crate::system::{dead_letters::Kind, envelope::Notified};

/// Messages taken from one of actix's own addresses before others have their turn.
const BRIDGE_CAPACITY: usize = 16;

/// A way for actix's own `Addr` to reach the actor; it lives as long as the cell.
pub(crate) struct Bridge<A>
where
    A: Actor<Context = Context<A>>,
{
    address: OnceCell<Addr<A>>,
    pub(crate) mailbox: RefCell<Option<ActixMailbox<A>>>,
}

/// A future that holds the mailbox up, or runs beside it.
pub(crate) type BoxFuture<A> = Pin<Box<dyn ActorFuture<A, Output = ()>>>;

impl<A> Bridge<A>
where
    A: Actor<Context = Context<A>>,
{
    pub(crate) fn new() -> Self {
        Self {
            address: OnceCell::new(),
            mailbox: RefCell::new(None),
        }
    }

    fn address(&self) -> Addr<A> {
        let open = || {
            let (_, receiver) = actix::dev::channel::channel(BRIDGE_CAPACITY);
            let mailbox = ActixMailbox::new(receiver);
            let address = mailbox.address();
            self.mailbox.replace(Some(mailbox));
            address
        };
        self.address.get_or_init(open).clone()
    }
}

impl<A> ActorContext for Context<A>
where
    A: Actor<Context = Context<A>>,
{
    fn stop(&mut self) {
        self.stopping = true;
    }

    fn terminate(&mut self) {
        self.stopping = true;
    }

    fn state(&self) -> actix::ActorState {
        if self.stopping {
            actix::ActorState::Stopping
        } else {
            actix::ActorState::Running
        }
    }
}

impl<A> AsyncContext<A> for Context<A>
where
    A: Actor<Context = Context<A>>,
{
    fn address(&self) -> Addr<A> {
        // The mailbox behind it is polled in the cell's next turn.
        self.core.mailbox.wake();
        self.bridge.address()
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.items.add(Box::pin(future))
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.waits.push_back(Box::pin(future));
    }

    fn waiting(&self) -> bool {
        self.is_waiting()
            || self.stopping
            || self.failure.is_some()
            || self.spent >= self.throughput
    }

    /// Handles `message` in its turn: behind what this actor was told before, by itself or by others. It is
    /// never refused, and counts as a waiting message.
    fn notify<M>(&mut self, message: M)
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        let notified = Box::new(Notified(Kind::of::<M>()));
        let offered = self.core.mailbox.offer_essential(notified);
        // Refused only by an actor that has ended, which notifies nobody.
        if self.core.settle(offered).is_ok() {
            self.notes.push_back(Box::new(move |actor, ctx| {
                actor.handle(message, ctx).handle(ctx, None);
            }));
        }
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.items.cancel(handle)
    }
}

/// A message that came through one of actix's own addresses; it counts against the throughput.
struct Bridged<M: Message> {
    message: Option<M>,
    answer: Option<oneshot::Sender<M::Result>>,
}

impl<A, M> EnvelopeProxy<A> for Bridged<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn handle(&mut self, actor: &mut A, ctx: &mut Context<A>) {
        let forsaken = self.answer.as_ref().is_some_and(oneshot::Sender::is_closed);
        let Some(message) = self.message.take().filter(|_| !forsaken) else {
            return;
        };
        ctx.spent += 1;
        ctx.touch();
        actor.handle(message, ctx).handle(ctx, self.answer.take());
    }
}

impl<A, M> ToEnvelope<A, M> for Context<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, answer: Option<oneshot::Sender<M::Result>>) -> ActixEnvelope<A> {
        ActixEnvelope::with_proxy(Box::new(Bridged {
            message: Some(message),
            answer,
        }))
    }
}
