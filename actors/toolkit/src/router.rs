//! Routers: one reference to many actors.
//!
//! Owns the list of routees and chooses among them. A router has no queue: the sender's thread puts a message into the
//! mailbox of the chosen routee, and the routee's offer is the result of the router, so the bounds of the routees
//! apply. Only messages told before the router has started are held, up to a bound.
//!
//! A *pool* creates its routees as supervised children. A routee that stops leaves the pool, and the router stops with
//! its last routee. A *group* finds its routees by a key of the receptionist and follows the listing; it continues
//! without any.
//!
//! A router has one message type. For several types, register the actors under one key for each type, and use a group
//! for each key.
//!
//! Source: Pekko's `Routers` (typed), and its classic smallest-mailbox, tail-chopping and scatter-gather routers.
//! Differences:
//! - As in Pekko's classic routers, a message does not pass through the router's own mailbox.
//! - The receptionist answers at once, so a group holds messages for one turn of its actor, not for a round trip.
//! - A failed ask is not an answer: asking several routees continues until all have failed.
//! - There is no resizer; use work pulling to give work to workers on demand.

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

/// The number of messages that may be held until a router has started.
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

/// A builder of a router.
pub struct RouterBuilder<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    source: Source<M>,
    routing: Option<Routing<M>>,
    /// Determines the default strategy.
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

    /// Sets the strategy. Default: round robin for a pool, random for a group.
    #[must_use]
    pub fn routing(mut self, routing: Routing<M>) -> Self {
        self.routing = Some(routing);
        self
    }

    /// Sends the messages for which `matches` returns `true` to all routees.
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

    /// Sets the number of messages that may be held until the router has started; default 1000.
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
    /// Returns a builder of a pool of `size` routees (at least 1). Routee number n, from 0, is created from the props
    /// that the function returns for n.
    pub fn pool<A>(
        size: usize,
        props: impl FnMut(usize) -> Props<A> + Send + 'static,
    ) -> RouterBuilder<M>
    where
        A: Actor<Context = Context<A>> + Handler<M>,
    {
        RouterBuilder::new(head::pool(size.max(1), props), true)
    }

    /// Returns a builder of a group of the actors that the receptionist lists under `key`, now and later.
    pub fn group(key: &ServiceKey<M>) -> RouterBuilder<M> {
        RouterBuilder::new(head::group(key.clone()), false)
    }

    /// Offers a message to a routee without waiting. If there is no routee, the message is a dead letter.
    pub fn tell(&self, message: M) -> Offer {
        self.table.tell(message, self.path())
    }

    /// Offers a message to a routee. It waits for room if the routee's overflow strategy is backpressure.
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

    /// Asks a routee, at most for `timeout`. If the message goes to all routees, the first answer is returned.
    ///
    /// # Errors
    /// See [`AskError`]; it is `Stopped` if there is no routee.
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

    /// Asks all routees at once, and returns the first answer. The other asks are skipped or cancelled.
    ///
    /// # Errors
    /// Returns the last error if all have failed.
    pub async fn ask_first(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        M: Clone,
    {
        let left = self.start_within(timeout).await?;
        asks::first(self.table.living(), || message.clone(), left).await
    }

    /// Asks a random routee, and another one each time `interval` passes without an answer or an ask fails. Returns
    /// the first answer. This reduces the tail latency at the cost of a few additional asks.
    ///
    /// # Errors
    /// Returns `TimedOut` after `timeout`, or the last error if all have failed.
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

    /// Sends a message to all routees. Returns the number of routees that accepted it.
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

    /// Waits until the router has started. Returns the rest of `timeout`.
    async fn start_within(&self, timeout: Duration) -> Result<Duration, AskError> {
        crate::system::place::require_runtime("ask");
        let asked = Instant::now();
        let started = tokio::time::timeout(timeout, self.table.when_started()).await;
        started.map_err(|_| AskError::TimedOut)?;
        Ok(timeout.saturating_sub(asked.elapsed()))
    }

    /// Returns the living routees in their order.
    pub fn routees(&self) -> Vec<MessageRef<M>> {
        self.table.living()
    }

    /// Returns a recipient of the router's message type.
    pub fn recipient(&self) -> Recipient<M> {
        let myself = self.clone();
        Recipient::new(move |message| myself.tell(message))
    }

    /// Returns the router's actor, which can be watched.
    pub fn actor(&self) -> &ActorRef<RouterActor<M>> {
        &self.head
    }

    /// Stops the router, and the routees of a pool.
    pub fn stop(&self) {
        self.head.stop();
    }

    /// Returns `true` if the router has not stopped.
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
