//! The bounded mailbox: a work queue with a strict bound, and a control queue.
//!
//! actix gives each clone of an address a free slot, so that its mailbox is not bounded. Here the bound is one count
//! under one lock, for all senders. The control queue is for messages whose number is bounded by
//! something else (a permit, a worker, a child); they are handled before work, and a bound of its own, far
//! above what is usual, keeps a mistake from using up the memory. Within the work queue a higher
//! priority goes first, and equal ones stay in order.
//!
//! Two things enter the work queue beyond its bound, both by the actor's own doing: what it unstashes, which
//! was accepted once, and what must not be lost (its notifications to itself, and the end of whom it
//! watches). They count, so that others are refused the sooner; the latter are never dropped for room.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use actix::Actor;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::{envelope::Envelope, metrics::Observation, offer::Offer};

mod work;

use work::{End, Work};

/// What a full mailbox does with one more message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Refuses the new message: the default.
    #[default]
    DropNew,
    /// Drops the oldest message of the lowest priority; the new one, if its priority is lower still.
    DropHead,
    /// Drops the youngest message of the lowest priority; the new one, if its priority is lower still.
    DropTail,
    /// Drops all waiting messages.
    DropBuffer,
    /// Refuses the new message and fails the actor.
    Fail,
    /// Refuses a tell; `offer` and `ask` wait for room.
    Backpressure,
}

/// The priority of messages that were given none; higher goes first.
pub const PRIORITY_NORMAL: u8 = 128;

/// How many messages may wait, and what is done beyond that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Messages in the work queue.
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    /// Messages in the control queue.
    pub(crate) control: usize,
}

/// The messages that wait for one actor; survives the actor's restarts.
pub(crate) struct Mailbox<A: Actor> {
    queues: Mutex<Queues<A>>,
    bounds: Bounds,
    waker: AtomicWaker,
    /// Notified at each message that leaves, for senders that wait for room.
    room: Notify,
    /// Set before the actor starts, if it is observed.
    pub(crate) observation: Option<Observation>,
}

struct Queues<A: Actor> {
    control: VecDeque<Envelope<A>>,
    work: Work<A>,
    closed: bool,
    /// Work is refused while the actor restarts.
    refusing: bool,
}

/// Why a message did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferError {
    Full,
    /// The strategy refuses messages while the actor restarts.
    Restarting,
    Closed,
    Failed,
}

impl From<OfferError> for Offer {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::Full | OfferError::Restarting => Self::Dropped,
            OfferError::Closed => Self::Closed,
            OfferError::Failed => Self::Failed,
        }
    }
}

/// The result of an offer: whether the message was taken, and what it evicted.
pub(crate) struct Offered<A: Actor> {
    pub(crate) refused: Option<(OfferError, Envelope<A>)>,
    pub(crate) evicted: Vec<Envelope<A>>,
}

impl<A: Actor> Offered<A> {
    fn refused(error: OfferError, envelope: Envelope<A>) -> Self {
        Self {
            refused: Some((error, envelope)),
            evicted: Vec::new(),
        }
    }

    fn taken() -> Self {
        Self {
            refused: None,
            evicted: Vec::new(),
        }
    }
}

impl<A: Actor> Queues<A> {
    fn offer(&mut self, mailbox: &Mailbox<A>, priority: u8, envelope: Envelope<A>) -> Offered<A> {
        if self.closed {
            return Offered::refused(OfferError::Closed, envelope);
        }
        if self.refusing {
            return Offered::refused(OfferError::Restarting, envelope);
        }
        let mut evicted = Vec::new();
        if self.work.len() >= mailbox.bounds.capacity {
            match mailbox.bounds.overflow {
                Overflow::DropNew | Overflow::Backpressure => {}
                Overflow::Fail => return Offered::refused(OfferError::Failed, envelope),
                Overflow::DropHead => evicted.extend(self.work.evict(End::Oldest, priority)),
                Overflow::DropTail => evicted.extend(self.work.evict(End::Youngest, priority)),
                Overflow::DropBuffer => evicted = self.work.evict_all(),
            }
            if evicted.is_empty() {
                return Offered::refused(OfferError::Full, envelope);
            }
        }
        self.work.push_back(priority, mailbox.wrapped(envelope));
        Offered {
            refused: None,
            evicted,
        }
    }
}

impl<A: Actor> Mailbox<A> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            queues: Mutex::new(Queues {
                control: VecDeque::new(),
                work: Work::new(),
                closed: false,
                refusing: false,
            }),
            bounds,
            waker: AtomicWaker::new(),
            room: Notify::new(),
            observation: None,
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues<A>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrapped(&self, envelope: Envelope<A>) -> Envelope<A> {
        match &self.observation {
            Some(observation) => observation.wrap(envelope),
            None => envelope,
        }
    }

    /// Puts a message into the work queue behind those of its priority, or gives it back.
    pub(crate) fn offer(&self, priority: u8, envelope: Envelope<A>) -> Offered<A> {
        let offered = self.queues().offer(self, priority, envelope);
        if offered.refused.is_none() {
            self.waker.wake();
        }
        offered
    }

    /// Puts a message that must not be lost into the work queue, whatever its bound.
    pub(crate) fn offer_essential(&self, envelope: Envelope<A>) -> Offered<A> {
        {
            let mut queues = self.queues();
            if queues.closed {
                return Offered::refused(OfferError::Closed, envelope);
            }
            queues
                .work
                .push_essential(PRIORITY_NORMAL, self.wrapped(envelope));
        }
        self.waker.wake();
        Offered::taken()
    }

    /// Puts a message into the work queue, waiting for room where the overflow strategy is backpressure.
    pub(crate) async fn offer_waiting(&self, priority: u8, envelope: Envelope<A>) -> Offered<A> {
        if self.bounds.overflow != Overflow::Backpressure {
            return self.offer(priority, envelope);
        }
        let mut envelope = envelope;
        loop {
            // Registered before the try, so that room made in between is not missed.
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            let offered = self.offer(priority, envelope);
            match offered.refused {
                Some((OfferError::Full, back)) => {
                    envelope = back;
                }
                refused => return Offered { refused, ..offered },
            }
            room.await;
        }
    }

    /// Returns `true` if the work queue has room.
    pub(crate) fn has_room(&self) -> bool {
        self.queues().work.len() < self.bounds.capacity
    }

    /// Puts a message at the end of the control queue, or gives it back when the actor has stopped or the queue
    /// is full.
    pub(crate) fn offer_control(&self, envelope: Envelope<A>) -> Offered<A> {
        {
            let mut queues = self.queues();
            if queues.closed {
                return Offered::refused(OfferError::Closed, envelope);
            }
            if queues.control.len() >= self.bounds.control {
                return Offered::refused(OfferError::Full, envelope);
            }
            queues.control.push_back(self.wrapped(envelope));
        }
        self.waker.wake();
        Offered::taken()
    }

    /// Puts stashed messages before all others, in their order.
    pub(crate) fn put_back(&self, envelopes: VecDeque<Envelope<A>>) {
        let mut queues = self.queues();
        for envelope in envelopes.into_iter().rev() {
            queues.work.push_front(self.wrapped(envelope));
        }
    }

    /// Refuses work, or takes it again; what waits stays, and the control queue stays open.
    pub(crate) fn refuse_work(&self, refusing: bool) {
        self.queues().refusing = refusing;
    }

    pub(crate) fn take_control(&self) -> Option<Envelope<A>> {
        self.queues().control.pop_front()
    }

    pub(crate) fn take_work(&self) -> Option<Envelope<A>> {
        let taken = self.queues().work.pop_first();
        if taken.is_some() && self.bounds.overflow == Overflow::Backpressure {
            self.room.notify_one();
        }
        taken
    }

    /// Refuses messages from now on; returns those that will not be handled.
    pub(crate) fn close(&self) -> Vec<Envelope<A>> {
        let mut queues = self.queues();
        queues.closed = true;
        let control = std::mem::take(&mut queues.control);
        let work = queues.work.take_all();
        self.room.notify_waiters();
        control.into_iter().chain(work).collect()
    }

    pub(crate) fn len(&self) -> usize {
        let queues = self.queues();
        queues.work.len() + queues.control.len()
    }

    /// Registers `waker` to be woken, or none.
    pub(crate) fn register(&self, waker: Option<&std::task::Waker>) {
        match waker {
            Some(waker) => self.waker.register(waker),
            None => drop(self.waker.take()),
        }
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

impl<A: Actor> fmt::Debug for Mailbox<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mailbox")
            .field("len", &self.len())
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}
