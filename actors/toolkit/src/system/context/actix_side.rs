//! The traits by which actix reaches a context, and the way for actix's own `Addr` to reach the actor.
//!
//! actix polls every future of an actor whenever it polls the actor; this context polls the futures that were
//! woken, and those that it told to pause. A message sent to an `Addr` is moved to the end of the mailbox when the
//! actor next looks, so that its order with messages told to the `ActorRef` is not kept.

use std::{
    cell::{Cell, OnceCell, RefCell},
    pin::Pin,
    task::{Context as Task, Poll, Waker, ready},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFuture, ActorFutureExt, ActorState, Addr, AsyncContext, Handler,
    Message, SpawnHandle,
    dev::{
        Envelope as ActixEnvelope, EnvelopeProxy, Stream, ToEnvelope,
        channel::{AddressReceiver, channel},
    },
    fut::wrap_future,
};
use futures_util::StreamExt;
use pin_project_lite::pin_project;
use tokio::{sync::oneshot, time::sleep};

use super::{Context, Stage};
use crate::system::{
    dead_letters::Kind,
    envelope::{Deliver, Envelope},
    mailbox::Mailbox,
    messages::Notified,
    response::respond,
};

/// The capacity of actix's own channel: messages of one sender that wait before `try_send` refuses and `send`
/// waits.
const BRIDGE_CAPACITY: usize = 16;

/// The receiving end of actix's own addresses; it lives as long as the cell.
///
/// Messages wait in actix's channel until the cell moves them into the mailbox.
pub(crate) struct Bridge<A>
where
    A: Actor<Context = Context<A>>,
{
    address: OnceCell<Addr<A>>,
    receiver: RefCell<Option<AddressReceiver<A>>>,
    /// The channel was looked at without the cell's waker.
    unwatched: Cell<bool>,
}

/// A future that holds back the mailbox, or runs beside it.
pub(crate) type BoxFuture<A> = Pin<Box<dyn ActorFuture<A, Output = ()>>>;

impl<A> Bridge<A>
where
    A: Actor<Context = Context<A>>,
{
    pub(crate) fn new() -> Self {
        Self {
            address: OnceCell::new(),
            receiver: RefCell::new(None),
            unwatched: Cell::new(false),
        }
    }

    fn address(&self) -> Addr<A> {
        let open = || {
            let (sender, receiver) = channel(BRIDGE_CAPACITY);
            self.receiver.replace(Some(receiver));
            self.unwatched.set(true);
            Addr::new(sender)
        };
        self.address.get_or_init(open).clone()
    }

    /// Returns `true` if the cell is not woken by what is sent to an address.
    pub(crate) fn is_unwatched(&self) -> bool {
        self.unwatched.get()
    }

    /// Moves messages into the mailbox while it has room. Returns `false` if there was no room for all; otherwise
    /// `task` is woken when more are sent.
    pub(crate) fn pull(&self, mailbox: &Mailbox<A>, task: &mut Task<'_>) -> bool {
        self.unwatched.set(false);
        let mut receiver = self.receiver.borrow_mut();
        let Some(receiver) = receiver.as_mut() else {
            return true;
        };
        while mailbox.has_room() {
            let Poll::Ready(Some(envelope)) = receiver.poll_next_unpin(task) else {
                return true;
            };
            // Refused only by an actor that has stopped, which pulls nothing.
            let _taken = mailbox.offer_essential(Box::new(ThroughAddress(envelope)));
        }
        false
    }

    /// As [`Bridge::pull`], while the actor runs and not its cell.
    fn pull_now(&self, mailbox: &Mailbox<A>) {
        if self.address.get().is_some() {
            self.pull(mailbox, &mut Task::from_waker(Waker::noop()));
            self.unwatched.set(true);
        }
    }

    /// Closes the addresses; returns the messages that will not be handled.
    pub(crate) fn close(&self) -> Vec<Envelope<A>> {
        let mut unhandled: Vec<Envelope<A>> = Vec::new();
        let Some(mut receiver) = self.receiver.take() else {
            return unhandled;
        };
        let mut task = Task::from_waker(Waker::noop());
        while let Poll::Ready(Some(envelope)) = receiver.poll_next_unpin(&mut task) {
            unhandled.push(Box::new(ThroughAddress(envelope)));
        }
        unhandled
    }
}

/// A message that came through one of actix's own addresses, whose type is hidden.
struct ThroughAddress<A: Actor>(ActixEnvelope<A>);

impl<A> Deliver<A> for ThroughAddress<A>
where
    A: Actor<Context = Context<A>>,
{
    fn deliver(mut self: Box<Self>, actor: &mut A, ctx: &mut Context<A>) {
        self.0.handle(actor, ctx);
    }

    fn kind(&self) -> Kind {
        Kind::named::<Self>("a message through an `actix::Addr`")
    }
}

impl<A> ActorContext for Context<A>
where
    A: Actor<Context = Context<A>>,
{
    fn stop(&mut self) {
        self.stopping = true;
    }

    /// As `stop`, without the `stopping` hook.
    fn terminate(&mut self) {
        self.stopping = true;
        self.terminated = true;
    }

    /// Returns the state as in actix: `Running` from `started` on, `Stopped` in the `stopped` hook of the last
    /// instance.
    fn state(&self) -> ActorState {
        if self.stage == Stage::Ending || self.terminated {
            ActorState::Stopped
        } else if self.stopping {
            ActorState::Stopping
        } else {
            ActorState::Running
        }
    }
}

impl<A> AsyncContext<A> for Context<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Returns an `actix::Addr`. Messages sent to it are moved to the end of the mailbox when the actor next looks.
    fn address(&self) -> Addr<A> {
        // The channel behind it is looked at in the cell's next turn.
        self.core.mailbox.wake();
        self.bridge.address()
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let in_flight = self.in_flight();
        self.items.add(Box::pin(future), in_flight)
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let in_flight = self.in_flight();
        self.waits.push((Box::pin(future), in_flight));
    }

    /// Returns `true` if the actor waits in `ctx.wait`, stops or has failed; asked by a future that the actor
    /// runs, such as a stream, also if the actor's turn is over.
    fn waiting(&self) -> bool {
        let is_held = self.is_waiting() || self.stopping || self.failure.is_some();
        let left = self.throughput.saturating_sub(self.spent) + 1;
        self.pauses.ask(is_held, left)
    }

    /// Handles each item as a message, in its turn with those of the mailbox.
    fn add_message_stream<S>(&mut self, stream: S)
    where
        S: Stream + 'static,
        S::Item: Message,
        A: Handler<S::Item>,
    {
        self.spawn(MessageStream { stream });
    }

    fn notify_later<M>(&mut self, message: M, after: Duration) -> SpawnHandle
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        let delayed =
            wrap_future::<_, A>(sleep(after)).map(move |(), actor: &mut A, ctx: &mut Self| {
                let response = actor.handle(message, ctx);
                respond::<A, M>(response, ctx, None);
            });
        self.spawn(delayed)
    }

    /// Adds `message` to the end of the mailbox. It is never refused, and counts as a waiting message.
    fn notify<M>(&mut self, message: M)
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        // What it sent to its own address before goes before.
        self.bridge.pull_now(&self.core.mailbox);
        let notified = Box::new(Notified(Kind::of::<M>()));
        let offered = self.core.mailbox.offer_essential(notified);
        // Refused only by an actor that has ended, which does not notify watchers.
        if self.core.settle(offered).is_ok() {
            self.notes.push_back(Box::new(move |actor, ctx| {
                let response = actor.handle(message, ctx);
                respond::<A, M>(response, ctx, None);
            }));
        }
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.items.cancel(handle)
    }
}

pin_project! {
    /// A stream whose items are messages.
    struct MessageStream<S> {
        #[pin]
        stream: S,
    }
}

impl<A, S> ActorFuture<A> for MessageStream<S>
where
    A: Actor<Context = Context<A>> + Handler<S::Item>,
    S: Stream,
    S::Item: Message + 'static,
{
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut Context<A>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        let mut this = self.project();
        while let Some(message) = ready!(this.stream.as_mut().poll_next(task)) {
            let response = actor.handle(message, ctx);
            respond::<A, S::Item>(response, ctx, None);
            // Told to pause, it is polled again.
            if ctx.waiting() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

/// A message in actix's own envelope.
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
        let abandoned = self.answer.as_ref().is_some_and(oneshot::Sender::is_closed);
        let Some(message) = self.message.take().filter(|_| !abandoned) else {
            return;
        };
        let response = actor.handle(message, ctx);
        respond::<A, M>(response, ctx, self.answer.take());
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
