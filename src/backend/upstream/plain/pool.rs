//! The connections of one backend that are kept for later calls, for each thread.
//!
//! A connection belongs to the runtime that opened it, so each thread keeps its own.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use super::connection::Connection;
use crate::backend::upstream::POOL_IDLE_TIMEOUT;

/// The least time between two looks at kept connections.
const SWEEP_MIN: Duration = Duration::from_secs(1);

/// The kept connections of one backend.
#[derive(Debug, Default)]
pub(super) struct Pools {
    backend: Arc<()>,
}

/// The kept connections of one backend and thread. The number is bounded by that of calls at the same time.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The connections and the times since when they are kept; the last one is used first.
    connections: Vec<(Box<Connection>, Instant)>,
    /// The task that closes those that are kept too long.
    sweeper: Option<JoinHandle<()>>,
}

thread_local! {
    /// The connections of this thread. Those of removed backends are dropped when another one is added.
    static OF_THREAD: RefCell<Vec<(Weak<()>, Arc<Idle>)>> = const { RefCell::new(Vec::new()) };
}

impl Pools {
    /// Returns the connections of this thread.
    pub(super) fn of_thread(&self) -> Arc<Idle> {
        let own = Arc::as_ptr(&self.backend);
        OF_THREAD.with_borrow_mut(|pools| {
            let known = pools.iter().find(|(backend, _)| backend.as_ptr() == own);
            if let Some((_, idle)) = known {
                return Arc::clone(idle);
            }
            pools.retain(|(backend, _)| backend.strong_count() > 0);
            let idle = Arc::new(Idle::default());
            pools.push((Arc::downgrade(&self.backend), Arc::clone(&idle)));
            idle
        })
    }
}

impl Idle {
    /// Takes a connection. The server may have closed it by now, which its next request finds before it is written.
    pub(super) fn take(&self) -> Option<Box<Connection>> {
        let mut kept = self.kept();
        loop {
            let (connection, since) = kept.connections.pop()?;
            if since.elapsed() < POOL_IDLE_TIMEOUT {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose last response has been read, unless it cannot be used again.
    pub(super) fn keep(self: &Arc<Self>, mut connection: Box<Connection>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !connection.is_idle() {
            return;
        }
        let mut kept = self.kept();
        kept.connections.push((connection, Instant::now()));
        let is_swept = kept
            .sweeper
            .as_ref()
            .is_some_and(|task| !task.is_finished());
        if !is_swept {
            kept.sweeper = Some(runtime.spawn(sweep(Arc::downgrade(self))));
        }
    }

    /// Closes connections that the server has closed or that are kept too long. Returns the time until the next one is;
    /// `None` if none is left.
    fn close_old(&self) -> Option<Duration> {
        let mut kept = self.kept();
        kept.connections.retain_mut(|(connection, since)| {
            since.elapsed() < POOL_IDLE_TIMEOUT && connection.is_idle()
        });
        let Some((_, oldest)) = kept.connections.first() else {
            kept.connections = Vec::new();
            kept.sweeper = None;
            return None;
        };
        Some(POOL_IDLE_TIMEOUT.saturating_sub(oldest.elapsed()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(idle: Weak<Idle>) {
    let mut wait = POOL_IDLE_TIMEOUT;
    loop {
        tokio::time::sleep(wait.max(SWEEP_MIN)).await;
        let Some(next) = idle.upgrade().and_then(|idle| idle.close_old()) else {
            return;
        };
        wait = next;
    }
}
