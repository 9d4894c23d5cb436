//! The threads that the actors of the lanes run on: one for each lane, as far as there are cores.

use std::sync::{Mutex, MutexGuard, PoisonError};

use actix_rt::{Arbiter, ArbiterHandle};

use crate::memory::purge_while_idle;

/// The threads, in the order in which they were started.
#[derive(Debug, Default)]
pub(super) struct Threads(Mutex<Vec<ArbiterHandle>>);

impl Threads {
    /// Returns the thread of the lane with a number, which is started if lanes have fewer threads than there are cores. Must run
    /// on an actix system.
    pub(super) fn of(&self, number: usize) -> ArbiterHandle {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let place = number % cores;
        let mut threads = self.lock();
        if let Some(thread) = threads.get(place) {
            return thread.clone();
        }
        let thread = Arbiter::new().handle();
        // An arbiter that has just started takes it.
        let _is_started = thread.spawn(async { match purge_while_idle().await {} });
        threads.push(thread.clone());
        thread
    }

    /// Stops all threads.
    pub(super) fn stop(&self) {
        for thread in self.lock().drain(..) {
            thread.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ArbiterHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
