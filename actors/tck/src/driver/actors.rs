//! The driver for single actors and their trees: a world in which puppets obey commands.
//!
//! A case opens a [`World`], spawns [`Puppet`]s by a [`Spec`], tells or asks them
//! [`Script`](crate::puppet::Script)s, and compares the common log with what it expects. Whatever a library has no notion of, asked
//! for by a spec, a command or a method here, makes the case not applicable to it: it is remembered, and said
//! at the case's next look at the log.

use std::{any::Any, pin::Pin, time::Duration};

use super::Unsupported;
use crate::{
    case::{CaseResult, Failure},
    puppet::Spec,
};

mod handle;
mod world;

pub use handle::{Handle, Puppet};
pub use world::{Backend, Shared, World};

/// A future on the case's thread.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Time that is long enough for everything that can happen at once to have happened.
pub const MOMENT: Duration = Duration::from_millis(1);
/// How long a case waits for an answer that is to come.
pub const ANSWER_TIMEOUT: Duration = Duration::from_hours(1);

/// Opens worlds.
pub trait Driver: Send + Sync {
    /// Opens an empty world.
    fn open(&self) -> World;

    /// Returns an error if the library does not claim this.
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
    pub fn needs(&self, claim: Claim) -> CaseResult {
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
    /// Actors of one parent stop in an order, the last spawned first.
    StopOrder,
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
    /// What is published counts against the bound of its subscriber's mailbox.
    EventsAreBounded,
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
    /// The actor failed on another message, or stopped, while it worked on this one.
    Interrupted,
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
