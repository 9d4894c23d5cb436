//! The state of a router: its routees, its strategy, and the messages held until it has started.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::Message;
use tokio::sync::watch;

use super::routing::{Chooser, Routee, Routing};
use crate::{
    clock::Dice,
    system::{DeadLetters, MessageRef, Offer},
};

impl<M: Message + 'static> Routee for MessageRef<M> {
    fn id(&self) -> u64 {
        Self::id(self)
    }

    fn name(&self) -> &str {
        self.path()
    }

    fn load(&self) -> usize {
        Self::load(self)
    }
}

/// The condition under which a message goes to all routees.
pub(super) struct Broadcast<M> {
    pub(super) matches: Box<dyn Fn(&M) -> bool + Send + Sync>,
    pub(super) copy: fn(&M) -> M,
}

/// A stage of a router's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RouterState {
    Starting,
    Open,
    Stopped,
}

struct Routees<M: Message> {
    state: RouterState,
    all: Vec<MessageRef<M>>,
    chooser: Chooser,
    /// Messages told to the router before it had started.
    held: VecDeque<M>,
}

/// The state that a router's handles and its actor share.
pub(super) struct Table<M: Message> {
    routees: Mutex<Routees<M>>,
    routing: Routing<M>,
    pub(super) broadcast: Option<Broadcast<M>>,
    /// The number of messages that may be held until it has started.
    hold: usize,
    /// `true` if the router has started or stopped.
    started: watch::Sender<bool>,
    dice: Mutex<Dice>,
    dead_letters: Arc<DeadLetters>,
}

/// The destination of a message.
pub(super) enum Place<M: Message> {
    /// To this routee.
    To(MessageRef<M>, M),
    /// It is held until the router has started.
    Held,
    /// It is refused.
    Refused(Offer),
}

impl<M> Table<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub(super) fn new(
        routing: Routing<M>,
        broadcast: Option<Broadcast<M>>,
        (hold, seed): (usize, u64),
        dead_letters: Arc<DeadLetters>,
    ) -> Self {
        let routees = Routees {
            state: RouterState::Starting,
            all: Vec::new(),
            chooser: routing.chooser(),
            held: VecDeque::new(),
        };
        Self {
            routees: Mutex::new(routees),
            routing,
            broadcast,
            hold,
            started: watch::Sender::new(false),
            dice: Mutex::new(Dice::seeded(seed)),
            dead_letters,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Routees<M>> {
        self.routees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses the destination of a message. Without a routee the message is a dead letter of the router at `path`.
    pub(super) fn place(&self, message: M, path: &str) -> Place<M> {
        let key = self.routing.key(&message);
        let mut routees = self.lock();
        let refused = match routees.state {
            RouterState::Stopped => Offer::Closed,
            RouterState::Starting if routees.held.len() < self.hold => {
                routees.held.push_back(message);
                return Place::Held;
            }
            RouterState::Starting => Offer::Dropped,
            RouterState::Open => match routees.choose(key) {
                Some(routee) => return Place::To(routee, message),
                None => Offer::Dropped,
            },
        };
        drop(routees);
        self.refuse(path);
        Place::Refused(refused)
    }

    /// Counts a message that has no destination.
    pub(super) fn refuse(&self, path: &str) {
        let path: Arc<str> = path.into();
        self.dead_letters.note_dropped::<M>(&path);
    }

    /// Sends a message to a routee or to all routees, or holds it.
    pub(super) fn tell(&self, message: M, path: &str) -> Offer {
        let goes_to_all = self
            .broadcast
            .as_ref()
            .filter(|all| (all.matches)(&message));
        if let Some(broadcast) = goes_to_all
            && self.has_started()
        {
            return self.tell_all(&message, broadcast.copy, path).0;
        }
        match self.place(message, path) {
            Place::To(routee, message) => routee.tell(message),
            Place::Held => Offer::Enqueued,
            Place::Refused(offer) => offer,
        }
    }

    /// Sends a message to all routees. Returns the result and the number of routees that accepted it. The result is
    /// `Enqueued` if at least one accepted it.
    pub(super) fn tell_all(&self, message: &M, copy: fn(&M) -> M, path: &str) -> (Offer, usize) {
        let (state, all) = {
            let routees = self.lock();
            (routees.state, routees.all.clone())
        };
        if all.is_empty() {
            self.refuse(path);
            let stopped = state == RouterState::Stopped;
            let offer = if stopped {
                Offer::Closed
            } else {
                Offer::Dropped
            };
            return (offer, 0);
        }
        let offers = all.iter().map(|routee| routee.tell(copy(message)));
        let taken = offers.filter(|offer| offer.is_enqueued()).count();
        let offer = if taken > 0 {
            Offer::Enqueued
        } else {
            Offer::Dropped
        };
        (offer, taken)
    }

    /// Returns the routees in a random order.
    pub(super) fn shuffled(&self) -> Vec<MessageRef<M>> {
        let mut all = self.living();
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        for place in (1..all.len()).rev() {
            all.swap(place, super::routing::any(&mut dice, place + 1));
        }
        all
    }

    /// Returns the routees in their order.
    pub(super) fn living(&self) -> Vec<MessageRef<M>> {
        let mut all = self.lock().all.clone();
        all.retain(MessageRef::is_alive);
        all
    }

    pub(super) fn has_started(&self) -> bool {
        self.lock().state != RouterState::Starting
    }

    /// Waits until the router has started.
    pub(super) async fn when_started(&self) {
        let mut started = self.started.subscribe();
        // The sender is part of the table, so it lives as long as this future.
        if started.wait_for(|started| *started).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sets the current routees. Routees that were there before keep their places, in front of the new ones.
    pub(super) fn update(&self, now: Vec<MessageRef<M>>, path: &str) {
        {
            let mut routees = self.lock();
            if routees.state == RouterState::Stopped {
                return;
            }
            let gone: Vec<u64> = routees.all.iter().map(MessageRef::id).collect();
            for id in gone {
                if !now.iter().any(|routee| routee.id() == id) {
                    routees.remove(id);
                }
            }
            for routee in now {
                routees.add(routee);
            }
        }
        self.release(path);
    }

    /// Removes a routee that stopped. Returns the number of remaining routees.
    pub(super) fn remove(&self, id: u64) -> usize {
        let mut routees = self.lock();
        routees.remove(id);
        routees.all.len()
    }

    /// Sends the held messages in their order, before later messages and outside the lock.
    fn release(&self, path: &str) {
        loop {
            let held = {
                let mut routees = self.lock();
                if routees.state != RouterState::Starting {
                    return;
                }
                if routees.held.is_empty() {
                    routees.state = RouterState::Open;
                    break;
                }
                std::mem::take(&mut routees.held)
            };
            for message in held {
                self.tell_held(message, path);
            }
        }
        self.started.send_replace(true);
    }

    fn tell_held(&self, message: M, path: &str) {
        let goes_to_all = self
            .broadcast
            .as_ref()
            .filter(|all| (all.matches)(&message));
        if let Some(broadcast) = goes_to_all {
            // A routee that refuses it counts it as a dead letter. Its sender has already received `Enqueued`.
            let _told = self.tell_all(&message, broadcast.copy, path);
            return;
        }
        let key = self.routing.key(&message);
        let routee = self.lock().choose(key);
        if routee.map(|routee| routee.tell(message)).is_none() {
            self.refuse(path);
        }
    }

    /// Refuses all messages from now on.
    pub(super) fn close(&self, path: &str) {
        let held = {
            let mut routees = self.lock();
            routees.state = RouterState::Stopped;
            routees.all.clear();
            std::mem::take(&mut routees.held)
        };
        for _message in held {
            self.refuse(path);
        }
        self.started.send_replace(true);
    }
}

impl<M: Message + 'static> Routees<M> {
    fn add(&mut self, routee: MessageRef<M>) {
        let known = self.all.iter().any(|other| other.id() == routee.id());
        if !known && routee.is_alive() {
            self.chooser.added(&routee);
            self.all.push(routee);
        }
    }

    fn remove(&mut self, id: u64) {
        let place = self.all.iter().position(|routee| routee.id() == id);
        if let Some(place) = place {
            let routee = self.all.remove(place);
            self.chooser.removed(place, &routee);
        }
    }

    /// Chooses a routee. One that has stopped is removed at once, before the router is notified.
    fn choose(&mut self, key: u64) -> Option<MessageRef<M>> {
        loop {
            let place = self.chooser.choose(key, &self.all)?;
            let routee = self.all.get(place)?;
            if routee.is_alive() {
                return Some(routee.clone());
            }
            self.remove(routee.id());
        }
    }
}
