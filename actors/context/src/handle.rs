//! The handle through which a program uses the context manager.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};

use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Spawn};

use crate::{
    context_manager::ContextManager,
    context_parts::{ContextParts, WallClock},
    health::{Health, StoreHealth},
    messages::{Append, Count, Create, FitTurns, List, Open, Read, Remove, Set},
    store::{Change, Details, Part, Session, StoreError, Turn, TurnContent},
};

mod branches;
mod memory;

/// The name of the actor.
const NAME: &str = "context-manager";

/// The reason why a question about a session has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The context manager did not answer; a retry may succeed.
    #[error("the session store is unavailable: {0}")]
    NoAnswer(#[from] AskError),
}

/// A handle to the context manager; clones share it.
#[derive(Clone, Debug)]
pub struct ContextHandle {
    actor: ActorRef<ContextManager>,
    health: Health,
    answer_timeout: Duration,
    clock: Clock,
}

/// The wall clock of the context manager.
#[derive(Clone)]
struct Clock(WallClock);

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}

impl ContextHandle {
    /// Starts a context manager as `/user/context-manager`.
    pub fn start(system: &ActorSystem, parts: ContextParts) -> Self {
        let (health, answer_timeout) = (Health::default(), parts.limits.answer_timeout);
        let clock = Clock(Arc::clone(&parts.clock));
        Self {
            actor: system.spawn(ContextManager::props(parts, health.clone()), NAME),
            health,
            answer_timeout,
            clock,
        }
    }

    /// Starts a context manager as a child of `parent`, which handles [`Spawn`].
    ///
    /// # Errors
    /// Returns an error if `parent` has stopped or does not answer.
    pub async fn start_under<P>(parent: &ActorRef<P>, parts: ContextParts) -> Result<Self, AskError>
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let (health, answer_timeout) = (Health::default(), parts.limits.answer_timeout);
        let clock = Clock(Arc::clone(&parts.clock));
        let props = ContextManager::props(parts, health.clone());
        let actor = Spawn::ask(parent, props, NAME).await?;
        Ok(Self {
            actor,
            health,
            answer_timeout,
            clock,
        })
    }

    /// Returns the present time of the sessions, in milliseconds of Unix time.
    pub fn now(&self) -> u64 {
        (self.clock.0)()
    }

    /// Returns the state of the store.
    pub fn health(&self) -> StoreHealth {
        self.health.read()
    }

    /// Returns the number of questions that the store has failed to answer since the start.
    pub fn store_failures(&self) -> u64 {
        self.health.failures()
    }

    /// Creates a session.
    ///
    /// # Errors
    /// Returns [`StoreError::Full`] or [`StoreError::BytesFull`] if the owner's quota is used up, and the reason while the
    /// store refuses writes, as [`ContextHandle::open`] does.
    pub async fn create(
        &self,
        owner: &str,
        id: String,
        details: Details,
    ) -> Result<Session, ContextError> {
        self.create_for(owner, id, details, 0).await
    }

    /// Creates a session if its owner also has room for `bytes` of its first turn.
    ///
    /// # Errors
    /// As [`ContextHandle::create`].
    pub async fn create_for(
        &self,
        owner: &str,
        id: String,
        details: Details,
        bytes: u64,
    ) -> Result<Session, ContextError> {
        let owner = owner.to_owned();
        self.ask(Create {
            id,
            owner,
            details,
            bytes,
            is_partial: false,
        })
        .await
    }

    /// Returns a session of `owner`.
    ///
    /// # Errors
    /// Returns [`StoreError::NoSuchSession`] if there is none, it has expired, or it belongs to another owner.
    pub async fn read(&self, owner: &str, id: &str) -> Result<Session, ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(Read { owner, id }).await
    }

    /// Returns a session to which a turn will be appended. This reads only one row, so a call can be refused before its
    /// body is parsed.
    ///
    /// # Errors
    /// As [`ContextHandle::read`]; also [`StoreError::TurnsFull`] if the session has the maximum number of turns, and
    /// [`StoreError::BytesFull`] if its owner has the maximum number of bytes. While the store refuses writes, this
    /// returns the reason, because the turn could not be appended; one question at a time tries whether it still does.
    pub async fn open(&self, owner: &str, id: &str) -> Result<Session, ContextError> {
        self.open_for(owner, id, 0).await
    }

    /// Returns a session to which a turn of at least `bytes` will be appended.
    ///
    /// # Errors
    /// As [`ContextHandle::open`]; [`StoreError::BytesFull`] also if its owner has no room for the turn.
    pub async fn open_for(
        &self,
        owner: &str,
        id: &str,
        bytes: u64,
    ) -> Result<Session, ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(Open { owner, id, bytes }).await
    }

    /// Returns the sessions of an owner that follow the session `after`, the newest first. The page holds at most
    /// `limit` sessions and [`ContextLimits::page_bytes_max`] bytes, but at least one session.
    ///
    /// # Errors
    /// Returns [`StoreError::NoSuchSession`] if there is no session `after`.
    ///
    /// [`ContextLimits::page_bytes_max`]: crate::ContextLimits::page_bytes_max
    pub async fn list(
        &self,
        owner: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<Part<Session>, ContextError> {
        let owner = owner.to_owned();
        self.ask(List {
            owner,
            after,
            limit,
        })
        .await
    }

    /// Changes the fields that the owner may set. Concurrent changes of different fields are all kept.
    ///
    /// # Errors
    /// As [`ContextHandle::read`], and [`StoreError::BytesFull`] if the owner's quota would be exceeded.
    pub async fn change(
        &self,
        owner: &str,
        id: &str,
        change: Change,
    ) -> Result<Session, ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(Set { owner, id, change }).await
    }

    /// Removes a session and its turns.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn remove(&self, owner: &str, id: &str) -> Result<(), ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(Remove { owner, id }).await
    }

    /// Returns the turns with numbers above `after`, the oldest first. The page holds at most `limit` turns and
    /// [`ContextLimits::page_bytes_max`] bytes, but at least one turn.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    ///
    /// [`ContextLimits::page_bytes_max`]: crate::ContextLimits::page_bytes_max
    pub async fn turns(
        &self,
        owner: &str,
        id: &str,
        after: u64,
        limit: usize,
    ) -> Result<Part<Turn>, ContextError> {
        self.turns_of((owner, id), after, limit).await
    }

    /// Removes one turn of a session and what rests on it, and returns `true` if there was one. The numbers of the other turns do not change.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn remove_turn(
        &self,
        owner: &str,
        id: &str,
        number: u64,
    ) -> Result<bool, ContextError> {
        self.remove_turn_of((owner, id), number).await
    }

    /// Returns the newest turns of a session that fit into `tokens_max` tokens together, the oldest first. The caller
    /// must have read the session before, which checks its owner.
    ///
    /// # Errors
    /// Returns an error if the session no longer exists.
    pub async fn fit(&self, id: &str, tokens_max: u64) -> Result<Vec<Turn>, ContextError> {
        self.fit_for(id, tokens_max, 0).await
    }

    /// Returns the newest turns that fit, as [`ContextHandle::fit`] does, if a turn of at least `bytes` can be appended.
    ///
    /// # Errors
    /// As [`ContextHandle::fit`]; also [`StoreError::BytesFull`] if the owner has no room for the turn.
    pub async fn fit_for(
        &self,
        id: &str,
        tokens_max: u64,
        bytes: u64,
    ) -> Result<Vec<Turn>, ContextError> {
        let id = id.to_owned();
        self.ask(FitTurns {
            id,
            tokens_max,
            bytes,
        })
        .await
    }

    /// Appends a complete turn and returns its number once it is stored.
    ///
    /// # Errors
    /// Returns an error if the session no longer exists, it has the maximum number of turns, the owner's quota would be
    /// exceeded, or the store fails.
    pub async fn append(&self, id: &str, content: TurnContent) -> Result<u64, ContextError> {
        let id = id.to_owned();
        let cuts = None;
        self.ask(Append { id, cuts, content }).await
    }

    /// Appends a turn whose history was that of a session with these `cuts` (see [`Marks::cuts`](crate::store::Marks::cuts)).
    ///
    /// # Errors
    /// As [`ContextHandle::append`]; also [`StoreError::Changed`] if turns have been removed from the session since.
    pub async fn append_if(
        &self,
        id: &str,
        cuts: u64,
        content: TurnContent,
    ) -> Result<u64, ContextError> {
        let (id, cuts) = (id.to_owned(), Some(cuts));
        self.ask(Append { id, cuts, content }).await
    }

    /// Returns the number of sessions of all owners. Expired ones count until they are removed.
    ///
    /// # Errors
    /// Returns the reason why the store does not answer, which does not count as a failure of the store.
    pub async fn count(&self) -> Result<u64, ContextError> {
        self.ask(Count).await
    }

    pub(crate) async fn ask<M, T>(&self, message: M) -> Result<T, ContextError>
    where
        M: Message<Result = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
        ContextManager: Handler<M> + actix::Actor<Context = Context<ContextManager>>,
    {
        Ok(self.actor.ask(message, self.answer_timeout).await??)
    }
}
