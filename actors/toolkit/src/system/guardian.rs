//! The guardian `/user`: the parent of all top-level actors, and the registry of all actors.
//!
//! Owns the living actors, their paths, and their ordered termination. It has no mailbox and handles no messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    core::{AnyCell, Parent, ParentKind},
    report::ActorReport,
};

/// The result of terminating a system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Termination {
    /// The actors that stopped, in that order.
    pub stopped: Vec<Arc<str>>,
    /// The actors that had not stopped in time, ordered by path.
    pub cut_off: Vec<Arc<str>>,
}

#[derive(Default)]
pub(super) struct Guardian {
    last_id: AtomicU64,
    cells: Mutex<Cells>,
    terminated: CancellationToken,
    /// The failure that an actor under `/user` escalated.
    fatal: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Cells {
    all: BTreeMap<u64, Arc<dyn AnyCell>>,
    paths: BTreeSet<Arc<str>>,
    /// Those under `/user`, in the order of spawning.
    top: Vec<u64>,
    /// The actors that stopped since the termination began; `None` before.
    stopped: Option<Vec<Arc<str>>>,
}

impl Guardian {
    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, SeqCst) + 1
    }

    /// Returns a new actor's id, and its path: `path`, with the id if that is taken.
    pub(super) fn claim(&self, path: String) -> (u64, Arc<str>) {
        let id = self.next_id();
        let mut cells = self.cells();
        let mut path: Arc<str> = path.into();
        if cells.paths.contains(&path) {
            tracing::warn!(path = %path, id, "the name is taken; a number was appended");
            path = format!("{path}-{id}").into();
        }
        cells.paths.insert(Arc::clone(&path));
        (id, path)
    }

    /// Registers a new actor, as a child of `/user` if that is its parent. Returns `false`, and frees its path, if the
    /// actor would never be stopped.
    pub(super) fn register(&self, cell: Arc<dyn AnyCell>, parent: ParentKind) -> bool {
        let mut cells = self.cells();
        let refused = match parent {
            ParentKind::Guardian => cells.stopped.is_some(),
            ParentKind::Actor => false,
            ParentKind::Ending => true,
        };
        if refused {
            cells.paths.remove(cell.path());
            return false;
        }
        if parent == ParentKind::Guardian {
            cells.top.push(cell.id());
        }
        cells.all.insert(cell.id(), cell);
        true
    }

    pub(super) fn forget(&self, id: u64) {
        let mut cells = self.cells();
        let Some(cell) = cells.all.remove(&id) else {
            return;
        };
        cells.paths.remove(cell.path());
        cells.top.retain(|top| *top != id);
        if let Some(stopped) = &mut cells.stopped {
            stopped.push(Arc::clone(cell.path()));
        }
    }

    #[cfg(feature = "testkit")]
    pub(super) fn path_of(&self, id: u64) -> Option<Arc<str>> {
        let cells = self.cells();
        cells.all.get(&id).map(|cell| Arc::clone(cell.path()))
    }

    pub(super) fn len(&self) -> usize {
        self.cells().all.len()
    }

    pub(super) fn reports(&self) -> Vec<ActorReport> {
        let cells: Vec<_> = self.cells().all.values().cloned().collect();
        cells.iter().map(|cell| cell.report()).collect()
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.cells().stopped.is_some()
    }

    pub(super) async fn terminate(&self) {
        self.cells().stopped.get_or_insert_default();
        loop {
            let last = {
                let cells = self.cells();
                let mut top = cells.top.iter().rev();
                top.find_map(|id| cells.all.get(id).cloned())
            };
            let Some(cell) = last else { break };
            cell.request_stop();
            cell.stopped().cancelled().await;
            self.forget(cell.id());
        }
        self.terminated.cancel();
    }

    pub(super) async fn when_terminated(&self) {
        self.terminated.cancelled().await;
    }

    pub(super) fn termination(&self) -> Termination {
        let cells = self.cells();
        let mut cut_off: Vec<_> = cells.all.values().map(|c| Arc::clone(c.path())).collect();
        cut_off.sort_unstable();
        Termination {
            stopped: cells.stopped.clone().unwrap_or_default(),
            cut_off,
        }
    }

    pub(super) async fn when_failed(&self) -> String {
        let mut fatal = self.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(message) => message.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Parent for Guardian {
    fn child_stopped(&self, id: u64) {
        self.forget(id);
    }

    fn child_escalated(&self, path: Arc<str>, message: &str) {
        tracing::error!(actor = %path, message, "an actor escalated to the guardian");
        self.fatal
            .send_replace(Some(format!("`{path}`: {message}")));
    }

    fn kind(&self) -> ParentKind {
        ParentKind::Guardian
    }
}
