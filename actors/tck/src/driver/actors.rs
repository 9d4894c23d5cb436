//! The driver for single actors and their trees: a world in which puppets obey commands.
//!
//! A case opens a [`World`], spawns [`Puppet`]s by a [`Spec`], tells or asks them
//! [`Script`]s, and compares the common log with what it expects. Whatever a library has no notion of, asked
//! for by a spec, a command or a method here, makes the case not applicable to it: it is remembered, and said
//! at the case's next look at the log.

use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::Unsupported;
use crate::{
    case::{Failure, Verdict, ensure_eq},
    puppet::{Answer, Script, Spec},
};

/// A future on the case's thread.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Time that is long enough for everything that can happen at once to have happened.
pub const MOMENT: Duration = Duration::from_millis(1);
/// How long a case waits for an answer that is to come.
pub const PATIENCE: Duration = Duration::from_hours(1);

/// Opens worlds.
pub trait Driver: Send + Sync {
    /// Opens an empty world.
    fn open(&self) -> World;

    /// Says whether the library claims this.
    ///
    /// # Errors
    /// Returns what it has no notion of.
    fn claims(&self, claim: Claim) -> Result<(), Unsupported>;
}

impl dyn Driver + '_ {
    /// Opens a world with one puppet in it.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot make such an actor.
    pub async fn with(&self, spec: Spec) -> Result<(World, Puppet), Failure> {
        let world = self.open();
        let puppet = world.spawn(spec).await?;
        Ok((world, puppet))
    }

    /// Ends the case where the library does not claim this.
    ///
    /// # Errors
    /// Fails as not applicable.
    pub fn needs(&self, claim: Claim) -> Verdict {
        Ok(self.claims(claim)?)
    }
}

/// What a library may or may not claim, where no command shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// An actor without references lives on in its tree.
    LivesWithoutReferences,
    /// An asker that no longer waits has its message skipped or its work cancelled.
    AskIsCancelled,
    /// An ask that has no answer says why.
    AskSaysWhy,
    /// Restarting replaces the state by a fresh one.
    FreshState,
    /// A cancelled or replaced timer is never heard of again, even when its message waits already.
    TimerGenerations,
    /// Timers end with the incarnation that started them.
    TimersEndWithIncarnation,
    /// The children of an actor stop before it does.
    ChildrenStopFirst,
    /// The bound of a mailbox holds whoever sends.
    StrictBound,
    /// A request to stop goes before the messages that wait.
    StopGoesFirst,
    /// The failure of a child is of no consequence to its parent unless it asks for that.
    StopsByDefault,
    /// Restarts may go on without a limit.
    UnlimitedRestarts,
    /// What follows a failure to start may depend on its class.
    StartFailuresHaveClasses,
    /// Who watches an actor that has stopped hears of it.
    WatchesTheDead,
    /// A request to stop an actor that has stopped is one.
    SecondStopIsHarmless,
    /// What an actor tells itself counts against the bound of its mailbox.
    SelfSendsAreBounded,
    /// A repeated timer may wait for its time anew after each tick.
    FixedDelay,
    /// A repeated timer may keep its beat and make up for missed ticks.
    FixedRate,
    /// A mailbox has a bound although nobody asked for one.
    BoundedByDefault,
    /// A mailbox without a bound of its own has room for a thousand.
    RoomyByDefault,
    /// The window of a limit of restarts is measured on a clock that a case can move.
    MovableWindow,
}

/// What became of an offered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It waits in the mailbox.
    Enqueued,
    /// The mailbox is full.
    Dropped,
    /// The actor has stopped.
    Closed,
    /// The mailbox's overflow strategy failed the actor.
    Failed,
}

/// Why an ask has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The actor has stopped; the message was not handled.
    Stopped,
    /// The actor waits for its restart; a new try is safe.
    Restarting,
    /// The actor failed on the message, or dropped the answer.
    Failed,
    /// No answer came in time.
    TimedOut,
    /// The mailbox is full.
    MailboxFull,
    /// The library does not say why.
    Unknown,
}

/// A library's own subscription.
pub type Subscription = Box<dyn Any>;

/// Which of two types an event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Noted as `red n`.
    Red,
    /// Noted as `blue n`.
    Blue,
}

/// A reference of the library to a puppet.
#[expect(
    clippy::missing_errors_doc,
    reason = "every error says that the library has no notion of it"
)]
pub trait Handle: Any + Send + Sync {
    /// Tells a message, in the library's ordinary way that does not wait.
    fn tell(&self, script: Script) -> Result<Offer, Unsupported>;

    /// Offers a message and waits for room.
    fn offer(&self, _script: Script) -> Soon<'static, Result<Offer, Unsupported>> {
        Box::pin(async { Err(Unsupported("offer that waits for room")) })
    }

    /// Tells a message with a priority; higher goes first, an ordinary one has 128.
    fn tell_with_priority(&self, _script: Script, _priority: u8) -> Result<Offer, Unsupported> {
        Err(Unsupported("priority of a message"))
    }

    /// Tells a message that does not wait behind others.
    fn control(&self, _script: Script) -> Result<Offer, Unsupported> {
        Err(Unsupported("control lane"))
    }

    /// Tells a message through a reference to one type of message only.
    fn tell_by_recipient(&self, _script: Script) -> Result<Offer, Unsupported> {
        Err(Unsupported("recipient of one type of message"))
    }

    /// Asks; the future is lazy.
    fn ask(&self, script: Script, timeout: Duration) -> Soon<'static, Result<Answer, Refusal>>;

    /// Asks the actor to stop after the message in hand.
    fn stop(&self) -> Result<(), Unsupported>;

    /// Says whether the actor has not stopped.
    fn is_alive(&self) -> bool;

    /// Returns the actor's path.
    fn path(&self) -> Result<String, Unsupported> {
        Err(Unsupported("path of an actor"))
    }

    /// Returns how many messages wait.
    fn waiting(&self) -> Result<usize, Unsupported> {
        Err(Unsupported("count of waiting messages"))
    }

    /// Returns how often the actor was restarted.
    fn restarts(&self) -> Result<u32, Unsupported> {
        Err(Unsupported("count of restarts"))
    }

    /// Clones the library's own reference.
    fn duplicate(&self) -> Puppet;

    /// Says whether both refer to the same actor.
    fn is_same(&self, _other: &Puppet) -> Result<bool, Unsupported> {
        Err(Unsupported("equality of references"))
    }
}

/// A reference to a puppet.
#[derive(Clone)]
pub struct Puppet(Arc<dyn Handle>);

impl Puppet {
    /// Wraps a library's reference.
    pub fn new(handle: impl Handle) -> Self {
        Self(Arc::new(handle))
    }

    /// Returns the library's reference, for its own adapter.
    pub fn handle<H: Handle>(&self) -> Option<&H> {
        let any: &dyn Any = &*self.0;
        any.downcast_ref()
    }

    /// Tells a script.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn tell(&self, script: impl Into<Script>) -> Result<Offer, Failure> {
        Ok(self.0.tell(script.into())?)
    }

    /// Tells each script in turn.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn tell_all<S: Into<Script>>(&self, scripts: impl IntoIterator<Item = S>) -> Verdict {
        for script in scripts {
            self.tell(script)?;
        }
        Ok(())
    }

    /// Asks and expects an answer.
    ///
    /// # Errors
    /// Fails the case when there is none, or when it says that the library cannot.
    pub async fn ask(&self, script: impl Into<Script>) -> Result<Answer, Failure> {
        match self.try_ask(script, PATIENCE).await {
            Ok(Answer::Unsupported(what)) => Err(Unsupported(what).into()),
            Ok(answer) => Ok(answer),
            Err(refusal) => Err(Failure::Failed(format!("no answer: {refusal:?}"))),
        }
    }

    /// Asks for a number.
    ///
    /// # Errors
    /// Fails the case when the answer is none.
    pub async fn ask_number(&self, script: impl Into<Script>) -> Result<i64, Failure> {
        match self.ask(script).await? {
            Answer::Number(number) => Ok(number),
            other => Err(Failure::Failed(format!("expected a number, got {other:?}"))),
        }
    }

    /// Asks for a puppet, by a spawning command.
    ///
    /// # Errors
    /// Fails the case when the answer is none.
    pub async fn ask_puppet(&self, script: impl Into<Script>) -> Result<Self, Failure> {
        match self.ask(script).await? {
            Answer::Puppet(puppet) => Ok(puppet),
            other => Err(Failure::Failed(format!("expected a puppet, got {other:?}"))),
        }
    }

    /// Asks with a timeout of its own.
    pub fn try_ask(
        &self,
        script: impl Into<Script>,
        timeout: Duration,
    ) -> Soon<'static, Result<Answer, Refusal>> {
        self.0.ask(script.into(), timeout)
    }

    /// Offers a script and waits for room.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub async fn offer(&self, script: impl Into<Script>) -> Result<Offer, Failure> {
        Ok(self.0.offer(script.into()).await?)
    }

    /// Tells a script with a priority.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn tell_with_priority(
        &self,
        script: impl Into<Script>,
        priority: u8,
    ) -> Result<Offer, Failure> {
        Ok(self.0.tell_with_priority(script.into(), priority)?)
    }

    /// Tells a script past those that wait.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn control(&self, script: impl Into<Script>) -> Result<Offer, Failure> {
        Ok(self.0.control(script.into())?)
    }

    /// Tells a script through a recipient.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn tell_by_recipient(&self, script: impl Into<Script>) -> Result<Offer, Failure> {
        Ok(self.0.tell_by_recipient(script.into())?)
    }

    /// Asks the actor to stop.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn stop(&self) -> Verdict {
        Ok(self.0.stop()?)
    }

    /// Says whether the actor has not stopped.
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Returns the actor's path.
    ///
    /// # Errors
    /// Fails as not applicable where the library has none.
    pub fn path(&self) -> Result<String, Failure> {
        Ok(self.0.path()?)
    }

    /// Returns how many messages wait.
    ///
    /// # Errors
    /// Fails as not applicable where the library does not say.
    pub fn waiting(&self) -> Result<usize, Failure> {
        Ok(self.0.waiting()?)
    }

    /// Returns how often the actor was restarted.
    ///
    /// # Errors
    /// Fails as not applicable where the library does not say.
    pub fn restarts(&self) -> Result<u32, Failure> {
        Ok(self.0.restarts()?)
    }

    /// Returns a clone of the library's own reference.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        self.0.duplicate()
    }

    /// Says whether both refer to the same actor.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot say.
    pub fn is_same(&self, other: &Self) -> Result<bool, Failure> {
        Ok(self.0.is_same(other)?)
    }
}

impl fmt::Debug for Puppet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Puppet").finish_non_exhaustive()
    }
}

impl PartialEq for Puppet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

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

    /// Tells a script to everyone listed under a key; returns how many.
    fn tell_listed(&self, _key: &'static str, _script: Script) -> Result<usize, Unsupported> {
        Err(Unsupported("receptionist"))
    }

    /// Has the puppet note `<name> lists <n>` now and at each change of a key.
    fn subscribe_listing(&self, _key: &'static str, _puppet: &Puppet) -> Result<(), Unsupported> {
        Err(Unsupported("subscription to a receptionist"))
    }

    /// Has the puppet note each later event of a topic; returns what ends it.
    fn subscribe(&self, _topic: Topic, _puppet: &Puppet) -> Result<Subscription, Unsupported> {
        Err(Unsupported("event stream"))
    }

    /// Ends a subscription; says whether there was one.
    fn unsubscribe(&self, _subscription: Subscription) -> Result<bool, Unsupported> {
        Err(Unsupported("event stream"))
    }

    /// Publishes an event; returns how many took it.
    fn publish(&self, _topic: Topic, _number: i64) -> Result<usize, Unsupported> {
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
    pub async fn terminate(&self) -> Verdict {
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
    pub async fn settle(&self) -> Verdict {
        self.pass(MOMENT).await
    }

    /// Lets paused time pass, as far as nothing else runs meanwhile.
    ///
    /// # Errors
    /// See [`World::settle`].
    pub async fn pass(&self, time: Duration) -> Verdict {
        tokio::time::sleep(time).await;
        self.checked()
    }

    fn checked(&self) -> Verdict {
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
    pub async fn expect_notes(&self, expected: &[&str]) -> Verdict {
        self.settle().await?;
        ensure_eq("notes", &self.notes(), &owned(expected))
    }

    /// Settles, and expects exactly these notes and hooks.
    ///
    /// # Errors
    /// Fails the case with both lists.
    pub async fn expect_entries(&self, expected: &[&str]) -> Verdict {
        self.settle().await?;
        ensure_eq("log", &self.entries(), &owned(expected))
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
