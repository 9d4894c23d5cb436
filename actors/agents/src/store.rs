//! The store of agents and of the events of their runs.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    run::{Event, RunEvent, RunState},
    spec::AgentSpec,
};

/// Returns milliseconds of Unix time.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The answer of a store, in the future.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The reason why a store has not done something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The owner has as many as it may.
    #[error("there are {0} {1} already, the most allowed")]
    Full(u64, &'static str),
    /// The `after` of a page is not in the list.
    #[error("`after` is not in the list")]
    NotListed,
    /// The store cannot be read or written now.
    #[error("{0}")]
    Failed(String),
    /// The store is something else, has another key, or its data cannot be read.
    #[error("{0}")]
    Damaged(String),
}

/// What the store knows of a run without reading its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The id.
    pub id: String,
    /// The agent that it began with.
    pub agent: String,
    /// Its state.
    pub state: RunState,
    /// When it was created, in milliseconds of Unix time.
    pub created: u64,
    /// When it ended.
    pub ended: Option<u64>,
    /// The number of its last event.
    pub seq: u64,
}

/// A lease of a run. With an older number nothing is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub id: Arc<str>,
    /// Its owner.
    pub owner: Arc<str>,
    /// Grows with each lease of the run.
    pub fence: u64,
}

/// The result of writing events.
#[derive(Clone, Debug, PartialEq)]
pub enum Appended {
    /// They are written. All events behind the last known one, in order; the written ones are among them.
    Done(Vec<Event>),
    /// The lease has passed, or the run is gone; nothing was written.
    Lost,
}

/// The state of a lease that was to be prolonged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It is prolonged; the run has events up to this number.
    Held(u64),
    /// It has passed, or the run is gone.
    Lost,
}

/// Runs of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The runs, the newest first.
    pub runs: Vec<Head>,
    /// `true` if there are more.
    pub has_more: bool,
}

/// Which runs of an owner to list.
#[derive(Clone, Debug, Default)]
pub struct PageQuery {
    /// Those of an agent; `None` for all.
    pub agent: Option<String>,
    /// How many at most.
    pub limit: usize,
    /// Those behind this one.
    pub after: Option<String>,
}

/// How many runs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Those that go on.
    pub running: u64,
    /// Those that wait for a human.
    pub waiting: u64,
    /// Those that have ended and are kept.
    pub ended: u64,
}

/// What is held of an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The number of agents.
    pub agents: u64,
    /// The number of runs.
    pub runs: u64,
    /// The number of their events.
    pub events: u64,
    /// The bytes of all.
    pub bytes: u64,
    /// When the oldest run was created, in milliseconds of Unix time.
    pub oldest: Option<u64>,
    /// When the newest run was created, in milliseconds of Unix time.
    pub newest: Option<u64>,
    /// `true` if the owner has a key.
    pub has_key: bool,
}

/// The result of an erasure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// What was removed.
    pub removed: Holdings,
    /// `true` if the owner had a key and it was erased.
    pub key_erased: bool,
    /// `true` if the log of the file holds nothing of it any more.
    pub log_emptied: bool,
}

impl Holdings {
    /// Returns `true` if nothing is held but perhaps a key.
    pub fn is_empty(&self) -> bool {
        self.agents + self.runs + self.events == 0
    }
}

/// A run that is to be created.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The id, unique among all runs.
    pub id: String,
    /// The owner.
    pub owner: String,
    /// The agent.
    pub agent: String,
    /// The first event.
    pub began: RunEvent,
    /// The time, in milliseconds of Unix time.
    pub now: u64,
    /// The most runs of the owner that have not ended; those that agents start for agents do not count, and are `None`.
    pub open_max: Option<u64>,
    /// The end of the lease that whoever creates it has from the beginning, with the fence 1; 0 if anybody may lease it.
    pub until: u64,
}

/// A durable log of the events of runs, and of the agents that owners have created.
///
/// What is written survives the end of the process before it is answered. One process at a time has the lease of a run and may write with it;
/// decisions of humans are written without one.
pub trait RunStore: Send + Sync {
    /// Creates a run. Returns `false` if there is one with this id already.
    ///
    /// # Errors
    /// [`StoreError::Full`] at a bound of the owner.
    fn create(&self, run: NewRun) -> Answer<'_, bool>;

    /// Returns the head of a run.
    fn head<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, Head>;

    /// Returns the events of a run behind a number.
    fn events<'a>(&'a self, owner: &'a str, id: &'a str, after: u64) -> Answer<'a, Vec<Event>>;

    /// Returns the runs of an owner.
    fn runs<'a>(&'a self, owner: &'a str, page: PageQuery) -> Answer<'a, Page>;

    /// Leases runs that are to go on and that nobody has a lease of: those that agents have started for agents first, because others wait for them,
    /// and of each kind the oldest first.
    fn claim(&self, most: usize, now: u64, until: u64) -> Answer<'_, Vec<Lease>>;

    /// Writes events of the holder of a lease.
    fn append<'a>(
        &'a self,
        lease: &'a Lease,
        known: u64,
        events: Vec<(u64, RunEvent)>,
    ) -> Answer<'a, Appended>;

    /// Writes an event of somebody else, if the last one has the number `known`. A run that waits goes on then. Returns `false` if there is a
    /// later one.
    fn add<'a>(
        &'a self,
        of: (&'a str, &'a str),
        known: u64,
        event: (u64, RunEvent),
    ) -> Answer<'a, bool>;

    /// Prolongs leases; returns the state of each.
    fn renew(&self, leases: Vec<Lease>, until: u64) -> Answer<'_, Vec<Renewed>>;

    /// Gives a lease back, and has the run wait if it `waits`. Returns `false` if it has events behind `known`; nothing is changed then.
    fn release<'a>(&'a self, lease: &'a Lease, known: u64, waits: bool) -> Answer<'a, bool>;

    /// Writes an agent of an owner. Returns `true` if it is new.
    ///
    /// # Errors
    /// [`StoreError::Full`] at the bound of the owner.
    fn put_agent<'a>(&'a self, owner: &'a str, spec: AgentSpec, most: u64) -> Answer<'a, bool>;

    /// Returns the agents of an owner by their names.
    fn agents<'a>(&'a self, owner: &'a str) -> Answer<'a, Vec<AgentSpec>>;

    /// Returns an agent of an owner; `None` if there is none of this name.
    fn agent<'a>(&'a self, owner: &'a str, name: &'a str) -> Answer<'a, Option<AgentSpec>>;

    /// Removes an agent of an owner. Returns `false` if there was none. Its runs go on.
    fn remove_agent<'a>(&'a self, owner: &'a str, name: &'a str) -> Answer<'a, bool>;

    /// Removes runs that ended before a time, a part of them. Returns how many.
    fn sweep(&self, before: u64) -> Answer<'_, u64>;

    /// Counts the runs of all owners.
    fn totals(&self) -> Answer<'_, Totals>;

    /// Returns what is held of an owner.
    fn held<'a>(&'a self, owner: &'a str) -> Answer<'a, Holdings>;

    /// Erases all that is held of an owner, and its key.
    fn erase<'a>(&'a self, owner: &'a str) -> Answer<'a, Erased>;
}
