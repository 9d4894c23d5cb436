//! A reference to an actor of which only one message type is known, as routers and listings use it.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};

use super::{
    actor_ref::ActorRef, ask::AskError, context::Context, core::AnyCell, offer::Offer,
    recipient::Recipient, report::ActorState,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A reference to an actor of which only one message type is known; clones share it.
///
/// Unlike a [`Recipient`] it can be asked, and it reports the actor's state and load.
pub struct MessageRef<M: Message>(Arc<dyn Reach<M>>);

/// An actor behind a [`MessageRef`].
trait Reach<M: Message>: Send + Sync {
    fn cell(&self) -> &dyn AnyCell;
    fn tell(&self, message: M) -> Offer;
    fn control(&self, message: M) -> Offer;
    fn offer(&self, message: M) -> Boxed<'_, Offer>;
    fn ask(&self, message: M, timeout: Duration) -> Boxed<'_, Result<M::Result, AskError>>;
}

impl<A, M> Reach<M> for ActorRef<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn cell(&self) -> &dyn AnyCell {
        &*self.core
    }

    fn tell(&self, message: M) -> Offer {
        Self::tell(self, message)
    }

    fn control(&self, message: M) -> Offer {
        Self::control(self, message)
    }

    fn offer(&self, message: M) -> Boxed<'_, Offer> {
        Box::pin(Self::offer(self, message))
    }

    fn ask(&self, message: M, timeout: Duration) -> Boxed<'_, Result<M::Result, AskError>> {
        Box::pin(Self::ask(self, message, timeout))
    }
}

impl<A> ActorRef<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Returns the reference narrowed to one message type.
    pub fn narrow<M>(&self) -> MessageRef<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        MessageRef(Arc::new(self.clone()))
    }
}

impl<M: Message + 'static> MessageRef<M> {
    /// Offers a message; never waits.
    pub fn tell(&self, message: M) -> Offer {
        self.0.tell(message)
    }

    /// Offers a message to the control queue: see [`ActorRef::control`].
    pub fn control(&self, message: M) -> Offer {
        self.0.control(message)
    }

    /// Offers a message; waits for room as [`ActorRef::offer`] does.
    pub async fn offer(&self, message: M) -> Offer {
        self.0.offer(message).await
    }

    /// Sends a message and waits for its answer, as [`ActorRef::ask`] does.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, message: M, timeout: Duration) -> Result<M::Result, AskError> {
        self.0.ask(message, timeout).await
    }

    /// Returns a recipient of the message type.
    pub fn recipient(&self) -> Recipient<M> {
        let myself = self.clone();
        Recipient::new(move |message| myself.tell(message))
    }

    /// Returns the actor's path.
    pub fn path(&self) -> &str {
        self.0.cell().path()
    }

    /// Returns `true` if the actor has not stopped.
    pub fn is_alive(&self) -> bool {
        !self.0.cell().stopped().is_cancelled()
    }

    /// Returns where the actor is in its life.
    pub fn state(&self) -> ActorState {
        self.0.cell().report().state
    }

    /// Returns the actor's load: the messages that wait in its mailbox, the message that it handles, and the asks
    /// that it has taken and not answered.
    pub fn load(&self) -> usize {
        self.0.cell().load()
    }

    /// Asks the actor to stop after the message it handles now.
    pub fn stop(&self) {
        self.0.cell().request_stop();
    }

    /// Waits until the actor has stopped.
    pub async fn when_stopped(&self) {
        self.0.cell().stopped().cancelled().await;
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.cell().id()
    }

    pub(crate) fn cell(&self) -> &dyn AnyCell {
        self.0.cell()
    }
}

impl<M: Message> Clone for MessageRef<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Message + 'static> PartialEq for MessageRef<M> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<M: Message + 'static> Eq for MessageRef<M> {}

impl<M: Message + 'static> fmt::Debug for MessageRef<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("MessageRef")
            .field(&self.path())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use actix::{ResponseFuture, WrapFuture};
    use tokio::sync::oneshot;

    use super::*;
    use crate::system::{ActorSystem, Props};

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Work(oneshot::Receiver<u32>);
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Hold(oneshot::Receiver<()>);
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Gone(u32);
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Watch(MessageRef<Work>, u32);

    #[derive(Default)]
    struct Worker(Arc<AtomicU32>);
    impl Actor for Worker {
        type Context = Context<Self>;
    }
    impl Handler<Work> for Worker {
        type Result = ResponseFuture<u32>;
        fn handle(&mut self, Work(done): Work, _: &mut Context<Self>) -> Self::Result {
            Box::pin(async move { done.await.unwrap_or(0) })
        }
    }
    impl Handler<Hold> for Worker {
        type Result = ();
        fn handle(&mut self, Hold(done): Hold, ctx: &mut Context<Self>) {
            let done = async move { drop(done.await) };
            actix::AsyncContext::wait(ctx, done.into_actor(self));
        }
    }
    impl Handler<Watch> for Worker {
        type Result = ();
        fn handle(&mut self, Watch(other, number): Watch, ctx: &mut Context<Self>) {
            ctx.watch_narrow(&other, Gone(number));
        }
    }
    impl Handler<Gone> for Worker {
        type Result = ();
        fn handle(&mut self, Gone(number): Gone, _: &mut Context<Self>) {
            self.0.fetch_add(number, SeqCst);
        }
    }

    async fn settle() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[actix::test]
    async fn the_load_counts_what_waits_and_what_is_in_work() {
        tokio::time::pause();
        let system = ActorSystem::new("test", 1);
        let actor = system.spawn(Props::new(Worker::default), "worker");
        let narrow = actor.narrow::<Work>();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (done, receiver) = oneshot::channel();
                let narrow = narrow.clone();
                let ask = async move { narrow.ask(Work(receiver), SECOND).await };
                (done, actix_rt::spawn(ask))
            })
            .collect();
        settle().await;
        assert_eq!(narrow.load(), 3, "taken, not answered");
        let (release, held) = oneshot::channel();
        assert!(actor.tell(Hold(held)).is_enqueued());
        settle().await;
        assert_eq!(narrow.load(), 4);
        let (_never, receiver) = oneshot::channel();
        assert!(narrow.tell(Work(receiver)).is_enqueued());
        assert_eq!(narrow.load(), 5, "one waits behind the held one");
        for (done, ask) in waiting {
            assert!(done.send(7).is_ok());
            assert_eq!(ask.await.unwrap(), Ok(7));
        }
        assert_eq!(narrow.load(), 2);
        assert!(release.send(()).is_ok());
        settle().await;
        assert_eq!(narrow.load(), 0, "nobody waits for the answer of a tell");
    }

    #[actix::test]
    async fn an_ask_that_nobody_waits_for_is_no_load() {
        tokio::time::pause();
        let system = ActorSystem::new("test", 1);
        let narrow = system.spawn(Props::new(Worker::default), "worker").narrow();
        let (_never, receiver) = oneshot::channel();
        let asked = narrow.ask(Work(receiver), SECOND).await;
        assert_eq!(asked, Err(AskError::TimedOut));
        assert_eq!(narrow.load(), 0);
    }

    #[actix::test]
    async fn a_narrowed_actor_is_watched_stopped_and_compared() {
        let system = ActorSystem::new("test", 1);
        let sum = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&sum);
        let props = Props::new(move || Worker(Arc::clone(&count)));
        let watcher = system.spawn(props, "watcher");
        let actor = system.spawn(Props::new(Worker::default), "worker");
        let narrow: MessageRef<Work> = actor.narrow();
        assert_eq!(narrow, actor.narrow());
        assert_eq!(narrow.path(), "/user/worker");
        assert_eq!(watcher.ask(Watch(narrow.clone(), 2), SECOND).await, Ok(()));
        narrow.stop();
        narrow.when_stopped().await;
        assert!(!narrow.is_alive());
        assert_eq!(narrow.state(), ActorState::Stopped);
        assert_eq!(watcher.ask(Watch(narrow, 5), SECOND).await, Ok(()));
        settle().await;
        assert_eq!(sum.load(SeqCst), 7);
    }

    #[actix::test]
    async fn a_listing_holds_actors_that_may_be_asked() {
        let system = ActorSystem::new("test", 1);
        let actor = system.spawn(Props::new(Worker::default), "worker");
        let key = crate::system::ServiceKey::<Work>::new("work");
        system.receptionist().register(&key, &actor);
        let service = system.receptionist().find(&key).0.remove(0);
        let (done, receiver) = oneshot::channel();
        assert!(done.send(3).is_ok());
        assert_eq!(service.actor.ask(Work(receiver), SECOND).await, Ok(3));
    }
}
