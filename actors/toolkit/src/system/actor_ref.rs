//! How an actor is reached: a reference that survives its restarts.

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};
use tokio::sync::oneshot;

use super::{
    context::Context,
    envelope::{Adapted, Ask, AskState, Asking, Tell, Unnoticed},
    mailbox::{Offered, PRIORITY_NORMAL, Refusal},
    report::{ActorReport, ActorState},
};
pub(crate) use super::{
    core::{AnyCell, Core, Parent, Signal},
    recipient::Recipient,
};

/// What became of an offered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Offer {
    /// It waits in the mailbox.
    Enqueued,
    /// The mailbox is full: it was dropped.
    Dropped,
    /// The actor has stopped.
    Closed,
    /// The overflow strategy failed the mailbox.
    Failed,
}

impl Offer {
    /// Says whether the message waits in the mailbox.
    pub fn is_enqueued(self) -> bool {
        self == Self::Enqueued
    }
}

/// Why an ask has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor has stopped; the message was not handled.
    #[error("the actor has stopped")]
    Stopped,
    /// The actor waits for its restart, and its mailbox is full or its strategy refuses messages meanwhile;
    /// the message was not handled, so that it is safe to try again.
    #[error("the actor is restarting")]
    Restarting,
    /// The handler failed, or dropped the answer.
    #[error("the actor failed to answer")]
    Failed,
    /// No answer in time; the message may still be handled, unless it has not begun.
    #[error("the actor did not answer in time")]
    TimedOut,
    /// The mailbox is full; the message was not handled.
    #[error("the mailbox is full")]
    MailboxFull,
}

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

    /// Offers a message that leaves the receive timeout as it is: Pekko's `NotInfluenceReceiveTimeout`,
    /// chosen by the sender.
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

    /// Offers a message to the control lane, whose messages go before all work.
    ///
    /// The lane is for messages whose number is bounded by something else, such as permits or children. Its own
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
    /// because the actor has stopped or the lane is full, is a dead letter.
    pub fn inform<M>(&self, message: M)
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let _needless_if_closed = self.control(message);
    }

    /// Sends a message and waits for its answer, at most for `timeout`. When this future is dropped
    /// before the actor got to the message, the message is skipped.
    ///
    /// # Errors
    /// Says why there is no answer, and so whether a new try is safe: see [`AskError`].
    pub async fn ask<M>(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_by(message, timeout, false).await
    }

    /// Asks through the control lane.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask_control<M>(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_by(message, timeout, true).await
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
        let (answer, answered) = oneshot::channel();
        let asks_in_work = Arc::clone(&self.core.asks_in_work);
        let asking = Asking(Arc::new(AskState::new(asks_in_work)));
        let state = &asking.0;
        let envelope = Box::new(Ask {
            message,
            answer,
            state: Arc::clone(state),
        });
        let asked = async {
            let mailbox = &self.core.mailbox;
            let offered = if control {
                mailbox.offer_control(envelope)
            } else {
                mailbox.offer_waiting(PRIORITY_NORMAL, envelope).await
            };
            match self.core.settle(offered) {
                Ok(()) => {}
                Err(Refusal::Closed) => return Err(AskError::Stopped),
                Err(Refusal::Restarting) => return Err(AskError::Restarting),
                Err(Refusal::Full | Refusal::Failed) => {
                    return Err(if self.core.state() == ActorState::Restarting {
                        AskError::Restarting
                    } else {
                        AskError::MailboxFull
                    });
                }
            }
            answered.await.map_err(|_| state.error())
        };
        let answered = tokio::time::timeout(timeout, asked).await;
        answered.unwrap_or(Err(AskError::TimedOut))
    }

    /// Returns a recipient of one message type, which says nothing of who receives it.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let myself = self.clone();
        Recipient::new(move |message| myself.tell(message))
    }

    /// Returns a recipient that uses the control lane.
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
            Err(refusal) => refusal.into(),
        }
    }

    /// Asks the actor to stop after the message it handles now, before those that wait; a `ctx.wait` that it
    /// is in is dropped. To let it handle what waits first, tell it a message of yours upon which it stops
    /// itself: Pekko's `PoisonPill`.
    pub fn stop(&self) {
        self.core.request_stop();
    }

    /// Says whether the actor has not stopped.
    pub fn is_alive(&self) -> bool {
        !self.core.stopped().is_cancelled()
    }

    /// Waits until the actor has stopped.
    pub async fn when_stopped(&self) {
        self.core.stopped().cancelled().await;
    }

    /// Returns the path, such as `/user/lane-x/worker-3`.
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
