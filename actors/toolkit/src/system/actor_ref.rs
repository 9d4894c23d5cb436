//! A reference to an actor, which survives the actor's restarts.

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    ask::{AskError, AskState, Asking},
    blocking,
    context::Context,
    core::{AnyCell, Core},
    mailbox::{OfferError, Offered, PRIORITY_NORMAL},
    messages::{Adapted, Ask, Tell, Unnoticed},
    offer::Offer,
    place,
    recipient::Recipient,
    report::{ActorReport, ActorState},
};

/// A reference to an actor: cheap to clone, usable from any thread, valid across restarts.
pub struct ActorRef<A: Actor> {
    pub(crate) core: Arc<Core<A>>,
}

impl<A> ActorRef<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Offers a message; never waits.
    pub fn tell<M>(&self, message: M) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        self.tell_with_priority(message, PRIORITY_NORMAL)
    }

    /// Offers a message, as [`ActorRef::tell`], where nothing depends on whether it is taken. One that is refused, because
    /// the mailbox is full or the actor has stopped, is a dead letter.
    pub fn post<M>(&self, message: M)
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let _noted_if_refused = self.tell(message);
    }

    /// Offers a message that goes before those of lower priority (a tell's is [`PRIORITY_NORMAL`]) and
    /// behind those of the same.
    pub fn tell_with_priority<M>(&self, message: M, priority: u8) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let mailbox = &self.core.mailbox;
        self.settle(mailbox.offer(priority, Box::new(Tell(message))))
    }

    /// Offers a message that does not reset the receive timeout: Pekko's `NotInfluenceReceiveTimeout`, chosen by
    /// the sender.
    pub fn tell_unnoticed<M>(&self, message: M) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let envelope = Box::new(Unnoticed(message));
        self.settle(self.core.mailbox.offer(PRIORITY_NORMAL, envelope))
    }

    /// Offers a message; waits for room when the mailbox is full and its overflow strategy is
    /// backpressure.
    pub async fn offer<M>(&self, message: M) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let mailbox = &self.core.mailbox;
        let offered = mailbox.offer_waiting(PRIORITY_NORMAL, Box::new(Tell(message)));
        self.settle(offered.await)
    }

    /// Offers a message to the control queue, whose messages go before all work.
    ///
    /// The queue is for messages whose number is bounded by something else, such as permits or children. Its own
    /// bound, [`Props::control_mailbox`], is far above that.
    ///
    /// [`Props::control_mailbox`]: crate::Props::control_mailbox
    pub fn control<M>(&self, message: M) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let mailbox = &self.core.mailbox;
        self.settle(mailbox.offer_control(Box::new(Tell(message))))
    }

    /// As [`ActorRef::control`], where nothing depends on whether the message is taken. One that is refused,
    /// because the actor has stopped or the queue is full, is a dead letter.
    pub fn inform<M>(&self, message: M)
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let _needless_if_closed = self.control(message);
    }

    /// Sends a message and waits for its answer, at most for `timeout`.
    ///
    /// The message is sent when the future is first polled. If the future is dropped before the actor takes the
    /// message, the message is skipped.
    ///
    /// # Errors
    /// Returns why there is no answer: see [`AskError`].
    ///
    /// # Panics
    /// When it is polled on a thread that no tokio runtime runs on, which the timeout needs; use
    /// [`ActorRef::ask_blocking`] there.
    pub async fn ask<M>(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_by(message, timeout, false).await
    }

    /// Asks through the control queue.
    ///
    /// # Errors
    /// See [`AskError`].
    ///
    /// # Panics
    /// As [`ActorRef::ask`] does.
    pub async fn ask_control<M>(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_by(message, timeout, true).await
    }

    /// Asks from a thread that no runtime runs on, and blocks it until the answer comes, at most for `timeout`.
    ///
    /// It may also be used where a runtime allows blocking, such as in `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    /// See [`AskError`].
    ///
    /// # Panics
    /// In asynchronous code, where it would block the thread that the actor may need; use [`ActorRef::ask`] there.
    pub fn ask_blocking<M>(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        match Handle::try_current() {
            Ok(runtime) => runtime.block_on(self.ask(message, timeout)),
            Err(_) => blocking::wait_for(self.ask_without_timeout(message, false), timeout)
                .unwrap_or(Err(AskError::TimedOut)),
        }
    }

    async fn ask_by<M>(
        &self,
        message: M,
        timeout: Duration,
        control: bool,
    ) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        place::require_runtime("ask");
        let asked = self.ask_without_timeout(message, control);
        let answered = tokio::time::timeout(timeout, asked).await;
        answered.unwrap_or(Err(AskError::TimedOut))
    }

    async fn ask_without_timeout<M>(&self, message: M, control: bool) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (answer, answered) = oneshot::channel();
        let asks_in_work = Arc::clone(&self.core.asks_in_work);
        let asking = Asking(Arc::new(AskState::new(asks_in_work)));
        let state = &asking.0;
        let envelope = Box::new(Ask {
            message,
            answer,
            state: Arc::clone(state),
        });
        let mailbox = &self.core.mailbox;
        let offered = if control {
            mailbox.offer_control(envelope)
        } else {
            mailbox.offer_waiting(PRIORITY_NORMAL, envelope).await
        };
        match self.core.settle(offered) {
            Ok(()) => answered.await.map_err(|_| state.error()),
            Err(OfferError::Closed) => Err(AskError::Stopped),
            Err(OfferError::Restarting) => Err(AskError::Restarting),
            Err(OfferError::Full | OfferError::Failed) => {
                if self.core.state() == ActorState::Restarting {
                    Err(AskError::Restarting)
                } else {
                    Err(AskError::MailboxFull)
                }
            }
        }
    }

    /// Returns a recipient of one message type, which hides the type of the actor.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let myself = self.clone();
        Recipient::new(move |message| myself.tell(message))
    }

    /// Returns a recipient that uses the control queue.
    pub fn control_recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let myself = self.clone();
        Recipient::new(move |message| myself.control(message))
    }

    /// Returns a recipient of another protocol, whose messages the actor translates into its own before it
    /// handles them: Pekko's message adapter. A panic in the translation is a failure of the actor. There
    /// may be any number of adapters, also for one type.
    pub fn adapter<N, M>(&self, translate: impl Fn(N) -> M + Send + Sync + 'static) -> Recipient<N>
    where
        A: Handler<M>,
        N: Send + 'static,
        M: Message + 'static,
    {
        let myself = self.clone();
        let adapt = Arc::new(translate);
        Recipient::new(move |message| {
            let adapt = Arc::clone(&adapt);
            let envelope = Box::new(Adapted { message, adapt });
            myself.settle(myself.core.mailbox.offer(PRIORITY_NORMAL, envelope))
        })
    }

    fn settle(&self, offered: Offered<A>) -> Offer {
        match self.core.settle(offered) {
            Ok(()) => Offer::Enqueued,
            Err(error) => error.into(),
        }
    }

    /// Asks the actor to stop after the message it handles now. Stop takes precedence over queued messages, and a
    /// running `ctx.wait` is dropped. To have queued messages handled first, tell the actor a message of your own on
    /// which it calls `ctx.stop()`: Pekko's `PoisonPill`.
    pub fn stop(&self) {
        self.core.request_stop();
    }

    /// Returns `true` if the actor has not stopped.
    pub fn is_alive(&self) -> bool {
        !self.core.stopped().is_cancelled()
    }

    /// Waits until the actor has stopped.
    pub async fn when_stopped(&self) {
        self.core.stopped().cancelled().await;
    }

    /// Returns the path, such as `/user/shop/worker-3`.
    pub fn path(&self) -> &str {
        &self.core.path
    }

    /// Returns the actor as the tree shows it.
    pub fn report(&self) -> ActorReport {
        self.core.report()
    }
}

impl<A: Actor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
        }
    }
}

impl<A: Actor> PartialEq for ActorRef<A> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }
}

impl<A: Actor> Eq for ActorRef<A> {}

impl<A: Actor> fmt::Debug for ActorRef<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ActorRef")
            .field(&self.core.path)
            .finish()
    }
}
