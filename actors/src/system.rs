//! The actor system: named actors in a tree, supervised, with bounded mailboxes, on actix's traits.
//!
//! An actor is an ordinary `actix::Actor` with ordinary `actix::Handler`s whose context is
//! [`Context`]; what actix leaves open (bounds, restarts on panic, watch, fairness) is decided here, by a
//! loop of our own around actix's public `dev` traits.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use actix::Actor;
use tokio::sync::watch as watch_channel;

mod actor_ref;
mod cell;
mod context;
mod envelope;
mod items;
mod mailbox;
mod props;
mod report;
mod strategy;
mod timers;
mod watch;

pub use actor_ref::{ActorRef, AskError, Offer, Recipient};
pub use context::Context;
pub use props::Props;
pub use report::{ActorReport, ActorState};
pub use strategy::{Directive, Fault, Strategy};
pub use watch::{StopCause, Terminated};

use actor_ref::{AnyCell, Parent};

/// A tree of actors; clones share it.
#[derive(Clone)]
pub struct ActorSystem {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    seed: u64,
    next_id: AtomicU64,
    dead_letters: Arc<AtomicU64>,
    cells: Mutex<Cells>,
    fatal: watch_channel::Sender<Option<String>>,
}

#[derive(Default)]
struct Cells {
    all: BTreeMap<u64, Arc<dyn AnyCell>>,
    /// The guardian's children, in the order of spawning.
    top: Vec<u64>,
}

impl ActorSystem {
    /// Makes an empty system whose chance (the jitter of restarts) comes from `seed`.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                seed,
                next_id: AtomicU64::new(1),
                dead_letters: Arc::default(),
                cells: Mutex::default(),
                fatal: watch_channel::Sender::new(None),
            }),
        }
    }

    /// Returns the system's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Spawns an actor under `/user`, on this thread unless the props say otherwise. A name that is taken
    /// gets a number appended.
    pub fn spawn<A>(&self, props: Props<A>, name: &str) -> ActorRef<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let path = format!("/user/{name}");
        let taken = self
            .inner
            .cells()
            .all
            .values()
            .any(|cell| **cell.path() == *path);
        let parent = Arc::clone(&self.inner) as Arc<dyn Parent>;
        let actor = props::launch(self, parent, &path, taken, props);
        if actor.is_alive() {
            self.inner.cells().top.push(actor.core.id);
        }
        actor
    }

    /// Stops all actors, the last spawned first and each after its children.
    pub async fn terminate(&self) {
        loop {
            let last = {
                let cells = self.inner.cells();
                let mut top = cells.top.iter().rev();
                top.find_map(|id| cells.all.get(id).cloned())
            };
            let Some(cell) = last else { break };
            cell.request_stop();
            cell.stopped().cancelled().await;
            self.forget(cell.id());
        }
    }

    /// Returns every living actor, ordered by path.
    pub fn tree(&self) -> Vec<ActorReport> {
        let cells: Vec<_> = self.inner.cells().all.values().cloned().collect();
        let mut reports: Vec<_> = cells.iter().map(|cell| cell.report()).collect();
        reports.sort_by(|a, b| a.path.cmp(&b.path));
        reports
    }

    /// Returns how many messages found nobody to handle them.
    pub fn dead_letters(&self) -> u64 {
        self.inner.dead_letters.load(SeqCst)
    }

    /// Waits until an actor under `/user` escalates its failure; returns what it said.
    pub async fn when_failed(&self) -> String {
        let mut fatal = self.inner.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(message) => message.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.inner.seed
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.inner.next_id.fetch_add(1, SeqCst)
    }

    pub(crate) fn dead_letter_count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.inner.dead_letters)
    }

    pub(crate) fn register(&self, cell: Arc<dyn AnyCell>) {
        self.inner.cells().all.insert(cell.id(), cell);
    }

    pub(crate) fn forget(&self, id: u64) {
        self.inner.forget(id);
    }
}

impl Inner {
    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: u64) {
        let mut cells = self.cells();
        cells.all.remove(&id);
        cells.top.retain(|top| *top != id);
    }
}

impl Parent for Inner {
    fn child_stopped(&self, id: u64) {
        self.forget(id);
    }

    fn child_escalated(&self, path: Arc<str>, message: &str) {
        tracing::error!(actor = %path, message, "an actor escalated to the guardian");
        self.fatal
            .send_replace(Some(format!("`{path}`: {message}")));
    }
}

impl fmt::Debug for ActorSystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ActorSystem")
            .field("name", &self.inner.name)
            .field("actors", &self.inner.cells().all.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
