//! A message on its way to an actor, and what becomes of it when it never gets there.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::SeqCst},
};

use actix::{Actor, Handler, Message, dev::MessageResponse};
use tokio::sync::oneshot;

/// What a cell can do with a queued message.
pub(crate) trait Deliver<A: Actor>: Send {
    /// Hands the message to the actor.
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context);

    /// Says that nobody will handle the message.
    fn abandon(self: Box<Self>);

    /// Says whether nobody waits for the answer any more, so that the work can be skipped.
    fn is_forsaken(&self) -> bool {
        false
    }

    /// The message's type, for dead letters.
    fn type_name(&self) -> &'static str;
}

/// A queued message.
pub(crate) type Envelope<A> = Box<dyn Deliver<A>>;

/// A message without an answer.
pub(crate) struct Tell<M>(pub(crate) M);

impl<A, M> Deliver<A> for Tell<M>
where
    A: Actor + Handler<M>,
    M: Message + Send + 'static,
{
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) {
        actor.handle(self.0, ctx).handle(ctx, None);
    }

    fn abandon(self: Box<Self>) {}

    fn type_name(&self) -> &'static str {
        std::any::type_name::<M>()
    }
}

/// How far an ask got before its answer was lost.
#[derive(Debug, Default)]
pub(crate) struct Fate(AtomicU8);

/// Waiting in the mailbox.
const QUEUED: u8 = 0;
/// Given to the actor.
const BEGUN: u8 = 1;
/// Left in the mailbox of an actor that stopped.
const ABANDONED: u8 = 2;

impl Fate {
    pub(crate) fn was_begun(&self) -> bool {
        self.0.load(SeqCst) == BEGUN
    }
}

/// A message whose sender waits for the answer.
pub(crate) struct Ask<M: Message> {
    pub(crate) message: M,
    pub(crate) answer: oneshot::Sender<M::Result>,
    pub(crate) fate: Arc<Fate>,
}

impl<A, M> Deliver<A> for Ask<M>
where
    A: Actor + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) {
        self.fate.0.store(BEGUN, SeqCst);
        actor
            .handle(self.message, ctx)
            .handle(ctx, Some(self.answer));
    }

    fn abandon(self: Box<Self>) {
        debug_assert_eq!(
            self.fate.0.load(SeqCst),
            QUEUED,
            "a begun ask is not queued"
        );
        self.fate.0.store(ABANDONED, SeqCst);
    }

    fn is_forsaken(&self) -> bool {
        self.answer.is_closed()
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<M>()
    }
}
