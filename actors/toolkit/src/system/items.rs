//! The futures that an actor runs beside its messages.
//!
//! actix polls all of an actor's futures at each message, so that thousands of them slow the mailbox. Here each
//! future has a waker of its own, and only woken futures are polled, in the order of waking.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Wake, Waker},
};

use actix::{Actor, ActorFuture, SpawnHandle};
use futures_util::task::AtomicWaker;

use super::{ask::AskState, core::AnyCell};

pub(crate) type BoxItem<A> = Pin<Box<dyn ActorFuture<A, Output = ()>>>;

/// What actix's stream futures ask of the context while they are polled.
///
/// They ask after each item whether the context waits, and if so return `Pending` without a waker, for actix polls
/// them again whenever it polls the context. Here the questions are counted, so that each item counts as a message of
/// the turn, and a future that was told to pause is polled again.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    polling: Cell<bool>,
    asked: Cell<usize>,
    paused: Cell<bool>,
}

impl Pauses {
    /// Notes that a future is about to be polled.
    pub(crate) fn begin(&self) {
        self.polling.set(true);
        self.asked.set(0);
        self.paused.set(false);
    }

    /// Answers a question whether the context waits; `left` messages are left of the turn, the poll included.
    pub(crate) fn ask(&self, is_held: bool, left: usize) -> bool {
        if !self.polling.get() {
            return is_held;
        }
        self.asked.set(self.asked.get() + 1);
        let paused = is_held || self.asked.get() >= left;
        self.paused.set(paused);
        paused
    }

    /// Notes that the future was polled; returns how many items it handled and whether it was told to pause.
    pub(crate) fn end(&self) -> (usize, bool) {
        self.polling.set(false);
        (self.asked.get(), self.paused.get())
    }
}

/// A handler's answer that is a future: it is in flight until the future has ended.
pub(crate) struct InFlight {
    /// The asker, if it still waits and the future has not failed.
    asker: Option<Weak<AskState>>,
    cell: Arc<dyn AnyCell>,
}

impl InFlight {
    pub(crate) fn new(asker: Option<&Arc<AskState>>, cell: Arc<dyn AnyCell>) -> Self {
        cell.in_flight().fetch_add(1, SeqCst);
        Self {
            asker: asker.map(Arc::downgrade),
            cell,
        }
    }

    /// Notes that the answer is lost although the future did not fail.
    pub(crate) fn interrupt(&self) {
        let asker = self.asker.as_ref();
        if let Some(asker) = asker.and_then(Weak::upgrade) {
            asker.interrupt();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.cell.in_flight().fetch_sub(1, SeqCst);
        // There may be room for one more.
        self.cell.wake();
    }
}

/// The futures of one incarnation.
pub(crate) struct Items<A: Actor> {
    last: SpawnHandle,
    slots: BTreeMap<usize, Slot<A>>,
    ready: Arc<Ready>,
}

struct Slot<A: Actor> {
    /// Taken out while it is polled.
    future: Option<BoxItem<A>>,
    /// The answer that it is.
    in_flight: Option<InFlight>,
    waker: Arc<ItemWaker>,
}

#[derive(Debug, Default)]
struct Ready {
    woken: Mutex<VecDeque<usize>>,
    any: AtomicBool,
    cell: AtomicWaker,
}

struct ItemWaker {
    key: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for ItemWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, SeqCst) {
            self.ready.push(self.key);
        }
    }
}

impl Ready {
    fn push(&self, key: usize) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push_back(key);
        self.any.store(true, SeqCst);
        drop(woken);
        self.cell.wake();
    }

    fn pop(&self) -> Option<usize> {
        if !self.any.load(SeqCst) {
            return None;
        }
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let key = woken.pop_front();
        self.any.store(!woken.is_empty(), SeqCst);
        key
    }
}

impl<A: Actor> Items<A> {
    pub(crate) fn new() -> Self {
        Self {
            last: SpawnHandle::default(),
            slots: BTreeMap::new(),
            ready: Arc::default(),
        }
    }

    /// Adds a future; it is polled in the next turn.
    pub(crate) fn add(&mut self, future: BoxItem<A>, in_flight: Option<InFlight>) -> SpawnHandle {
        self.last = self.last.next();
        let key = self.last.into_usize();
        let waker = Arc::new(ItemWaker {
            key,
            queued: AtomicBool::new(true),
            ready: Arc::clone(&self.ready),
        });
        let slot = Slot {
            future: Some(future),
            in_flight,
            waker,
        };
        self.slots.insert(key, slot);
        self.ready.push(key);
        self.last
    }

    /// Returns how many futures have not ended.
    #[cfg(feature = "testkit")]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Drops a future. Returns `false` if it had ended.
    pub(crate) fn cancel(&mut self, handle: SpawnHandle) -> bool {
        self.slots.remove(&handle.into_usize()).is_some()
    }

    /// Takes the next woken future out to be polled; it is put back with [`Items::put_back`].
    pub(crate) fn take_woken(&mut self) -> Option<(usize, BoxItem<A>, Waker)> {
        while let Some(key) = self.ready.pop() {
            let Some(slot) = self.slots.get_mut(&key) else {
                continue;
            };
            slot.waker.queued.store(false, SeqCst);
            if let Some(future) = slot.future.take() {
                return Some((key, future, Waker::from(Arc::clone(&slot.waker))));
            }
        }
        None
    }

    /// Puts a future back that is not done, unless it was cancelled meanwhile. One that `paused` because the
    /// context was waiting is polled again once it no longer is: it registered no waker.
    pub(crate) fn put_back(&mut self, key: usize, future: BoxItem<A>, paused: bool) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.future = Some(future);
            if paused {
                slot.waker.wake_by_ref();
            }
        }
    }

    /// Notes that this future caused the failure, so that its asker does not get `AskError::Interrupted`.
    pub(crate) fn blame(&mut self, key: usize) {
        let slot = self.slots.get_mut(&key);
        if let Some(in_flight) = slot.and_then(|slot| slot.in_flight.as_mut()) {
            in_flight.asker = None;
        }
    }

    /// Notes that every answer in flight is lost although its future did not fail.
    pub(crate) fn interrupt(&self) {
        let in_flight = self
            .slots
            .values()
            .filter_map(|slot| slot.in_flight.as_ref());
        in_flight.for_each(InFlight::interrupt);
    }

    /// Forgets a future that is done.
    pub(crate) fn done(&mut self, key: usize) {
        self.slots.remove(&key);
    }

    /// Forgets all; returns them, to be dropped with care.
    pub(crate) fn clear(&mut self) -> Vec<BoxItem<A>> {
        let slots = std::mem::take(&mut self.slots).into_values();
        slots.filter_map(|slot| slot.future).collect()
    }

    /// Registers `waker` to be woken, or none.
    pub(crate) fn register(&self, waker: Option<&Waker>) {
        match waker {
            Some(waker) => self.ready.cell.register(waker),
            None => drop(self.ready.cell.take()),
        }
    }
}

impl<A: Actor> fmt::Debug for Items<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Items")
            .field("len", &self.slots.len())
            .finish_non_exhaustive()
    }
}
