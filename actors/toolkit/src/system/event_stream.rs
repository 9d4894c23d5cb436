//! The event stream of a system: publishes events to the subscribers of their type.
//!
//! Owns the subscriptions. It never waits for a subscriber: an event that a full mailbox refuses is lost to that
//! subscriber, and a stopped subscriber is removed at the next event.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::Message;

use super::{catch::guard, offer::Offer, recipient::Recipient};

/// Published when an actor has failed and restarts.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Restarted {
    /// The actor.
    pub path: Arc<str>,
    /// The failure.
    pub fault: String,
    /// Its restarts since it was spawned, this one included.
    pub restarts: u32,
}

/// Identifies a subscription, to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscription(u64);

/// Publishes events by their type; clones share the subscriptions.
///
/// A subscription is to one type, for Rust has no supertypes. To receive several, publish an enum, or subscribe to
/// each type through `ActorRef::adapter`.
#[derive(Clone, Default)]
pub struct EventStream {
    inner: Arc<Mutex<Subscribers>>,
}

#[derive(Default)]
struct Subscribers {
    last: u64,
    by_type: BTreeMap<TypeId, BTreeMap<u64, Box<dyn Any + Send>>>,
}

impl EventStream {
    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to the events of type `E` that are published from now on.
    pub fn subscribe<E: Send + 'static>(&self, subscriber: Recipient<E>) -> Subscription {
        let mut subscribers = self.lock();
        subscribers.last += 1;
        let id = subscribers.last;
        let of_type = subscribers.by_type.entry(TypeId::of::<E>()).or_default();
        of_type.insert(id, Box::new(subscriber));
        Subscription(id)
    }

    /// Ends a subscription. Returns `false` if there was none.
    pub fn unsubscribe(&self, subscription: Subscription) -> bool {
        let mut subscribers = self.lock();
        let mut of_types = subscribers.by_type.values_mut();
        of_types.any(|of_type| of_type.remove(&subscription.0).is_some())
    }

    /// Publishes `event` to every subscriber of its type; returns how many accepted it.
    pub fn publish<E: Clone + Send + 'static>(&self, event: &E) -> usize {
        // Told outside the lock, so that a subscriber may itself publish or subscribe.
        let subscribers: Vec<(u64, Recipient<E>)> = {
            let all = self.lock();
            let Some(of_type) = all.by_type.get(&TypeId::of::<E>()) else {
                return 0;
            };
            let typed = of_type.iter().filter_map(|(id, subscriber)| {
                let recipient = subscriber.downcast_ref::<Recipient<E>>()?;
                Some((*id, recipient.clone()))
            });
            typed.collect()
        };
        let mut taken = 0;
        for (id, subscriber) in subscribers {
            let mut offer = Offer::Failed;
            // A subscriber may be a function of the application's; its panic is not the publisher's.
            guard("event stream", || offer = subscriber.tell(event.clone()));
            match offer {
                Offer::Enqueued => taken += 1,
                Offer::Closed => {
                    self.unsubscribe(Subscription(id));
                }
                Offer::Dropped | Offer::Failed => {}
            }
        }
        taken
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventStream")
            .field("types", &self.lock().by_type.len())
            .finish_non_exhaustive()
    }
}
