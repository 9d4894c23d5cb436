//! A budget of bytes that many holders share, and bytes that carry their share of it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are too few to be charged one by one: an answer, an event, or a body of at most this size is small.
pub const SMALL: usize = 64 << 10;
/// Time between two steps of [`purge_while_idle`].
const PURGE_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// Sizes whose allocation makes the allocator look for free pages to give back: one of each of its kinds of page.
const PURGE_SIZES: [usize; 4] = [1 << 10, 32 << 10, 256 << 10, 2 << 20];
/// Allocations of each size in one step.
const PURGE_COUNT: usize = 32;

/// Gives memory that this thread has freed back to the system while the thread is idle. The allocator does so only
/// when it is used. Never returns.
pub async fn purge_while_idle() -> std::convert::Infallible {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        for size in PURGE_SIZES {
            for _ in 0..PURGE_COUNT {
                drop(std::hint::black_box(Vec::<u8>::with_capacity(size)));
            }
        }
    }
}

/// A number of bytes that all holders together may take. Clones share one budget.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    total: usize,
}

/// The part of a budget that one holder has taken. Dropping it gives the bytes back.
#[derive(Debug)]
pub struct Share {
    budget: ByteBudget,
    permit: Option<OwnedSemaphorePermit>,
}

/// The budget has too few bytes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

struct Held<S> {
    bytes: Bytes,
    _shares: S,
}

/// Returns `written`, which was made of `source` and keeps the share of it if it is not small.
pub fn hold_like(source: Bytes, written: Bytes) -> Bytes {
    if source.len() <= SMALL || written.len() <= SMALL {
        return written;
    }
    hold(written, source)
}

/// Returns `bytes`, which give `shares` back when their last clone or slice is dropped.
pub fn hold(bytes: Bytes, shares: impl Send + 'static) -> Bytes {
    Bytes::from_owner(Held {
        bytes,
        _shares: shares,
    })
}

impl ByteBudget {
    /// Creates a budget of `total` bytes, at most `Semaphore::MAX_PERMITS`.
    pub fn new(total: usize) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Returns the bytes that can be taken now.
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Returns the bytes that are taken now.
    pub fn taken(&self) -> usize {
        self.total.saturating_sub(self.free.available_permits())
    }

    /// Returns an empty share.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            permit: None,
        }
    }
}

impl Share {
    /// Returns an empty share of the same budget.
    #[must_use]
    pub fn another(&self) -> Self {
        self.budget.share()
    }

    /// Returns the bytes of this share.
    pub fn size(&self) -> usize {
        self.permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Makes this share at least `size` bytes large.
    ///
    /// # Errors
    /// [`NoMemory`] if the budget has too few bytes left; the share is then unchanged.
    pub fn grow_to(&mut self, size: usize) -> Result<(), NoMemory> {
        let more = size.saturating_sub(self.size());
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| NoMemory)?;
        let free = Arc::clone(&self.budget.free);
        let taken = free.try_acquire_many_owned(more).map_err(|_| NoMemory)?;
        self.add(taken);
        Ok(())
    }

    /// Makes this share at least `size` bytes large, or as large as the whole budget if that is smaller.
    ///
    /// # Errors
    /// As [`Share::grow_to`].
    pub fn reserve(&mut self, size: usize) -> Result<(), NoMemory> {
        self.grow_to(size.min(self.budget.total))
    }

    /// Makes this share at least `size` bytes large, or as large as the whole budget if that is smaller. Waits until
    /// the budget has room, in the order of the calls.
    ///
    /// A holder must not wait while it holds what only its own progress gives back. It takes at once what it may need.
    pub async fn wait_for(&mut self, size: usize) {
        let more = size.min(self.budget.total).saturating_sub(self.size());
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let free = Arc::clone(&self.budget.free);
        // The semaphore is never closed.
        if let Ok(taken) = free.acquire_many_owned(more).await {
            self.add(taken);
        }
    }

    /// Gives back what this share has beyond `size` bytes.
    pub fn shrink_to(&mut self, size: usize) {
        let excess = self.size().saturating_sub(size);
        if let Some(permit) = &mut self.permit {
            drop(permit.split(excess));
        }
    }

    /// Returns this share and leaves an empty one.
    #[must_use = "the share is given back when it is dropped"]
    pub fn take(&mut self) -> Self {
        let empty = self.another();
        std::mem::replace(self, empty)
    }

    /// Returns `bytes`, which give this share back when their last clone or slice is dropped.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        hold(bytes, self)
    }

    fn add(&mut self, taken: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(permit) => permit.merge(taken),
            None => self.permit = Some(taken),
        }
    }
}

impl<S> AsRef<[u8]> for Held<S> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_share_is_given_back_with_the_last_slice_of_its_bytes() {
        let budget = ByteBudget::new(100);
        let mut share = budget.share();
        share.grow_to(60).unwrap();
        share.grow_to(50).unwrap();
        share.grow_to(80).unwrap();
        assert_eq!((share.size(), budget.taken()), (80, 80));
        let held = share.hold(Bytes::from(vec![1; 80]));
        let slice = held.slice(3..5);
        drop(held);
        assert_eq!((budget.taken(), &slice[..]), (80, &[1, 1][..]));
        drop(slice);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn a_share_that_does_not_fit_is_refused_and_stays_as_it_was() {
        let budget = ByteBudget::new(100);
        let mut one = budget.share();
        one.grow_to(70).unwrap();
        let mut two = budget.share();
        two.grow_to(20).unwrap();
        assert_eq!(two.grow_to(31), Err(NoMemory));
        assert_eq!((two.size(), budget.taken()), (20, 90));
        drop(one);
        assert_eq!(two.grow_to(100), Ok(()));
    }

    #[tokio::test]
    async fn a_share_that_waits_is_granted_when_another_shrinks() {
        let budget = ByteBudget::new(100);
        let mut one = budget.share();
        one.wait_for(1000).await;
        assert_eq!((one.size(), budget.free()), (100, 0), "all of the budget");
        let mut two = budget.share();
        let mut waiting = Box::pin(two.wait_for(40));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        one.shrink_to(61);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        one.shrink_to(60);
        assert_eq!(waiting.as_mut().now_or_never(), Some(()));
        drop(waiting);
        let taken = two.take();
        assert_eq!((two.size(), taken.size(), budget.taken()), (0, 40, 100));
        drop((one, taken));
        assert_eq!(budget.free(), 100);
    }
}
