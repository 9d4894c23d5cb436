//! The receptionist: finds actors by the service that they offer.
//!
//! Owns the listings. An actor leaves its listings when it stops (not when it restarts), so that a listing
//! never holds a dead one for longer than its ending takes.

use std::{
    any::{Any, TypeId},
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use actix::{Actor, Handler, Message};

use super::{
    actor_ref::ActorRef, context::Context, message_ref::MessageRef, offer::Offer,
    recipient::Recipient,
};

/// The first of the keys by which the receptionist watches; beyond any actor's id.
const FIRST_WATCH: u64 = 1 << 63;

/// What an actor serves: a name, and the message it takes.
pub struct ServiceKey<M> {
    name: Cow<'static, str>,
    message: PhantomData<fn(M)>,
}

impl<M: 'static> ServiceKey<M> {
    /// Makes a key; keys of the same name and message are the same.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            message: PhantomData,
        }
    }

    fn id(&self) -> (String, TypeId) {
        (self.name.clone().into_owned(), TypeId::of::<M>())
    }
}

impl<M> Clone for ServiceKey<M> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            message: PhantomData,
        }
    }
}

impl<M> fmt::Debug for ServiceKey<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ServiceKey")
            .field(&self.name)
            .finish()
    }
}

/// An actor registered under a key.
pub struct Service<M: Message> {
    /// The actor's path.
    pub path: Arc<str>,
    /// The actor, as a recipient.
    pub recipient: Recipient<M>,
    /// The actor, which may be asked too.
    pub actor: MessageRef<M>,
}

impl<M: Message> Clone for Service<M> {
    fn clone(&self) -> Self {
        Self {
            path: Arc::clone(&self.path),
            recipient: self.recipient.clone(),
            actor: self.actor.clone(),
        }
    }
}

/// The actors registered under a key, in the order of registration.
pub struct Listing<M: Message>(pub Vec<Service<M>>);

impl<M: Message> Clone for Listing<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Message + 'static> Message for Listing<M> {
    type Result = ();
}

impl<M: Message + 'static> fmt::Debug for Service<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Service").field(&self.path).finish()
    }
}

impl<M: Message + 'static> fmt::Debug for Listing<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Listing").field(&self.0).finish()
    }
}

/// Finds actors by [`ServiceKey`]; clones share the listings.
#[derive(Clone, Default)]
pub struct Receptionist {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    last: AtomicU64,
    desks: Mutex<BTreeMap<(String, TypeId), Box<dyn Any + Send>>>,
}

/// The services of one key, and the subscribers to its listing.
struct Desk<M: Message> {
    /// In the order of registration, each with the key of its watch.
    services: Vec<(u64, Service<M>)>,
    subscribers: Vec<Recipient<Listing<M>>>,
}

impl<M: Message + 'static> Desk<M> {
    fn listing(&self) -> Listing<M> {
        let services = self.services.iter();
        Listing(services.map(|(_, service)| service.clone()).collect())
    }
}

type Desks = BTreeMap<(String, TypeId), Box<dyn Any + Send>>;

impl Receptionist {
    fn desks(&self) -> MutexGuard<'_, Desks> {
        let desks = self.inner.desks.lock();
        desks.unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers `actor` under `key` until it stops. An actor may be registered under any number of keys; a second
    /// registration under the same key has no effect.
    pub fn register<A, M>(&self, key: &ServiceKey<M>, actor: &ActorRef<A>)
    where
        A: Actor<Context = Context<A>> + Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let watch = FIRST_WATCH + self.inner.last.fetch_add(1, SeqCst);
        let service = Service {
            path: Arc::clone(&actor.core.path),
            recipient: actor.recipient(),
            actor: actor.narrow(),
        };
        let added = self.change(key, |desk| {
            let mut services = desk.services.iter();
            let known = services.any(|(_, other)| other.actor == service.actor);
            if !known {
                desk.services.push((watch, service));
            }
            !known
        });
        if !added {
            return;
        }
        let receptionist = self.clone();
        let key = key.clone();
        let forget = move |_| {
            receptionist.change(&key, |desk| {
                let listed = desk.services.len();
                desk.services.retain(|(id, _)| *id != watch);
                desk.services.len() < listed
            });
        };
        // Called at once if the actor has stopped, also between the listing and here.
        actor.core.add_watcher(watch, Box::new(forget));
    }

    /// Removes `actor` from the listing of `key`.
    pub fn deregister<A, M>(&self, key: &ServiceKey<M>, actor: &ActorRef<A>)
    where
        A: Actor,
        M: Message + Send + 'static,
    {
        let mut listed = None;
        self.change(key, |desk| {
            let mut services = desk.services.iter();
            let at = services.position(|(_, service)| service.actor.id() == actor.core.id);
            listed = at.map(|at| desk.services.remove(at));
            listed.is_some()
        });
        if let Some((watch, _)) = listed {
            actor.core.remove_watcher(watch);
        }
    }

    /// Returns the actors that are registered under `key` now.
    pub fn find<M: Message + Send + 'static>(&self, key: &ServiceKey<M>) -> Listing<M> {
        let desks = self.desks();
        let desk = desks.get(&key.id());
        let desk = desk.and_then(|desk| desk.downcast_ref::<Desk<M>>());
        desk.map_or_else(|| Listing(Vec::new()), Desk::listing)
    }

    /// Tells `subscriber` the listing of `key` now and at each change.
    ///
    /// A subscriber that is a function must not call the receptionist, which is locked meanwhile.
    pub fn subscribe<M>(&self, key: &ServiceKey<M>, subscriber: Recipient<Listing<M>>)
    where
        M: Message + Send + 'static,
    {
        self.with_desk(key, |desk| {
            if subscriber.tell(desk.listing()) != Offer::Closed {
                desk.subscribers.push(subscriber);
            }
        });
    }

    fn with_desk<M: Message + 'static>(&self, key: &ServiceKey<M>, act: impl FnOnce(&mut Desk<M>)) {
        let mut desks = self.desks();
        let desk = desks.entry(key.id()).or_insert_with(|| {
            Box::new(Desk::<M> {
                services: Vec::new(),
                subscribers: Vec::new(),
            })
        });
        let Some(desk) = desk.downcast_mut::<Desk<M>>() else {
            return;
        };
        act(desk);
        if desk.services.is_empty() && desk.subscribers.is_empty() {
            desks.remove(&key.id());
        }
    }

    /// Lets `act` change a desk. If it returns `true`, the new listing is sent to the subscribers, in the order of the
    /// changes, and stopped ones are removed. Returns what `act` returned.
    fn change<M: Message + 'static>(
        &self,
        key: &ServiceKey<M>,
        act: impl FnOnce(&mut Desk<M>) -> bool,
    ) -> bool {
        let mut changed = false;
        self.with_desk(key, |desk| {
            changed = act(desk);
            if changed {
                let listing = desk.listing();
                desk.subscribers
                    .retain(|subscriber| subscriber.tell(listing.clone()) != Offer::Closed);
            }
        });
        changed
    }
}

impl fmt::Debug for Receptionist {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Receptionist")
            .field("keys", &self.desks().len())
            .finish_non_exhaustive()
    }
}
