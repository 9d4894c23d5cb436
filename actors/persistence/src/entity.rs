//! The actor of an event-sourced state.
//!
//! Owns what an application writes ([`EventSourced`], [`CommandHandler`]), how an entity is kept ([`Persistence`],
//! [`Retention`]) and why it fails ([`PersistenceError`]). The actor itself is in `actor`, its start in `recovery`.

use std::{fmt, sync::Arc, time::Duration};

use actix::Message;
use kebne_actors::{Context, Props, Strategy};

use crate::{
    codec::{Codec, CodecError},
    journal::{Journal, JournalError, Snapshots},
};

mod actor;
mod effect;
mod recovery;
mod snapshots;

pub use actor::{Answer, Entity};
pub use effect::{Effect, ReplyEffect};

/// The longest time for one step of a recovery, as Pekko's `recovery-event-timeout`.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time for one write, as the call timeout of the breaker around Pekko's journals.
const PERSIST_TIMEOUT: Duration = Duration::from_secs(10);

/// A state that changes by events only.
pub trait EventSourced: Sized + Unpin + 'static {
    /// What has happened.
    type Event: 'static;

    /// Applies an event: the only place that changes the state. It runs when the event has been written and at each
    /// recovery, and must therefore depend on nothing else and do nothing else.
    fn apply(&mut self, event: &Self::Event);

    /// Returns the effect that persists one event.
    fn persist(&self, event: Self::Event) -> Effect<Self> {
        self.persist_all([event])
    }

    /// Returns the effect that persists events together: all are written, or none.
    fn persist_all(&self, events: impl IntoIterator<Item = Self::Event>) -> Effect<Self> {
        Effect::new(events.into_iter().collect())
    }

    /// Returns the effect that persists nothing.
    fn unchanged(&self) -> Effect<Self> {
        Effect::new(Vec::new())
    }

    /// Runs when the state is recovered, before the first command: Pekko's `RecoveryCompleted`.
    fn recovered(&self, _: &mut Context<Entity<Self>>) {}

    /// Runs when a snapshot was written (`Ok` with its sequence number) or not: Pekko's `SnapshotCompleted` and
    /// `SnapshotFailed`. A failure is logged in any case, and the entity goes on.
    fn snapshot_saved(&self, _: Result<u64, &JournalError>, _: &mut Context<Entity<Self>>) {}
}

/// Decides about commands of type `M`.
pub trait CommandHandler<M: Message>: EventSourced {
    /// Decides by the state what a command leads to. Commands that come while events are written wait in the mailbox,
    /// so that each sees the state behind the events of those before it.
    fn handle(&self, command: M, ctx: &mut Context<Entity<Self>>) -> ReplyEffect<Self, M>;
}

/// Asks any entity whose state can be cloned for its state; for tests.
#[derive(Debug)]
pub struct Inspect<S>(std::marker::PhantomData<fn() -> S>);

impl<S> Default for Inspect<S> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<S: 'static> Message for Inspect<S> {
    type Result = S;
}

impl<S> CommandHandler<Inspect<S>> for S
where
    S: EventSourced + Clone + Send,
{
    fn handle(
        &self,
        _: Inspect<S>,
        _: &mut Context<Entity<Self>>,
    ) -> ReplyEffect<Self, Inspect<S>> {
        Effect::reply(self.clone())
    }
}

/// Why an entity failed.
#[derive(Debug, thiserror::Error)]
pub enum PersistenceError {
    /// Events could not be written. They may be in the journal nevertheless; the recovery of the next instance finds
    /// out.
    #[error("event {sequence} of `{id}` was not written")]
    Persist {
        /// The entity.
        id: String,
        /// The number of the first event.
        sequence: u64,
        /// The journal's error.
        #[source]
        source: JournalError,
    },
    /// An event has no form in bytes. Nothing was written, and the state is as before.
    #[error("event {sequence} of `{id}` was rejected")]
    Rejected {
        /// The entity.
        id: String,
        /// The number that the event would have.
        sequence: u64,
        /// The codec's error.
        #[source]
        source: CodecError,
    },
    /// The state could not be recovered.
    #[error("`{id}` was not recovered: {reason}")]
    Recovery {
        /// The entity.
        id: String,
        /// What failed.
        reason: String,
    },
    /// A command was stashed while the stash was full.
    #[error("the stash of `{id}` is full")]
    StashFull {
        /// The entity.
        id: String,
    },
}

/// Returns the strategy that restarts an entity after a wait when it could not write or recover: Pekko's
/// `onPersistFailure`. Other failures stop it; join further rules by `or_else`.
pub fn on_persist_failure(min: Duration, max: Duration) -> Strategy {
    let concerns_the_journal = |fault: &kebne_actors::Fault| {
        let error = fault.downcast_ref();
        matches!(
            error,
            Some(PersistenceError::Persist { .. } | PersistenceError::Recovery { .. })
        )
    };
    Strategy::restart()
        .when(concerns_the_journal)
        .with_backoff(min, max)
}

/// When snapshots are taken, and what is deleted then.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub(crate) every: u64,
    pub(crate) keep: u64,
    pub(crate) delete_events: bool,
}

impl Retention {
    /// Takes a snapshot at each multiple of this number of events, at least 1, and keeps the last two.
    pub fn every(events: u64) -> Self {
        Self {
            every: events.max(1),
            keep: 2,
            delete_events: false,
        }
    }

    /// Sets how many snapshots are kept; at least 1, default 2. Older ones are deleted when a new one is written.
    #[must_use]
    pub fn keep(mut self, snapshots: u64) -> Self {
        self.keep = snapshots.max(1);
        self
    }

    /// Deletes the events that no kept snapshot needs. Default: all events are kept.
    #[must_use]
    pub fn delete_events(mut self) -> Self {
        self.delete_events = true;
        self
    }

    /// Returns the sequence number up to which snapshots are deleted when one of `sequence` was written.
    pub(crate) fn obsolete(self, sequence: u64) -> u64 {
        sequence.saturating_sub(self.keep.saturating_mul(self.every))
    }
}

/// How snapshots are kept.
pub(crate) struct Snapshotting<S> {
    pub(crate) store: Arc<dyn Snapshots>,
    pub(crate) codec: Arc<dyn Codec<S>>,
    pub(crate) retention: Retention,
    pub(crate) optional: bool,
}

impl<S> Clone for Snapshotting<S> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            codec: Arc::clone(&self.codec),
            retention: self.retention,
            optional: self.optional,
        }
    }
}

/// How entities of one type are kept: journal, codec of the events, snapshots.
pub struct Persistence<S: EventSourced> {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) events: Arc<dyn Codec<S::Event>>,
    pub(crate) snapshots: Option<Snapshotting<S>>,
    pub(crate) recovery_timeout: Duration,
    pub(crate) persist_timeout: Duration,
}

impl<S: EventSourced> Persistence<S> {
    /// Keeps events in a journal, and takes no snapshots.
    pub fn new(journal: Arc<dyn Journal>, events: impl Codec<S::Event>) -> Self {
        Self {
            journal,
            events: Arc::new(events),
            snapshots: None,
            recovery_timeout: RECOVERY_TIMEOUT,
            persist_timeout: PERSIST_TIMEOUT,
        }
    }

    /// Takes snapshots too. A snapshot is written beside the commands, and one that fails is only logged.
    #[must_use]
    pub fn snapshots(
        mut self,
        store: Arc<dyn Snapshots>,
        codec: impl Codec<S>,
        retention: Retention,
    ) -> Self {
        self.snapshots = Some(Snapshotting {
            store,
            codec: Arc::new(codec),
            retention,
            optional: false,
        });
        self
    }

    /// Recovers from all events where the latest snapshot cannot be read: Pekko's `snapshot-is-optional`. It has no effect
    /// where events are deleted.
    #[must_use]
    pub fn snapshots_are_optional(mut self) -> Self {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.optional = !snapshots.retention.delete_events;
        }
        self
    }

    /// Sets the longest time for one step of a recovery; default 30 s.
    #[must_use]
    pub fn recovery_timeout(mut self, limit: Duration) -> Self {
        self.recovery_timeout = limit;
        self
    }

    /// Sets the longest time for one write; default 10 s.
    #[must_use]
    pub fn persist_timeout(mut self, limit: Duration) -> Self {
        self.persist_timeout = limit;
        self
    }

    /// Returns the props of the entity of this id. `empty` creates the state before the first event, at each start. An id
    /// must have one entity at a time; a second one fails at its first write.
    ///
    /// The mailbox bounds the commands that wait while the entity recovers or writes, as the stash of 4096 does in Pekko.
    pub fn props(
        &self,
        id: impl Into<String>,
        empty: impl Fn() -> S + Send + Sync + 'static,
    ) -> Props<Entity<S>> {
        let id: Arc<str> = id.into().into();
        let (persistence, empty) = (self.clone(), Arc::new(empty));
        Props::new(move || {
            let empty: Arc<dyn Fn() -> S> = Arc::clone(&empty) as _;
            Entity::new(Arc::clone(&id), persistence.clone(), empty)
        })
    }
}

impl<S: EventSourced> Clone for Persistence<S> {
    fn clone(&self) -> Self {
        Self {
            journal: Arc::clone(&self.journal),
            events: Arc::clone(&self.events),
            snapshots: self.snapshots.clone(),
            recovery_timeout: self.recovery_timeout,
            persist_timeout: self.persist_timeout,
        }
    }
}

impl<S: EventSourced> fmt::Debug for Persistence<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Persistence")
            .field("snapshots", &self.snapshots.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
