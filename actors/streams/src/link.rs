//! A link between a task and the consumer of its stream, which passes one element at a time.
//!
//! Owns the demand: the producer sees when the consumer requests an element, which a channel with a buffer cannot
//! show. It holds at most one element, and only after the element was requested.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

struct Slot<T> {
    item: Option<T>,
    /// `true` if the consumer has requested an element that has not arrived.
    wanted: bool,
    ended: bool,
    consumer: Option<Waker>,
    producer: Option<Waker>,
}

/// The producer's end; dropping it ends the stream.
pub struct Outlet<T>(Arc<Mutex<Slot<T>>>);

impl<T> fmt::Debug for Outlet<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outlet").finish_non_exhaustive()
    }
}

/// The consumer's end.
pub(super) struct Inlet<T>(Arc<Mutex<Slot<T>>>);

pub(super) fn link<T>() -> (Outlet<T>, Inlet<T>) {
    let slot = Arc::new(Mutex::new(Slot {
        item: None,
        wanted: false,
        ended: false,
        consumer: None,
        producer: None,
    }));
    (Outlet(Arc::clone(&slot)), Inlet(slot))
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Outlet<T> {
    /// Waits until the consumer requests an element. This method is cancel safe.
    pub async fn wanted(&self) {
        poll_fn(|context| {
            let mut slot = lock(&self.0);
            if slot.wanted {
                return Poll::Ready(());
            }
            slot.producer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Hands over an element that the consumer requested.
    pub fn put(&self, item: T) {
        let consumer = {
            let mut slot = lock(&self.0);
            debug_assert!(slot.wanted, "an element is handed over only when requested");
            slot.wanted = false;
            slot.item = Some(item);
            slot.consumer.take()
        };
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }

    /// Waits until the consumer requests an element, and hands it over.
    pub async fn send(&self, item: T) {
        self.wanted().await;
        self.put(item);
    }
}

impl<T> Drop for Outlet<T> {
    fn drop(&mut self) {
        let consumer = {
            let mut slot = lock(&self.0);
            slot.ended = true;
            slot.consumer.take()
        };
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }
}

impl<T> Inlet<T> {
    pub(super) fn poll_next(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let producer = {
            let mut slot = lock(&self.0);
            if let Some(item) = slot.item.take() {
                return Poll::Ready(Some(item));
            }
            if slot.ended {
                return Poll::Ready(None);
            }
            slot.consumer = Some(context.waker().clone());
            if slot.wanted {
                return Poll::Pending;
            }
            slot.wanted = true;
            slot.producer.take()
        };
        if let Some(producer) = producer {
            producer.wake();
        }
        Poll::Pending
    }
}
