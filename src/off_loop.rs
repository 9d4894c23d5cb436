//! Work that takes longer than an event loop may be held up, such as reading a large JSON text or counting tokens.

use std::{num::NonZero, sync::Arc, thread};

use tokio::sync::Semaphore;

use crate::{memory::SMALL, surface::error::ApiError};

/// Runs work on threads beside the event loops, at most as much at once as there are cores: more would only take more
/// memory.
#[derive(Clone, Debug)]
pub struct OffLoop {
    cores: Arc<Semaphore>,
}

impl OffLoop {
    /// Makes room for one piece of work per core.
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Does the work beside the event loop.
    ///
    /// # Errors
    /// Returns an error if the work panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.cores).acquire_owned().await;
        let work = move || {
            let _until_done = permit;
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| ApiError::panicked())
    }

    /// Reads `size` bytes of JSON: here when they are few, beside the event loop when they are many.
    ///
    /// # Errors
    /// Returns an error if the work panics.
    pub async fn read<T: Send + 'static>(
        &self,
        size: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if size <= SMALL {
            return Ok(work());
        }
        self.run(work).await
    }
}

impl Default for OffLoop {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use super::*;

    async fn thread_of(size: usize) -> ThreadId {
        let off_loop = OffLoop::new();
        let read = off_loop.read(size, || thread::current().id());
        read.await.unwrap()
    }

    #[actix::test]
    async fn only_what_is_large_leaves_the_thread() {
        let here = thread::current().id();
        assert_eq!(thread_of(SMALL).await, here);
        assert_ne!(thread_of(SMALL + 1).await, here);
    }

    #[actix::test]
    async fn a_panic_is_an_error_and_gives_its_place_back() {
        let off_loop = OffLoop::new();
        for _ in 0..100 {
            let lost = off_loop.run(|| panic!("as scripted")).await;
            assert_eq!(lost.map(|(): ()| ()).unwrap_err().status().as_u16(), 500);
        }
        assert_eq!(off_loop.run(|| 1).await.unwrap(), 1);
    }
}
