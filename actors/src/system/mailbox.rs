//! The bounded mailbox: two lanes, one strict bound.
//!
//! actix gives each clone of an address a free slot, so its mailbox is no bound. Here the bound is one
//! count under one lock, whoever sends. The control lane is for messages whose number is bounded by
//! something else (a permit, a worker, a child); they never wait behind work.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use actix::Actor;
use futures_util::task::AtomicWaker;

use super::{actor_ref::Offer, envelope::Envelope};

/// The messages that wait for one actor; survives the actor's restarts.
pub(crate) struct Mailbox<A: Actor> {
    lanes: Mutex<Lanes<A>>,
    capacity: usize,
    waker: AtomicWaker,
}

struct Lanes<A: Actor> {
    control: VecDeque<Envelope<A>>,
    work: VecDeque<Envelope<A>>,
    closed: bool,
}

impl<A: Actor> Mailbox<A> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            lanes: Mutex::new(Lanes {
                control: VecDeque::new(),
                work: VecDeque::new(),
                closed: false,
            }),
            capacity,
            waker: AtomicWaker::new(),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes<A>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message at the end of the work lane, or gives it back.
    pub(crate) fn offer(&self, envelope: Envelope<A>) -> Result<(), (Offer, Envelope<A>)> {
        {
            let mut lanes = self.lanes();
            if lanes.closed {
                return Err((Offer::Closed, envelope));
            }
            if lanes.work.len() >= self.capacity {
                return Err((Offer::Dropped, envelope));
            }
            lanes.work.push_back(envelope);
        }
        self.waker.wake();
        Ok(())
    }

    /// Puts a message at the end of the control lane, or gives it back when the actor has stopped.
    pub(crate) fn offer_control(&self, envelope: Envelope<A>) -> Result<(), Envelope<A>> {
        {
            let mut lanes = self.lanes();
            if lanes.closed {
                return Err(envelope);
            }
            lanes.control.push_back(envelope);
        }
        self.waker.wake();
        Ok(())
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
        self.lanes().work.pop_front()
    }

    /// Refuses messages from now on; returns those that nobody will handle.
    pub(crate) fn close(&self) -> Vec<Envelope<A>> {
        let mut lanes = self.lanes();
        lanes.closed = true;
        let control = std::mem::take(&mut lanes.control);
        let work = std::mem::take(&mut lanes.work);
        control.into_iter().chain(work).collect()
    }

    pub(crate) fn len(&self) -> usize {
        let lanes = self.lanes();
        lanes.work.len() + lanes.control.len()
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
