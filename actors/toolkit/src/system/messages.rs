//! The kinds of messages in an actor's mailbox: told, asked, adapted, notified, watched.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use actix::{Actor, Handler, Message};
use tokio::sync::oneshot;

use super::{
    ask::AskState,
    context::Context,
    dead_letters::{Kind, Undelivered},
    envelope::Deliver,
    response::respond,
};

/// A message without an answer.
pub(crate) struct Tell<M>(pub(crate) M);

impl<A, M> Deliver<A> for Tell<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
{
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) {
        let response = actor.handle(self.0, ctx);
        respond::<A, M>(response, ctx, None);
    }

    fn kind(&self) -> Kind {
        Kind::of::<M>()
    }
}

/// A tell that leaves the receive timeout as it is.
pub(crate) struct Unnoticed<M>(pub(crate) M);

impl<A, M> Deliver<A> for Unnoticed<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
{
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) {
        let response = actor.handle(self.0, ctx);
        respond::<A, M>(response, ctx, None);
    }

    fn kind(&self) -> Kind {
        Kind::of::<M>()
    }

    fn influences_receive_timeout(&self) -> bool {
        false
    }
}

/// A message in another protocol than the actor's, which the actor itself translates, so that a panic in the
/// translation is its failure and not the sender's.
pub(crate) struct Adapted<N, F> {
    pub(crate) message: N,
    pub(crate) adapt: Arc<F>,
}

impl<A, N, M, F> Deliver<A> for Adapted<N, F>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    N: Send + 'static,
    M: Message + 'static,
    F: Fn(N) -> M + Send + Sync + 'static,
{
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) {
        let message = (self.adapt)(self.message);
        let response = actor.handle(message, ctx);
        respond::<A, M>(response, ctx, None);
    }

    fn kind(&self) -> Kind {
        Kind::of::<N>()
    }
}

/// Stands in the mailbox for a notification of the actor to itself, which may not leave its thread.
pub(crate) struct Notified(pub(crate) Kind);

impl<A> Deliver<A> for Notified
where
    A: Actor<Context = Context<A>>,
{
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut Context<A>) {
        // There is one note for each of these, and both keep their order.
        if let Some(note) = ctx.notes.pop_front() {
            note(actor, ctx);
        }
    }

    fn skip(self: Box<Self>, ctx: &mut Context<A>) {
        ctx.notes.pop_front();
    }

    fn kind(&self) -> Kind {
        self.0
    }
}

/// A message whose sender waits for the answer.
pub(crate) struct Ask<M: Message> {
    pub(crate) message: M,
    pub(crate) answer: oneshot::Sender<M::Result>,
    pub(crate) state: Arc<AskState>,
}

impl<A, M> Deliver<A> for Ask<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn begin(&self) {
        self.state.begin();
    }

    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) {
        let response = actor.handle(self.message, ctx);
        respond::<A, M>(response, ctx, Some(self.answer));
    }

    fn abandon(self: Box<Self>, reason: Undelivered) {
        self.state.abandon(reason);
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn asker(&self) -> Option<Arc<AskState>> {
        Some(Arc::clone(&self.state))
    }

    fn kind(&self) -> Kind {
        Kind::of::<M>()
    }
}

/// A message to a watcher, which an ended watch takes back even when it is already queued.
pub(crate) struct Watched<M> {
    pub(crate) message: M,
    /// The id of the watched actor.
    pub(crate) id: u64,
    /// Shared with the watcher's context; false once the watch has ended.
    pub(crate) active: Arc<AtomicBool>,
}

impl<A, M> Deliver<A> for Watched<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
{
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut Context<A>) {
        ctx.watch_fired(self.id, &self.active);
        let response = actor.handle(self.message, ctx);
        respond::<A, M>(response, ctx, None);
    }

    fn is_abandoned(&self) -> bool {
        !self.active.load(SeqCst)
    }

    fn kind(&self) -> Kind {
        Kind::of::<M>()
    }
}
