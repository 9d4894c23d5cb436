//! The bounded mailbox: two lanes, one strict bound.
//!
//! actix gives each clone of an address a free slot, so its mailbox is no bound. Here the bound is one
//! count under one lock, whoever sends. The control lane is for messages whose number is bounded by
//! something else (a permit, a worker, a child); they never wait behind work. Within the work lane a higher
//! priority goes first, and equal ones stay in order.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use actix::Actor;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::{actor_ref::Offer, envelope::Envelope};

/// What a full mailbox does with one more message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Refuses the new message: the default.
    #[default]
    DropNew,
    /// Drops the oldest message of the lowest priority.
    DropHead,
    /// Drops the youngest message of the lowest priority.
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

/// The messages that wait for one actor; survives the actor's restarts.
pub(crate) struct Mailbox<A: Actor> {
    lanes: Mutex<Lanes<A>>,
    capacity: usize,
    overflow: Overflow,
    waker: AtomicWaker,
    /// Told at each message that leaves, for senders that wait for room.
    room: Notify,
}

struct Lanes<A: Actor> {
    control: VecDeque<Envelope<A>>,
    work: Work<A>,
    closed: bool,
}

/// The work lane: one queue for each priority in use.
struct Work<A: Actor> {
    by_priority: BTreeMap<u8, VecDeque<Envelope<A>>>,
    len: usize,
}

impl<A: Actor> Work<A> {
    fn new() -> Self {
        Self {
            by_priority: BTreeMap::new(),
            len: 0,
        }
    }

    fn push_back(&mut self, priority: u8, envelope: Envelope<A>) {
        self.len += 1;
        let queue = self.by_priority.entry(priority).or_default();
        queue.push_back(envelope);
    }

    /// Puts a message before all others, whatever their priority.
    fn push_front(&mut self, envelope: Envelope<A>) {
        self.len += 1;
        let queue = self.by_priority.entry(u8::MAX).or_default();
        queue.push_front(envelope);
    }

    fn pop_first(&mut self) -> Option<Envelope<A>> {
        let mut queues = self.by_priority.values_mut().rev();
        let envelope = queues.find_map(VecDeque::pop_front)?;
        self.len -= 1;
        Some(envelope)
    }

    /// Takes a message of the lowest priority: the oldest, or the youngest.
    fn evict(&mut self, oldest: bool) -> Option<Envelope<A>> {
        let mut queues = self.by_priority.values_mut();
        let envelope = queues.find_map(|queue| {
            if oldest {
                queue.pop_front()
            } else {
                queue.pop_back()
            }
        })?;
        self.len -= 1;
        Some(envelope)
    }

    fn drain(&mut self) -> Vec<Envelope<A>> {
        self.len = 0;
        let queues = std::mem::take(&mut self.by_priority);
        queues.into_values().rev().flatten().collect()
    }
}

/// What an offer did: the message is in, or it is given back; and what it pushed out.
pub(crate) struct Offered<A: Actor> {
    pub(crate) refused: Option<(Offer, Envelope<A>)>,
    pub(crate) evicted: Vec<Envelope<A>>,
}

impl<A: Actor> Offered<A> {
    fn refused(offer: Offer, envelope: Envelope<A>) -> Self {
        Self {
            refused: Some((offer, envelope)),
            evicted: Vec::new(),
        }
    }
}

impl<A: Actor> Mailbox<A> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        Self {
            lanes: Mutex::new(Lanes {
                control: VecDeque::new(),
                work: Work::new(),
                closed: false,
            }),
            capacity,
            overflow,
            waker: AtomicWaker::new(),
            room: Notify::new(),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes<A>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message into the work lane behind those of its priority, or gives it back.
    pub(crate) fn offer(&self, priority: u8, envelope: Envelope<A>) -> Offered<A> {
        let mut evicted = Vec::new();
        {
            let mut lanes = self.lanes();
            if lanes.closed {
                return Offered::refused(Offer::Closed, envelope);
            }
            if lanes.work.len >= self.capacity {
                match self.overflow {
                    Overflow::DropNew | Overflow::Backpressure => {
                        return Offered::refused(Offer::Dropped, envelope);
                    }
                    Overflow::Fail => return Offered::refused(Offer::Failed, envelope),
                    Overflow::DropHead => evicted.extend(lanes.work.evict(true)),
                    Overflow::DropTail => evicted.extend(lanes.work.evict(false)),
                    Overflow::DropBuffer => evicted = lanes.work.drain(),
                }
            }
            lanes.work.push_back(priority, envelope);
        }
        self.waker.wake();
        Offered {
            refused: None,
            evicted,
        }
    }

    /// Puts a message into the work lane, waiting for room where the overflow strategy is backpressure.
    pub(crate) async fn offer_waiting(&self, priority: u8, envelope: Envelope<A>) -> Offered<A> {
        let mut envelope = envelope;
        loop {
            // Registered before the try, so that room made in between is not missed.
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            let offered = self.offer(priority, envelope);
            match offered.refused {
                Some((Offer::Dropped, back)) if self.overflow == Overflow::Backpressure => {
                    envelope = back;
                }
                refused => return Offered { refused, ..offered },
            }
            room.await;
        }
    }

    /// Puts a message at the end of the control lane, or gives it back when the actor has stopped.
    pub(crate) fn offer_control(&self, envelope: Envelope<A>) -> Offered<A> {
        {
            let mut lanes = self.lanes();
            if lanes.closed {
                return Offered::refused(Offer::Closed, envelope);
            }
            lanes.control.push_back(envelope);
        }
        self.waker.wake();
        Offered {
            refused: None,
            evicted: Vec::new(),
        }
    }

    /// Puts stashed messages before all others, in their order.
    pub(crate) fn put_back(&self, envelopes: VecDeque<Envelope<A>>) {
        let mut lanes = self.lanes();
        for envelope in envelopes.into_iter().rev() {
            lanes.work.push_front(envelope);
        }
    }

    pub(crate) fn take_control(&self) -> Option<Envelope<A>> {
        self.lanes().control.pop_front()
    }

    pub(crate) fn take_work(&self) -> Option<Envelope<A>> {
        let taken = self.lanes().work.pop_first();
        if taken.is_some() && self.overflow == Overflow::Backpressure {
            self.room.notify_one();
        }
        taken
    }

    /// Refuses messages from now on; returns those that nobody will handle.
    pub(crate) fn close(&self) -> Vec<Envelope<A>> {
        let mut lanes = self.lanes();
        lanes.closed = true;
        let control = std::mem::take(&mut lanes.control);
        let work = lanes.work.drain();
        self.room.notify_waiters();
        control.into_iter().chain(work).collect()
    }

    pub(crate) fn len(&self) -> usize {
        let lanes = self.lanes();
        lanes.work.len + lanes.control.len()
    }

    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
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
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
