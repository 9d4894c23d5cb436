//! Routers: one reference, many actors behind it.
//!
//! Owns the list of routees and whose turn it is. A router is no stop on the way: a message goes from the sender's
//! own thread into the chosen routee's mailbox, and the routee's offer is the router's, so that a router adds no
//! queue and hides no bound. Only what is told before its actor has started is held, up to a bound.
//!
//! A *pool* makes its routees, as supervised children; one that stops leaves the pool, and with the last the router
//! stops. A *group* finds them, by a key of the receptionist, and follows the listing; it lives without any.
//!
//! Source: Pekko's `Routers` (typed), and its classic smallest-mailbox, tail-chopping and scatter-gather routers.
//! What differs:
//! - The router's own mailbox does not lie between sender and routee, as in Pekko's classic routers.
//! - The receptionist answers at once, so that a group holds messages for one turn of its actor, not for a round
//!   trip.
//! - An ask that failed is no answer: asking more than one goes on until all have failed.
//! - There is no resizer. Who wants workers by demand has work pulling.

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};
use tokio::time::Instant;

use crate::system::{
    ActorRef, ActorSystem, AskError, Context, MessageRef, Offer, Props, Recipient, ServiceKey,
};

mod asks;
mod head;
mod ring;
mod routing;
mod table;

pub use head::RouterActor;
pub use routing::Routing;

use head::Source;
use table::{Broadcast, Place, Table};

/// Messages that may be held until a router has started.
const HOLD: usize = 1000;

/// A reference to a router; clones share it.
pub struct Router<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    table: Arc<Table<M>>,
    head: ActorRef<RouterActor<M>>,
}

/// How to make a router.
pub struct RouterBuilder<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    source: Source<M>,
    routing: Option<Routing<M>>,
    /// The strategy of a router that was told none.
    is_pool: bool,
    broadcast: Option<Broadcast<M>>,
    hold: usize,
}

impl<M> RouterBuilder<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn new(source: Source<M>, is_pool: bool) -> Self {
        Self {
            source,
            routing: None,
            is_pool,
            broadcast: None,
            hold: HOLD,
        }
    }

    /// Sets the strategy; by default a pool goes round robin and a group by chance.
    #[must_use]
    pub fn routing(mut self, routing: Routing<M>) -> Self {
        self.routing = Some(routing);
        self
    }

    /// Has the messages for which `matches` holds told to all routees.
    #[must_use]
    pub fn broadcast_when(mut self, matches: impl Fn(&M) -> bool + Send + Sync + 'static) -> Self
    where
        M: Clone,
    {
        self.broadcast = Some(Broadcast {
            matches: Box::new(matches),
            copy: M::clone,
        });
        self
    }

    /// Sets how many messages may be held until the router has started; default 1000.
    #[must_use]
    pub fn hold(mut self, messages: usize) -> Self {
        self.hold = messages;
        self
    }

    /// Starts the router under `/user`.
    pub fn spawn(self, system: &ActorSystem, name: &str) -> Router<M> {
        let (table, props) = self.parts(system);
        let head = system.spawn(props, name);
        Router { table, head }
    }

    /// Starts the router as a child.
    pub fn spawn_child<A>(self, ctx: &mut Context<A>, name: &str) -> Router<M>
    where
        A: Actor<Context = Context<A>>,
    {
        let (table, props) = self.parts(ctx.system());
        let head = ctx.spawn_child(props, name);
        Router { table, head }
    }

    fn parts(self, system: &ActorSystem) -> (Arc<Table<M>>, Props<RouterActor<M>>) {
        let seed = system.seed();
        let routing = self.routing.unwrap_or_else(|| {
            if self.is_pool {
                Routing::round_robin()
            } else {
                Routing::random(seed)
            }
        });
        let dead_letters = system.dead_letter_box();
        let table = Table::new(routing, self.broadcast, (self.hold, seed), dead_letters);
        let table = Arc::new(table);
        let props = RouterActor::props(Arc::clone(&table), self.source);
        (table, props)
    }
}

impl<M> Router<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// Describes a pool of `size` routees (at least 1), each made from the props of its number, from 0.
    pub fn pool<A>(
        size: usize,
        props: impl FnMut(usize) -> Props<A> + Send + 'static,
    ) -> RouterBuilder<M>
    where
        A: Actor<Context = Context<A>> + Handler<M>,
    {
        RouterBuilder::new(head::pool(size.max(1), props), true)
    }

    /// Describes a group of the actors that the receptionist lists under `key`, now and later.
    pub fn group(key: &ServiceKey<M>) -> RouterBuilder<M> {
        RouterBuilder::new(head::group(key.clone()), false)
    }

    /// Offers a message to a routee; never waits. Without a routee it is dropped, and a dead letter.
    pub fn tell(&self, message: M) -> Offer {
        self.table.tell(message, self.path())
    }

    /// Offers a message to a routee; waits for room where that one's overflow strategy is backpressure.
    pub async fn offer(&self, message: M) -> Offer {
        self.table.when_started().await;
        if self.goes_to_all(&message) {
            return self.tell(message);
        }
        match self.table.place(message, self.path()) {
            Place::To(routee, message) => routee.offer(message).await,
            Place::Held => Offer::Enqueued,
            Place::Refused(offer) => offer,
        }
    }

    /// Asks a routee, at most for `timeout`. A message that goes to all is answered by the first.
    ///
    /// # Errors
    /// See [`AskError`]; without a routee it is `Stopped`: nobody handled the message.
    pub async fn ask(&self, message: M, timeout: Duration) -> Result<M::Result, AskError> {
        let left = self.start_within(timeout).await?;
        if let Some(broadcast) = &self.table.broadcast
            && (broadcast.matches)(&message)
        {
            let copy = || (broadcast.copy)(&message);
            return asks::first(self.table.living(), copy, left).await;
        }
        match self.table.place(message, self.path()) {
            Place::To(routee, message) => routee.ask(message, left).await,
            Place::Held | Place::Refused(_) => Err(AskError::Stopped),
        }
    }

    /// Asks all routees at once, and returns the first answer. The asks that lost are skipped, or cancelled.
    ///
    /// # Errors
    /// The last error, when all have failed.
    pub async fn ask_first(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        M: Clone,
    {
        let left = self.start_within(timeout).await?;
        asks::first(self.table.living(), || message.clone(), left).await
    }

    /// Asks one routee by chance, and another each time `interval` has passed without an answer, or one has
    /// failed; returns the first answer. It cuts the tail of slow answers for few asks more.
    ///
    /// # Errors
    /// `TimedOut` after `timeout`, or the last error when all have failed.
    pub async fn ask_tail_chopping(
        &self,
        message: M,
        interval: Duration,
        timeout: Duration,
    ) -> Result<M::Result, AskError>
    where
        M: Clone,
    {
        let left = self.start_within(timeout).await?;
        asks::in_turn(self.table.shuffled(), || message.clone(), interval, left).await
    }

    /// Tells a message to all routees there are; returns how many took it.
    pub fn broadcast(&self, message: &M) -> usize
    where
        M: Clone,
    {
        self.table.tell_all(message, M::clone, self.path()).1
    }

    fn goes_to_all(&self, message: &M) -> bool {
        let broadcast = self.table.broadcast.as_ref();
        broadcast.is_some_and(|all| (all.matches)(message))
    }

    /// Waits for the start; returns what is left of `timeout`.
    async fn start_within(&self, timeout: Duration) -> Result<Duration, AskError> {
        crate::system::place::require_runtime("ask");
        let asked = Instant::now();
        let started = tokio::time::timeout(timeout, self.table.when_started()).await;
        started.map_err(|_| AskError::TimedOut)?;
        Ok(timeout.saturating_sub(asked.elapsed()))
    }

    /// Returns the routees that live, in their order.
    pub fn routees(&self) -> Vec<MessageRef<M>> {
        self.table.living()
    }

    /// Returns a recipient of the router's message type.
    pub fn recipient(&self) -> Recipient<M> {
        let myself = self.clone();
        Recipient::new(move |message| myself.tell(message))
    }

    /// Returns the router's actor, to be watched.
    pub fn actor(&self) -> &ActorRef<RouterActor<M>> {
        &self.head
    }

    /// Stops the router, and the routees of a pool.
    pub fn stop(&self) {
        self.head.stop();
    }

    /// Says whether the router has not stopped.
    pub fn is_alive(&self) -> bool {
        self.head.is_alive()
    }

    /// Waits until the router has stopped.
    pub async fn when_stopped(&self) {
        self.head.when_stopped().await;
    }

    /// Returns the router's path.
    pub fn path(&self) -> &str {
        self.head.path()
    }
}

impl<M> Clone for Router<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            head: self.head.clone(),
        }
    }
}

impl<M> fmt::Debug for Router<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Router").field(&self.path()).finish()
    }
}

impl<M> fmt::Debug for RouterBuilder<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RouterBuilder")
            .field("routing", &self.routing)
            .field("hold", &self.hold)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
