//! The system's event stream: whoever subscribes to a type hears every event of that type.
//!
//! Owns the subscriptions. It never waits for a subscriber: an event that a full mailbox refuses is lost to
//! that subscriber, and a subscriber that has stopped is forgotten at the next event.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::Message;

use super::{catch::guard, offer::Offer, recipient::Recipient};

/// An actor failed and is made anew.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Restarted {
    /// The actor.
    pub path: Arc<str>,
    /// What it failed of.
    pub fault: String,
    /// Its restarts since it was spawned, this one included.
    pub restarts: u32,
}

/// Identifies a subscription, to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscription(u64);

/// Publishes events by their type; clones share the subscriptions.
///
/// A subscription is to one type: Rust has no supertypes to subscribe to. An enum of events, or one
/// subscription for each type through `ActorRef::adapter`, takes their place.
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

    /// Has every later event of type `E` told to `subscriber`.
    pub fn subscribe<E: Send + 'static>(&self, subscriber: Recipient<E>) -> Subscription {
        let mut subscribers = self.lock();
        subscribers.last += 1;
        let id = subscribers.last;
        let of_type = subscribers.by_type.entry(TypeId::of::<E>()).or_default();
        of_type.insert(id, Box::new(subscriber));
        Subscription(id)
    }

    /// Ends a subscription; says whether there was one.
    pub fn unsubscribe(&self, subscription: Subscription) -> bool {
        let mut subscribers = self.lock();
        let mut of_types = subscribers.by_type.values_mut();
        of_types.any(|of_type| of_type.remove(&subscription.0).is_some())
    }

    /// Tells `event` to every subscriber of its type; returns how many took it.
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
            // A subscriber may be a function of the user's, and who publishes is not to die of it.
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
