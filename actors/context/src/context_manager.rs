//! The actor that holds the rules of sessions: who may see which, how long they live, which turns fit a budget.
//!
//! Owns the rules, not the bytes: those are in a [`SessionStore`], which does the slow work on a thread of
//! its own, so that this actor never waits. A store that has ended fails the actor, and its restart opens the
//! store anew; whatever was acknowledged is there again.

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, Handler, ResponseFuture};

use kebne_actors::{Context, Props, Strategy};

use crate::{
    messages::{
        Append, Create, FitTurns, List, Open, Read, ReadTurns, Remove, RemoveTurn, Set, StoreLost,
        Sweep,
    },
    store::{Alive, Session, SessionStore, StoreError, Stored, Turn},
};

/// Bounds of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextLimits {
    /// Sessions that each owner may hold. Default 10000.
    pub sessions_max: u64,
    /// Turns that a session may hold. Default 1000.
    pub turns_max: u64,
    /// A session that was not used for this long has expired. Default 30 days.
    pub idle_expiry: Duration,
    /// A session that was made this long ago has expired, however much it is used. Default 365 days.
    pub age_max: Duration,
    /// Time between two removals of what has expired. Default 1 minute.
    pub sweep_every: Duration,
}

impl Default for ContextLimits {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self {
            sessions_max: 10_000,
            turns_max: 1000,
            idle_expiry: days(30),
            age_max: days(365),
            sweep_every: Duration::from_mins(1),
        }
    }
}

/// Opens the store: at the start and after the store was lost.
pub type OpenStore = Arc<dyn Fn() -> Result<Arc<dyn SessionStore>, StoreError> + Send + Sync>;
/// Tells the time, in milliseconds of Unix time.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the context manager needs to start, again and again.
#[derive(Clone)]
pub struct ContextParts {
    /// Opens the store.
    pub open: OpenStore,
    /// Bounds.
    pub limits: ContextLimits,
    /// The wall clock: sessions outlive the process.
    pub clock: WallClock,
}

/// Failures within [`WINDOW`] after which the process ends with the reason.
const RESTARTS_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);
/// First and longest wait before the store is opened anew.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Time after which a store that has not answered counts as lost: beyond what a busy disk takes, and below
/// what those who ask wait.
const STORE_PATIENCE: Duration = Duration::from_secs(8);
/// Questions that may wait.
const MAILBOX: usize = 1024;

/// Keeps conversations.
pub struct ContextManager {
    parts: ContextParts,
    /// Open from the start of the actor on.
    store: Option<Arc<dyn SessionStore>>,
}

impl ContextManager {
    /// Returns how to start the actor and how to restart it.
    pub fn props(parts: ContextParts) -> Props<Self> {
        let strategy = Strategy::restart()
            .with_backoff(BACKOFF.0, BACKOFF.1)
            .with_limit(RESTARTS_MAX, WINDOW)
            .escalate_at_limit();
        Props::new(move || Self {
            parts: parts.clone(),
            store: None,
        })
        .supervise(strategy)
        .mailbox(MAILBOX)
    }

    fn now(&self) -> u64 {
        (self.parts.clock)()
    }

    fn alive(&self) -> Alive {
        let since = |span: Duration| {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            self.now().saturating_sub(millis)
        };
        Alive {
            used_since: since(self.parts.limits.idle_expiry),
            created_since: since(self.parts.limits.age_max),
        }
    }

    /// Runs a step on the store; a store that has ended or hangs fails this actor.
    fn with_store<T, F>(
        &self,
        ctx: &Context<Self>,
        step: F,
    ) -> ResponseFuture<Result<T, StoreError>>
    where
        T: 'static,
        F: AsyncFnOnce(Arc<dyn SessionStore>) -> Result<T, StoreError> + 'static,
    {
        let Some(store) = self.store.clone() else {
            return Box::pin(std::future::ready(Err(StoreError::Lost)));
        };
        let this = ctx.self_ref();
        Box::pin(async move {
            // A store that hangs is as good as one that has ended.
            let done = tokio::time::timeout(STORE_PATIENCE, step(store)).await;
            let result = done.unwrap_or(Err(StoreError::Lost));
            if matches!(result, Err(StoreError::Lost)) {
                this.inform(StoreLost);
            }
            result
        })
    }

    /// Returns a session that its owner may see now, before the step goes on.
    fn own(
        &self,
        owner: &str,
        id: &str,
    ) -> impl FnOnce(&dyn SessionStore) -> Stored<Session> + 'static {
        let (alive, owner, id) = (self.alive(), owner.to_owned(), id.to_owned());
        move |store| {
            let found = store.find(&id);
            Box::pin(async move {
                let session = found.await?.ok_or(StoreError::NoSuchSession)?;
                let visible = session.owner == owner && alive.holds(&session);
                visible.then_some(session).ok_or(StoreError::NoSuchSession)
            })
        }
    }
}

impl Actor for ContextManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        match (self.parts.open)() {
            Ok(store) => self.store = Some(store),
            Err(error) => return ctx.fail(error),
        }
        ctx.start_timer_with_fixed_delay("sweep", Sweep, self.parts.limits.sweep_every);
    }
}

impl Handler<Create> for ContextManager {
    type Result = ResponseFuture<Result<Session, StoreError>>;

    fn handle(&mut self, create: Create, ctx: &mut Context<Self>) -> Self::Result {
        let now = self.now();
        let (sessions_max, alive) = (self.parts.limits.sessions_max, self.alive());
        let session = Session {
            id: create.id,
            owner: create.owner,
            created: now,
            used: now,
            turns: 0,
            tokens: 0,
            details: create.details,
        };
        self.with_store(ctx, async move |store| {
            store.insert(session.clone(), sessions_max, alive).await?;
            Ok(session)
        })
    }
}

impl Handler<Read> for ContextManager {
    type Result = ResponseFuture<Result<Session, StoreError>>;

    fn handle(&mut self, read: Read, ctx: &mut Context<Self>) -> Self::Result {
        let own = self.own(&read.owner, &read.id);
        self.with_store(ctx, async move |store| own(&*store).await)
    }
}

impl Handler<Open> for ContextManager {
    type Result = ResponseFuture<Result<Session, StoreError>>;

    fn handle(&mut self, open: Open, ctx: &mut Context<Self>) -> Self::Result {
        let (own, turns_max) = (self.own(&open.owner, &open.id), self.parts.limits.turns_max);
        self.with_store(ctx, async move |store| {
            let session = own(&*store).await?;
            let has_room = session.turns < turns_max;
            has_room.then_some(session).ok_or(StoreError::TurnsFull)
        })
    }
}

impl Handler<List> for ContextManager {
    type Result = ResponseFuture<Result<Vec<Session>, StoreError>>;

    fn handle(&mut self, list: List, ctx: &mut Context<Self>) -> Self::Result {
        let alive = self.alive();
        self.with_store(ctx, async move |store| {
            store.list(&list.owner, alive, list.page).await
        })
    }
}

impl Handler<Set> for ContextManager {
    type Result = ResponseFuture<Result<Session, StoreError>>;

    fn handle(&mut self, set: Set, ctx: &mut Context<Self>) -> Self::Result {
        let (now, own) = (self.now(), self.own(&set.owner, &set.id));
        self.with_store(ctx, async move |store| {
            let mut session = own(&*store).await?;
            let details = &mut session.details;
            if let Some(metadata) = set.change.metadata {
                details.metadata = metadata;
            }
            if let Some(system_prompt) = set.change.system_prompt {
                details.system_prompt = system_prompt;
            }
            if let Some(prompt) = set.change.prompt {
                details.prompt = prompt;
            }
            store.change(&set.id, details.clone(), now).await?;
            session.used = now;
            Ok(session)
        })
    }
}

impl Handler<Remove> for ContextManager {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, remove: Remove, ctx: &mut Context<Self>) -> Self::Result {
        let own = self.own(&remove.owner, &remove.id);
        self.with_store(ctx, async move |store| {
            own(&*store).await?;
            let was_there = store.remove(&remove.id).await?;
            was_there.then_some(()).ok_or(StoreError::NoSuchSession)
        })
    }
}

impl Handler<ReadTurns> for ContextManager {
    type Result = ResponseFuture<Result<Vec<Turn>, StoreError>>;

    fn handle(&mut self, read: ReadTurns, ctx: &mut Context<Self>) -> Self::Result {
        let own = self.own(&read.owner, &read.id);
        self.with_store(ctx, async move |store| {
            own(&*store).await?;
            store.turns(&read.id, read.after, read.limit).await
        })
    }
}

impl Handler<RemoveTurn> for ContextManager {
    type Result = ResponseFuture<Result<bool, StoreError>>;

    fn handle(&mut self, remove: RemoveTurn, ctx: &mut Context<Self>) -> Self::Result {
        let own = self.own(&remove.owner, &remove.id);
        self.with_store(ctx, async move |store| {
            own(&*store).await?;
            store.remove_turn(&remove.id, remove.number).await
        })
    }
}

impl Handler<FitTurns> for ContextManager {
    type Result = ResponseFuture<Result<Vec<Turn>, StoreError>>;

    fn handle(&mut self, fit: FitTurns, ctx: &mut Context<Self>) -> Self::Result {
        self.with_store(ctx, async move |store| {
            store.newest(&fit.id, fit.tokens_max).await
        })
    }
}

impl Handler<Append> for ContextManager {
    type Result = ResponseFuture<Result<u64, StoreError>>;

    fn handle(&mut self, append: Append, ctx: &mut Context<Self>) -> Self::Result {
        let now = self.now();
        self.with_store(ctx, async move |store| {
            store.append(&append.id, append.content, now).await
        })
    }
}

impl Handler<Sweep> for ContextManager {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Sweep, ctx: &mut Context<Self>) -> Self::Result {
        let alive = self.alive();
        let swept = self.with_store(ctx, async move |store| store.expire(alive).await);
        Box::pin(async move {
            match swept.await {
                Ok(0) => {}
                Ok(sessions) => tracing::info!(sessions, "expired sessions were removed"),
                Err(error) => tracing::warn!(%error, "expired sessions could not be removed"),
            }
        })
    }
}

impl Handler<StoreLost> for ContextManager {
    type Result = ();

    fn handle(&mut self, _: StoreLost, ctx: &mut Context<Self>) {
        ctx.fail(StoreError::Lost);
    }
}

impl fmt::Debug for ContextManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ContextManager")
            .field("limits", &self.parts.limits)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ContextParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ContextParts")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
