//! A topic: what is published reaches all its subscribers.
//!
//! Owns nothing but a key: the subscribers of a topic are listed by the receptionist, which forgets them when they stop.
//! Source: Pekko's typed `Topic` and its `LocalPubSubSpec`.

use std::fmt;

use actix::{Actor, Handler, Message};

use crate::{ActorRef, ActorSystem, Context, Offer, Recipient, ServiceKey};

/// Publishes messages of one type to the actors that subscribed under its name.
///
/// Topics of one name and message type in one system are the same topic, whoever makes them, and clones share it. A
/// subscriber receives what is published behind its subscription, in the order of each publisher, until it unsubscribes or
/// stops; a restart keeps it. Pekko's topic is an actor; this one passes messages on in the publisher's thread, and has no
/// mailbox that could overflow.
///
/// ```
/// use actix::{Actor, Handler, Message};
/// use kebne_actors::{ActorSystem, Context, Props, topic::Topic};
///
/// #[derive(Clone, Message)]
/// #[rtype(result = "()")]
/// struct News(&'static str);
///
/// struct Reader;
///
/// impl Actor for Reader {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<News> for Reader {
///     type Result = ();
///
///     fn handle(&mut self, _: News, _: &mut Context<Self>) {}
/// }
///
/// # actix::System::new().block_on(async {
/// let system = ActorSystem::new("example", 1);
/// let topic = Topic::<News>::new(&system, "news");
/// let reader = system.spawn(Props::new(|| Reader), "reader");
/// topic.subscribe(&reader);
/// assert_eq!(topic.publish(&News("a headline")), 1);
/// # });
/// ```
pub struct Topic<M> {
    system: ActorSystem,
    key: ServiceKey<M>,
}

impl<M> Topic<M>
where
    M: Message + Clone + Send + 'static,
    M::Result: Send,
{
    /// Returns the topic of this name.
    pub fn new(system: &ActorSystem, name: &str) -> Self {
        Self {
            system: system.clone(),
            // No service of the application has such a name.
            key: ServiceKey::new(format!("\0topic {name}")),
        }
    }

    /// Subscribes an actor. A second subscription has no effect.
    pub fn subscribe<A>(&self, subscriber: &ActorRef<A>)
    where
        A: Actor<Context = Context<A>> + Handler<M>,
    {
        self.system.receptionist().register(&self.key, subscriber);
    }

    /// Ends the subscription of an actor. What it was told before stays in its mailbox.
    pub fn unsubscribe<A: Actor>(&self, subscriber: &ActorRef<A>) {
        self.system.receptionist().deregister(&self.key, subscriber);
    }

    /// Sends a message to all subscribers, and returns how many have it in their mailboxes. A subscriber with a full mailbox
    /// misses it, which is a dead letter; without subscribers nothing happens.
    pub fn publish(&self, message: &M) -> usize {
        let subscribers = self.system.receptionist().find(&self.key).0.into_iter();
        let taken = subscribers.filter(|subscriber| {
            let offer = subscriber.recipient.tell(message.clone());
            offer.is_enqueued()
        });
        taken.count()
    }

    /// Returns the number of subscribers: Pekko's `GetTopicStats`.
    pub fn subscribers(&self) -> usize {
        self.system.receptionist().find(&self.key).0.len()
    }

    /// Returns a recipient that publishes what it is told.
    pub fn recipient(&self) -> Recipient<M> {
        let topic = self.clone();
        Recipient::new(move |message| {
            topic.publish(&message);
            Offer::Enqueued
        })
    }
}

impl<M> Clone for Topic<M> {
    fn clone(&self) -> Self {
        Self {
            system: self.system.clone(),
            key: self.key.clone(),
        }
    }
}

impl<M: 'static> fmt::Debug for Topic<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Topic").field(&self.key).finish()
    }
}

#[cfg(test)]
mod tests;
