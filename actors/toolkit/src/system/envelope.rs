//! A message on its way to an actor, and what happens to it when it is not handled.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst},
};

use actix::{Actor, Handler, Message};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    actor_ref::AskError,
    context::Context,
    dead_letters::{Kind, Undelivered},
    response::respond,
};

/// What a cell can do with a queued message.
pub(crate) trait Deliver<A: Actor>: Send {
    /// Notes that the actor takes the message, before [`Deliver::deliver`].
    fn begin(&self) {}

    /// Hands the message to the actor.
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context);

    /// Drops the message where the actor was about to handle it.
    fn skip(self: Box<Self>, _ctx: &mut A::Context) {}

    /// Drops the message, which will not be handled for this reason.
    fn abandon(self: Box<Self>, _reason: Undelivered) {}

    /// Returns `true` if nobody waits for the answer any more, so that the work can be skipped.
    fn is_abandoned(&self) -> bool {
        false
    }

    /// Returns what is cancelled when the asker gives up; `None` for a tell.
    fn asker(&self) -> Option<Arc<AskState>> {
        None
    }

    /// The message's type, for dead letters.
    fn kind(&self) -> Kind;

    /// Returns `true` if the receive timeout starts anew with the message.
    fn influences_receive_timeout(&self) -> bool {
        true
    }
}

/// A queued message.
pub(crate) type Envelope<A> = Box<dyn Deliver<A>>;

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

/// How far an ask got; shared by the asker and the message.
#[derive(Debug)]
pub(crate) struct AskState {
    stage: AtomicU8,
    /// Cancelled when the asker no longer waits; made when a handler wants it, which few do.
    given_up: OnceLock<CancellationToken>,
    /// The asker no longer waits.
    is_over: AtomicBool,
    /// The actor's asks in work, this one included once it is begun.
    in_work: Arc<AtomicUsize>,
}

/// Waiting in the mailbox.
const QUEUED: u8 = 0;
/// Taken by the actor.
const BEGUN: u8 = 1;
/// Still in the mailbox when the actor stopped.
const STOPPED: u8 = 2;
/// Dropped from the mailbox to make room.
const DROPPED: u8 = 3;
/// Taken by an instance that ended of something else.
const INTERRUPTED: u8 = 4;

impl AskState {
    pub(crate) fn new(in_work: Arc<AtomicUsize>) -> Self {
        Self {
            stage: AtomicU8::new(QUEUED),
            given_up: OnceLock::new(),
            is_over: AtomicBool::new(false),
            in_work,
        }
    }

    fn begin(&self) {
        self.stage.store(BEGUN, SeqCst);
        self.in_work.fetch_add(1, SeqCst);
    }

    /// Returns a token that is cancelled once the asker no longer waits.
    pub(crate) fn given_up(&self) -> CancellationToken {
        let token = self.given_up.get_or_init(CancellationToken::new);
        if self.is_over.load(SeqCst) {
            token.cancel();
        }
        token.clone()
    }

    /// Notes that the asker no longer waits.
    pub(crate) fn end(&self) {
        self.is_over.store(true, SeqCst);
        if let Some(token) = self.given_up.get() {
            token.cancel();
        }
    }

    fn was_begun(&self) -> bool {
        matches!(self.stage.load(SeqCst), BEGUN | INTERRUPTED)
    }

    /// Notes that the answer is lost although its message did not fail.
    pub(crate) fn interrupt(&self) {
        self.stage.store(INTERRUPTED, SeqCst);
    }

    /// Returns why the answer was lost.
    pub(crate) fn error(&self) -> AskError {
        match self.stage.load(SeqCst) {
            BEGUN => AskError::Failed,
            DROPPED => AskError::MailboxFull,
            INTERRUPTED => AskError::Interrupted,
            _ => AskError::Stopped,
        }
    }
}

impl Drop for AskState {
    fn drop(&mut self) {
        if self.was_begun() {
            self.in_work.fetch_sub(1, SeqCst);
        }
    }
}

/// An ask as its asker has it; dropped when the asker no longer waits.
#[derive(Debug)]
pub(crate) struct Asking(pub(crate) Arc<AskState>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.end();
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
        let stage = match reason {
            Undelivered::Stopped => STOPPED,
            Undelivered::Dropped => DROPPED,
        };
        // Before the answer is dropped, which wakes the asker.
        self.state.stage.store(stage, SeqCst);
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
    /// Whom it watched.
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
