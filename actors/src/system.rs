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

pub(crate) mod actor_ref;
mod cell;
pub(crate) mod context;
mod dead_letters;
mod envelope;
mod event_stream;
mod items;
mod mailbox;
mod message_ref;
mod props;
mod receptionist;
mod report;
mod strategy;
mod timers;
mod watch;

pub use actor_ref::{ActorRef, AskError, Offer, Recipient};
pub use context::Context;
pub use dead_letters::DeadLetter;
pub use event_stream::{EventStream, Restarted, Subscription};
pub use mailbox::{Overflow, PRIORITY_NORMAL};
pub use message_ref::MessageRef;
pub use props::Props;
pub use receptionist::{Listing, Receptionist, Service, ServiceKey};
pub use report::{ActorReport, ActorState};
pub use strategy::{Directive, Fault, Strategy};
pub use watch::{StopCause, Terminated};

pub(crate) use cell::text as panic_text;

use actor_ref::{AnyCell, Parent};
pub(crate) use dead_letters::DeadLetters;

/// A tree of actors; clones share it.
#[derive(Clone)]
pub struct ActorSystem {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    seed: u64,
    next_id: AtomicU64,
    dead_letters: Arc<DeadLetters>,
    events: EventStream,
    receptionist: Receptionist,
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
    ///
    /// Built with `panic = "abort"` a panic ends the process instead of one actor's life; that is said in
    /// the log here, and by [`ActorSystem::catches_panics`].
    pub fn new(name: &str, seed: u64) -> Self {
        if !Self::catches_panics() {
            tracing::error!("built with `panic = \"abort\"`: no panic can be supervised");
        }
        let events = EventStream::default();
        Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                seed,
                next_id: AtomicU64::new(1),
                dead_letters: Arc::new(DeadLetters::new(events.clone())),
                events,
                receptionist: Receptionist::default(),
                cells: Mutex::default(),
                fatal: watch_channel::Sender::new(None),
            }),
        }
    }

    /// Says whether a panicking actor can be supervised: not when built with `panic = "abort"`.
    pub const fn catches_panics() -> bool {
        cfg!(panic = "unwind")
    }

    /// Returns the event stream: [`DeadLetter`], [`Restarted`], and whatever else is published.
    pub fn events(&self) -> &EventStream {
        &self.inner.events
    }

    /// Returns the receptionist.
    pub fn receptionist(&self) -> &Receptionist {
        &self.inner.receptionist
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
        self.inner.dead_letters.count()
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

    pub(crate) fn dead_letter_box(&self) -> Arc<DeadLetters> {
        Arc::clone(&self.inner.dead_letters)
    }

    /// Returns the path of a living actor.
    #[cfg(feature = "testkit")]
    pub(crate) fn path_of(&self, id: u64) -> Option<Arc<str>> {
        self.inner
            .cells()
            .all
            .get(&id)
            .map(|cell| Arc::clone(cell.path()))
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
mod more_tests;
#[cfg(test)]
mod tests;
