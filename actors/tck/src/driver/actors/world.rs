//! A world: the library's side, and the log that all puppets share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{MOMENT, Puppet, Soon, Subscription, Topic};
use crate::{
    case::{CaseResult, Failure, ensure_eq},
    driver::Unsupported,
    puppet::{Script, Spec},
};

/// One thing that happened in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    text: String,
    /// A hook ran; not told by a script.
    hook: bool,
}

/// What all puppets of a world share.
#[derive(Debug)]
pub struct Shared {
    log: Mutex<Vec<Entry>>,
    unsupported: Mutex<Option<Unsupported>>,
    /// Counts what puppets do too often for the log.
    pub count: AtomicU64,
    /// Set by a case to end what would go on for ever.
    pub enough: AtomicBool,
    opened: Instant,
}

impl Shared {
    /// Starts an empty log.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::default(),
            unsupported: Mutex::default(),
            count: AtomicU64::new(0),
            enough: AtomicBool::new(false),
            opened: Instant::now(),
        })
    }

    fn log(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a script asked to note.
    pub fn note(&self, text: impl Into<String>) {
        self.log().push(Entry {
            text: text.into(),
            hook: false,
        });
    }

    /// Notes that a hook ran.
    pub fn hook(&self, text: impl Into<String>) {
        self.log().push(Entry {
            text: text.into(),
            hook: true,
        });
    }

    /// Remembers what the library has no notion of.
    pub fn unsupported(&self, what: Unsupported) {
        let mut unsupported = self
            .unsupported
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unsupported.get_or_insert(what);
    }

    /// Returns the paused time since the world was opened, in whole milliseconds.
    pub fn millis(&self) -> u128 {
        self.opened.elapsed().as_millis()
    }
}

/// What an adapter does for a world, besides the puppets; each method may not be claimed.
#[expect(
    clippy::missing_errors_doc,
    reason = "every error says that the library has no notion of it"
)]
pub trait Backend {
    /// Spawns a puppet at the top of the tree.
    fn spawn(&self, spec: Spec) -> Soon<'_, Result<Puppet, Unsupported>>;

    /// Stops all actors and waits for them.
    fn terminate(&self) -> Soon<'_, Result<(), Unsupported>> {
        Box::pin(async { Err(Unsupported("ordered termination of a system")) })
    }

    /// Returns how many messages found nobody to handle them.
    fn dead_letters(&self) -> Result<u64, Unsupported> {
        Err(Unsupported("dead letters"))
    }

    /// Has each dead letter noted as `dead <path>`.
    fn note_dead_letters(&self) -> Result<(), Unsupported> {
        Err(Unsupported("dead letters"))
    }

    /// Has each restart noted as `restarted <path>`.
    fn note_restarts(&self) -> Result<(), Unsupported> {
        Err(Unsupported("news of restarts"))
    }

    /// Waits until a failure reaches the guardian; returns what it says.
    fn when_failed(&self) -> Soon<'_, Result<String, Unsupported>> {
        Box::pin(async { Err(Unsupported("escalation to a guardian")) })
    }

    /// Returns what the library says of whether it can catch panics in this build.
    fn catches_panics(&self) -> Result<bool, Unsupported> {
        Err(Unsupported("word on whether panics can be caught"))
    }

    /// Returns the paths of all living actors, in order.
    fn tree(&self) -> Result<Vec<String>, Unsupported> {
        Err(Unsupported("tree of actors"))
    }

    /// Lists a puppet under a key.
    fn register(&self, _key: &'static str, _puppet: &Puppet) -> Result<(), Unsupported> {
        Err(Unsupported("receptionist"))
    }

    /// Takes a puppet from a key.
    fn deregister(&self, _key: &'static str, _puppet: &Puppet) -> Result<(), Unsupported> {
        Err(Unsupported("receptionist"))
    }

    /// Sends a script to everyone listed under a key; returns how many.
    fn tell_listed(&self, _key: &'static str, _script: Script) -> Result<usize, Unsupported> {
        Err(Unsupported("receptionist"))
    }

    /// Has the puppet note `<name> lists <n>` now and at each change of a key.
    fn subscribe_listing(&self, _key: &'static str, _puppet: &Puppet) -> Result<(), Unsupported> {
        Err(Unsupported("subscription to a receptionist"))
    }

    /// Has the puppet note each later event of a topic; returns what ends it.
    fn subscribe<'a>(
        &'a self,
        _topic: Topic,
        _puppet: &'a Puppet,
    ) -> Soon<'a, Result<Subscription, Unsupported>> {
        Box::pin(async { Err(Unsupported("event stream")) })
    }

    /// Ends a subscription; says whether there was one, `None` where the library does not.
    fn unsubscribe(&self, _subscription: Subscription) -> Result<Option<bool>, Unsupported> {
        Err(Unsupported("event stream"))
    }

    /// Publishes an event; returns how many took it, `None` where the library does not say.
    fn publish(&self, _topic: Topic, _number: i64) -> Result<Option<usize>, Unsupported> {
        Err(Unsupported("event stream"))
    }
}

/// A world of puppets: a library's system, and the common log.
pub struct World {
    /// The library's side.
    pub backend: Box<dyn Backend>,
    /// The common log.
    pub shared: Arc<Shared>,
}

impl World {
    /// Spawns a puppet at the top.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot make such an actor.
    pub async fn spawn(&self, spec: Spec) -> Result<Puppet, Failure> {
        Ok(self.backend.spawn(spec).await?)
    }

    /// Stops all actors and waits for them.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub async fn terminate(&self) -> CaseResult {
        Ok(self.backend.terminate().await?)
    }

    /// Returns the count of dead letters.
    ///
    /// # Errors
    /// Fails as not applicable where the library has none.
    pub fn dead_letters(&self) -> Result<u64, Failure> {
        Ok(self.backend.dead_letters()?)
    }

    /// Waits until all that can happen at once has happened.
    ///
    /// # Errors
    /// Fails as not applicable when a command met something that the library has no notion of.
    pub async fn settle(&self) -> CaseResult {
        self.pass(MOMENT).await
    }

    /// Lets paused time pass, as far as nothing else runs meanwhile.
    ///
    /// # Errors
    /// See [`World::settle`].
    pub async fn pass(&self, time: Duration) -> CaseResult {
        tokio::time::sleep(time).await;
        self.checked()
    }

    fn checked(&self) -> CaseResult {
        let unsupported = self.shared.unsupported.lock();
        match *unsupported.unwrap_or_else(PoisonError::into_inner) {
            Some(what) => Err(what.into()),
            None => Ok(()),
        }
    }

    /// Returns everything that was noted, hooks included.
    pub fn entries(&self) -> Vec<String> {
        let log = self.shared.log();
        log.iter().map(|entry| entry.text.clone()).collect()
    }

    /// Returns what scripts noted, without hooks.
    pub fn notes(&self) -> Vec<String> {
        let log = self.shared.log();
        let notes = log.iter().filter(|entry| !entry.hook);
        notes.map(|entry| entry.text.clone()).collect()
    }

    /// Forgets the log so far.
    pub fn forget(&self) {
        self.shared.log().clear();
    }

    /// Settles, and expects exactly these notes since the log was last empty.
    ///
    /// # Errors
    /// Fails the case with both lists.
    pub async fn expect_notes(&self, expected: &[&str]) -> CaseResult {
        self.settle().await?;
        ensure_eq("notes", &self.notes(), &owned(expected))
    }

    /// Settles, and expects exactly these notes and hooks.
    ///
    /// # Errors
    /// Fails the case with both lists.
    pub async fn expect_entries(&self, expected: &[&str]) -> CaseResult {
        self.settle().await?;
        ensure_eq("log", &self.entries(), &owned(expected))
    }

    /// Publishes an event, and expects that so many take it, where the library says how many do.
    ///
    /// # Errors
    /// Fails the case when others do, and as not applicable where the library has no events.
    pub fn expect_taken(&self, topic: Topic, number: i64, takers: usize) -> CaseResult {
        let taken = self.backend.publish(topic, number)?;
        ensure_eq("taken by", &taken.unwrap_or(takers), &takers)
    }

    /// Returns how often `text` is in the log, hooks included.
    pub fn times(&self, text: &str) -> usize {
        let log = self.shared.log();
        log.iter().filter(|entry| entry.text == text).count()
    }

    /// Returns the shared count.
    pub fn count(&self) -> u64 {
        self.shared.count.load(SeqCst)
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("World")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
