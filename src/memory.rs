//! A budget of bytes that many holders share, and bytes that carry their share of it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

struct Held {
    bytes: Bytes,
    _share: Share,
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
        match &mut self.permit {
            Some(permit) => permit.merge(taken),
            None => self.permit = Some(taken),
        }
        Ok(())
    }

    /// Returns `bytes`, which give this share back when their last clone or slice is dropped.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held {
            bytes,
            _share: self,
        })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
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
}
