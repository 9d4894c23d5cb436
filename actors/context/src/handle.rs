//! The handle by which the rest of a program asks the context manager.

use std::time::Duration;

use actix::{Actor, Handler, Message};

use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Spawn};

use crate::{
    context_manager::{ContextManager, ContextParts},
    health::{Health, StoreHealth},
    messages::{Append, Create, FitTurns, List, Open, Read, ReadTurns, Remove, RemoveTurn, Set},
    store::{Change, Details, Part, Session, StoreError, Turn, TurnContent},
};

/// The name of the actor.
const NAME: &str = "context-manager";

/// Why a question about a session has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The context manager did not answer; a new try may succeed.
    #[error("the session store is unavailable: {0}")]
    NoAnswer(#[from] AskError),
}

/// A handle to the context manager; clones share it.
#[derive(Clone, Debug)]
pub struct ContextHandle {
    actor: ActorRef<ContextManager>,
    health: Health,
    answer_timeout: Duration,
}

impl ContextHandle {
    /// Starts a context manager as `/user/context-manager`.
    pub fn start(system: &ActorSystem, parts: ContextParts) -> Self {
        let (health, answer_timeout) = (Health::default(), parts.limits.answer_timeout);
        Self {
            actor: system.spawn(ContextManager::props(parts, health.clone()), NAME),
            health,
            answer_timeout,
        }
    }

    /// Starts a context manager as a child of `parent`, which handles [`Spawn`].
    ///
    /// # Errors
    /// When `parent` has stopped or does not answer.
    pub async fn start_under<P>(parent: &ActorRef<P>, parts: ContextParts) -> Result<Self, AskError>
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let (health, answer_timeout) = (Health::default(), parts.limits.answer_timeout);
        let props = ContextManager::props(parts, health.clone());
        let actor = Spawn::ask(parent, props, NAME).await?;
        Ok(Self {
            actor,
            health,
            answer_timeout,
        })
    }

    /// Returns how the store did at the last question.
    pub fn health(&self) -> StoreHealth {
        self.health.read()
    }

    /// Returns the number of questions that the store has failed to answer since the start.
    pub fn store_failures(&self) -> u64 {
        self.health.failures()
    }

    /// Makes a session.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::BytesFull`] when the owner holds as much as it may.
    pub async fn create(
        &self,
        owner: &str,
        id: String,
        details: Details,
    ) -> Result<Session, ContextError> {
        let owner = owner.to_owned();
        self.ask(Create { id, owner, details }).await
    }

    /// Returns a session that its owner may see.
    ///
    /// # Errors
    /// [`StoreError::NoSuchSession`] when there is none, it has expired, or it is another's.
    pub async fn read(&self, owner: &str, id: &str) -> Result<Session, ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(Read { owner, id }).await
    }

    /// Returns a session that is to take another turn. This reads one row, so that a call can be refused before its body
    /// is parsed.
    ///
    /// # Errors
    /// As [`ContextHandle::read`]; [`StoreError::TurnsFull`] when it holds as many turns as it may, and
    /// [`StoreError::BytesFull`] when its owner holds as many bytes as it may. Calls that run side by side may still go
    /// beyond the number of turns: what was answered is not lost for that.
    pub async fn open(&self, owner: &str, id: &str) -> Result<Session, ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(Open { owner, id }).await
    }

    /// Returns an owner's sessions, the newest first, from behind the session `after` on: at most `limit`, and no more
    /// than [`ContextLimits::page_bytes_max`] allows, but at least one.
    ///
    /// # Errors
    /// [`StoreError::NoSuchSession`] when there is no session `after`.
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

    /// Changes what the owner set. Changes of different fields that are made at once are all kept.
    ///
    /// # Errors
    /// As [`ContextHandle::read`], and [`StoreError::BytesFull`] when the owner would hold more than it may.
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

    /// Returns turns behind the number `after`, the oldest first: at most `limit`, and no more than
    /// [`ContextLimits::page_bytes_max`] allows, but at least one.
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
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(ReadTurns {
            owner,
            id,
            after,
            limit,
        })
        .await
    }

    /// Removes one turn of a session and returns `true` if there was one. The numbers of the others stay.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn remove_turn(
        &self,
        owner: &str,
        id: &str,
        number: u64,
    ) -> Result<bool, ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(RemoveTurn { owner, id, number }).await
    }

    /// Returns the newest turns of a session that together fit `tokens_max`, the oldest of them first. The
    /// caller has read the session before.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn fit(&self, id: &str, tokens_max: u64) -> Result<Vec<Turn>, ContextError> {
        let id = id.to_owned();
        self.ask(FitTurns { id, tokens_max }).await
    }

    /// Appends a finished turn; returns its number once it is kept.
    ///
    /// # Errors
    /// When the session is gone, its owner would hold more bytes than it may, or the store fails.
    pub async fn append(&self, id: &str, content: TurnContent) -> Result<u64, ContextError> {
        let id = id.to_owned();
        self.ask(Append { id, content }).await
    }

    async fn ask<M, T>(&self, message: M) -> Result<T, ContextError>
    where
        M: Message<Result = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
        ContextManager: Handler<M> + actix::Actor<Context = Context<ContextManager>>,
    {
        Ok(self.actor.ask(message, self.answer_timeout).await??)
    }
}
