//! The driver for event-sourced actors: ledgers, whose state is the list of their events, on a journal that fails on
//! request.

use std::{future::Future, pin::Pin, time::Duration};

use super::Unsupported;

/// A future on the case's thread.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Opens worlds.
pub trait Driver: Send + Sync {
    /// Opens a world with an empty journal.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn open(&self) -> Result<Box<dyn World>, Unsupported>;
}

/// A command to a ledger. Each is answered with the state behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Persist these events together.
    Persist(Vec<&'static str>),
    /// Persist nothing.
    Nothing,
    /// Persist this event, if the event `open` is in the state; stash the command otherwise.
    Later(&'static str),
    /// Persist `open`, and handle the stashed commands.
    Open,
    /// Persist this event and stop.
    Last(&'static str),
    /// Persist this event, then note `noted <number of events>`.
    Noted(&'static str),
    /// Persist an event that has no form in bytes.
    Unwritable,
    /// Panic while deciding.
    Panic,
}

/// What follows a failure of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It stops.
    Stop,
    /// It restarts at once.
    Restart,
    /// It goes on.
    Resume,
    /// It restarts after a wait of at least this long, doubled each time, if the journal failed, and stops otherwise.
    Backoff(Duration),
}

/// When snapshots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// At each multiple of this number of events.
    pub every: u64,
    /// How many are kept.
    pub keep: u64,
    /// Whether older events are deleted.
    pub delete_events: bool,
    /// Whether an unreadable one is passed over.
    pub optional: bool,
}

/// A ledger to be made. The event `boom` panics when it is applied.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The id in the journal.
    pub id: &'static str,
    /// What follows a failure.
    pub failing: Failing,
    /// Snapshots, or none.
    pub snapshots: Option<Snapshots>,
    /// The bound of the mailbox.
    pub mailbox: usize,
    /// The bound of the stash.
    pub stash: usize,
    /// The version of its events. Version 2 reads an event `x` of version 1 as `x!`, `gone` as none, and `pair` as
    /// `left` and `right`.
    pub version: u32,
}

impl Spec {
    /// A ledger of this id that stops when it fails, without snapshots.
    pub fn of(id: &'static str) -> Self {
        Self {
            id,
            failing: Failing::Stop,
            snapshots: None,
            mailbox: 100,
            stash: 100,
            version: 1,
        }
    }

    /// The same, with something else behind a failure.
    #[must_use]
    pub fn failing(mut self, failing: Failing) -> Self {
        self.failing = failing;
        self
    }

    /// The same, with snapshots.
    #[must_use]
    pub fn snapshots(mut self, snapshots: Snapshots) -> Self {
        self.snapshots = Some(snapshots);
        self
    }
}

/// Why a command has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It failed.
    Failed,
    /// It was not handled.
    NotHandled,
}

/// The state behind a command, or why there is none.
pub type Answer = Result<Vec<String>, Refusal>;

/// A ledger.
pub trait Ledger {
    /// Asks a command, and waits for its end.
    fn ask(&self, command: Command) -> Soon<'static, Answer>;

    /// Sends a command. Returns `true` if it was accepted.
    fn tell(&self, command: Command) -> bool;

    /// Stops it, and waits for that.
    fn stop(&self) -> Soon<'_, ()>;

    /// Returns `true` if it has not stopped.
    fn is_alive(&self) -> bool;
}

/// A system with its journal.
pub trait World {
    /// Spawns a ledger.
    fn spawn(&self, spec: Spec) -> Box<dyn Ledger>;

    /// Has the next writes fail.
    fn fail_writes(&self, writes: usize);

    /// Has the next writes fail although the events are written.
    fn lose_acknowledgements(&self, writes: usize);

    /// Has the next reads fail.
    fn fail_reads(&self, reads: usize);

    /// Has the next writes of snapshots fail.
    fn fail_snapshots(&self, snapshots: usize);

    /// Holds writes from now on.
    fn hold_writes(&self);

    /// Lets them go on.
    fn release_writes(&self);

    /// Returns the number of events of each write that began.
    fn writes(&self) -> Vec<usize>;

    /// Returns the numbers of the events in the journal.
    fn events(&self, id: &'static str) -> Soon<'_, Vec<u64>>;

    /// Deletes events up to this number.
    fn delete_events(&self, id: &'static str, to: u64) -> Soon<'_, ()>;

    /// Returns the number of the latest snapshot.
    fn latest_snapshot(&self, id: &'static str) -> Soon<'_, Option<u64>>;

    /// Makes the latest snapshot unreadable.
    fn damage_snapshot(&self, id: &'static str) -> Soon<'_, ()>;

    /// Returns what was noted: `recovered <number of events>` at the end of each recovery, and what commands note.
    fn notes(&self) -> Vec<String>;
}
