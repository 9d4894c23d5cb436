//! The actor that applies the rules of sessions: access by owner, expiry, and the token budget of the history.
//!
//! The data is in a [`SessionStore`], which does the slow work on its own thread, so this actor never blocks. A store
//! that has ended or hangs fails the actor, which restarts, without a limit, and opens the store again. An outage of
//! the store is an error for calls of sessions and affects nothing else.

use std::{cell::Cell, fmt, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, Handler, ResponseFuture};

use kebne_actors::{Context, Props, Strategy};

use crate::{
    access::{Access, sweep},
    context_parts::ContextParts,
    health::{Effect, Health},
    messages::{Append, Count, Create, FitTurns, List, Open, Read, Remove, Set, StoreLost, Sweep},
    renamed::Renamed,
    store::{
        Alive, Fit, Found, Marks, Owned, Part, PartSize, Quota, Session, SessionStore, StoreError,
        Turn,
    },
};

mod consult;

pub(crate) use consult::{Consult, StepOf};

use consult::Terms;

/// The first and the longest wait before the store is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The number of questions that may wait.
const MAILBOX: usize = 1024;
/// The largest history of one call, in bytes: as much as the largest request body.
const HISTORY_BYTES_MAX: u64 = 16 << 20;

/// The time after which a session is removed whose import or copy has not ended, in milliseconds: one hour.
const PARTIAL_EXPIRY: u64 = 60 * 60 * 1000;

/// The actor that manages conversations.
pub struct ContextManager {
    parts: ContextParts,
    health: Health,
    renamed: Renamed,
    /// Distinguishes this instance from earlier ones, whose questions may still run.
    incarnation: u64,
    /// Open once the actor has started.
    store: Option<Arc<dyn SessionStore>>,
    is_sweeping: Rc<Cell<bool>>,
}

impl ContextManager {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(parts: ContextParts, health: Health) -> Props<Self> {
        let strategy = Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1);
        let renamed = Renamed::new(&parts.former_owners);
        let mut incarnation = 0;
        Props::new(move || {
            incarnation += 1;
            Self {
                parts: parts.clone(),
                health: health.clone(),
                renamed: renamed.clone(),
                incarnation,
                store: None,
                is_sweeping: Rc::default(),
            }
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

    fn quota(&self) -> Quota {
        Quota {
            sessions_max: self.parts.limits.sessions_max,
            turns_max: self.parts.limits.turns_max,
            bytes_max: self.parts.limits.owner_bytes_max,
            alive: self.alive(),
        }
    }

    fn part(&self, items_max: usize) -> PartSize {
        PartSize {
            items_max,
            bytes_max: self.parts.limits.page_bytes_max,
        }
    }

    fn owned(&self, owner: String, id: String) -> Owned {
        let alive = self.alive();
        Owned { owner, id, alive }
    }

    /// Returns the rules of one question about a session.
    fn terms(&self, owner: String, id: String) -> Terms {
        Terms {
            named: self.owned(owner, id),
            quota: self.quota(),
            now: self.now(),
            page: self.part(usize::MAX),
        }
    }

    fn access(&self, ctx: &Context<Self>) -> Option<Access> {
        Some(Access {
            store: self.store.clone()?,
            timeout: self.parts.limits.store_timeout(),
            health: self.health.clone(),
            manager: ctx.self_ref().control_recipient(),
            incarnation: self.incarnation,
        })
    }

    /// Runs steps on the store.
    fn with_store<T, F>(
        &self,
        effect: Effect,
        ctx: &Context<Self>,
        steps: F,
    ) -> ResponseFuture<Result<T, StoreError>>
    where
        T: 'static,
        F: AsyncFnOnce(&dyn SessionStore) -> Result<T, StoreError> + 'static,
    {
        let Some(access) = self.access(ctx) else {
            return Box::pin(std::future::ready(Err(StoreError::Lost)));
        };
        Box::pin(async move { access.run(effect, steps).await })
    }

    /// Runs steps on the store for an owner, after the sessions of its former names were moved to it.
    pub(crate) fn with_store_of<T, F>(
        &self,
        effect: Effect,
        owner: &str,
        ctx: &Context<Self>,
        steps: F,
    ) -> ResponseFuture<Result<T, StoreError>>
    where
        T: 'static,
        F: AsyncFnOnce(&dyn SessionStore) -> Result<T, StoreError> + 'static,
    {
        let (renamed, owner) = (self.renamed.clone(), owner.to_owned());
        self.with_store(effect, ctx, async move |store| {
            if !renamed.settle(&owner, store).await? {
                let message = "the tenant's sessions of an earlier version are still being renamed";
                return Err(StoreError::Failed(message.to_owned()));
            }
            steps(store).await
        })
    }

    /// Waits until it is known whether the store can be written; see [`Access::can_write`].
    fn can_write(&self, ctx: &Context<Self>) -> ResponseFuture<Result<(), StoreError>> {
        let access = self.access(ctx).ok_or(StoreError::Lost);
        Box::pin(async move { access?.can_write().await })
    }

    /// Reads a session of an owner.
    fn read(
        &self,
        owner: String,
        id: String,
        ctx: &Context<Self>,
    ) -> ResponseFuture<Result<Found, StoreError>> {
        let named = self.owned(owner, id);
        self.with_store_of(
            Effect::Reads,
            &named.owner.clone(),
            ctx,
            async move |store| store.find_own(named).await,
        )
    }
}

impl Actor for ContextManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        match (self.parts.open)() {
            Ok(store) => self.store = Some(store),
            Err(error) => {
                self.health.note::<()>(Effect::Reads, &Err(error.clone()));
                return ctx.fail(error);
            }
        }
        ctx.start_timer_with_fixed_delay("sweep", Sweep, self.parts.limits.sweep_every);
    }
}

impl Handler<Create> for ContextManager {
    type Result = ResponseFuture<Result<Session, StoreError>>;

    fn handle(&mut self, create: Create, ctx: &mut Context<Self>) -> Self::Result {
        let (now, quota) = (self.now(), self.quota());
        let bytes_max = quota.bytes_max;
        let quota = Quota {
            bytes_max: bytes_max.saturating_sub(create.bytes),
            ..quota
        };
        let session = Session {
            id: create.id,
            owner: create.owner,
            created: now,
            used: if create.is_partial {
                now.min(quota.alive.used_since.saturating_add(PARTIAL_EXPIRY))
            } else {
                now
            },
            turns: 0,
            tokens: 0,
            details: create.details,
            marks: Marks {
                is_partial: create.is_partial,
                ..Marks::default()
            },
        };
        let can_write = self.can_write(ctx);
        let owner = session.owner.clone();
        let insert = self.with_store_of(Effect::Writes(0), &owner, ctx, async move |store| {
            store.insert(session.clone(), quota).await?;
            Ok(session)
        });
        Box::pin(async move {
            can_write.await?;
            insert.await.map_err(|error| match error {
                StoreError::BytesFull { .. } => StoreError::BytesFull { bytes_max },
                other => other,
            })
        })
    }
}

impl Handler<Read> for ContextManager {
    type Result = ResponseFuture<Result<Session, StoreError>>;

    fn handle(&mut self, read: Read, ctx: &mut Context<Self>) -> Self::Result {
        let found = self.read(read.owner, read.id, ctx);
        Box::pin(async move { Ok(found.await?.session) })
    }
}

impl Handler<Open> for ContextManager {
    type Result = ResponseFuture<Result<Session, StoreError>>;

    fn handle(&mut self, open: Open, ctx: &mut Context<Self>) -> Self::Result {
        let found = self.read(open.owner, open.id, ctx);
        let can_write = self.can_write(ctx);
        let (turns_max, bytes_max) = (
            self.parts.limits.turns_max,
            self.parts.limits.owner_bytes_max,
        );
        Box::pin(async move {
            let found = found.await?;
            if found.session.turns >= turns_max {
                return Err(StoreError::TurnsFull);
            }
            found.require_room(open.bytes, bytes_max)?;
            // If the turn cannot be stored, the call is refused before a request is sent to the model.
            can_write.await?;
            Ok(found.session)
        })
    }
}

impl Handler<List> for ContextManager {
    type Result = ResponseFuture<Result<Part<Session>, StoreError>>;

    fn handle(&mut self, list: List, ctx: &mut Context<Self>) -> Self::Result {
        let (alive, size) = (self.alive(), self.part(list.limit));
        let List { owner, after, .. } = list;
        self.with_store_of(Effect::Reads, &owner.clone(), ctx, async move |store| {
            store.list(&owner, alive, after, size).await
        })
    }
}

impl Handler<Set> for ContextManager {
    type Result = ResponseFuture<Result<Session, StoreError>>;

    fn handle(&mut self, set: Set, ctx: &mut Context<Self>) -> Self::Result {
        let (now, quota) = (self.now(), self.quota());
        let named = self.owned(set.owner, set.id);
        self.with_store_of(
            Effect::Writes(0),
            &named.owner.clone(),
            ctx,
            async move |store| store.change(named, set.change, now, quota).await,
        )
    }
}

impl Handler<Remove> for ContextManager {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, remove: Remove, ctx: &mut Context<Self>) -> Self::Result {
        let named = self.owned(remove.owner, remove.id);
        self.with_store_of(
            Effect::Writes(0),
            &named.owner.clone(),
            ctx,
            async move |store| store.remove(named).await,
        )
    }
}

impl Handler<FitTurns> for ContextManager {
    type Result = ResponseFuture<Result<Vec<Turn>, StoreError>>;

    fn handle(&mut self, fit: FitTurns, ctx: &mut Context<Self>) -> Self::Result {
        let budget = Fit::new(fit.tokens_max, HISTORY_BYTES_MAX);
        let bytes_max = self.parts.limits.owner_bytes_max;
        self.with_store(Effect::Reads, ctx, async move |store| {
            if fit.bytes > 0 {
                let found = store.find(&fit.id).await?;
                let found = found.ok_or(StoreError::NoSuchSession)?;
                found.require_room(fit.bytes, bytes_max)?;
            }
            store.newest(&fit.id, budget).await
        })
    }
}

impl Handler<Append> for ContextManager {
    type Result = ResponseFuture<Result<u64, StoreError>>;

    fn handle(&mut self, append: Append, ctx: &mut Context<Self>) -> Self::Result {
        let (now, quota) = (self.now(), self.quota());
        let effect = Effect::Writes(append.content.messages.len() as u64);
        self.with_store(effect, ctx, async move |store| {
            let Append { id, cuts, content } = append;
            store.append_if(&id, cuts, content, now, quota).await
        })
    }
}

impl Handler<Count> for ContextManager {
    type Result = ResponseFuture<Result<u64, StoreError>>;

    fn handle(&mut self, _: Count, ctx: &mut Context<Self>) -> Self::Result {
        let access = self.access(ctx).ok_or(StoreError::Lost);
        Box::pin(async move {
            let access = access?;
            // The count is only shown to operators: if it fails, the store is not reported as unavailable.
            let count = tokio::time::timeout(access.timeout, access.store.count()).await;
            count.unwrap_or(Err(StoreError::Busy))
        })
    }
}

impl Handler<Sweep> for ContextManager {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Sweep, ctx: &mut Context<Self>) -> Self::Result {
        let (alive, renamed) = (self.alive(), self.renamed.clone());
        let is_sweeping = Rc::clone(&self.is_sweeping);
        let Some(access) = self.access(ctx).filter(|_| !is_sweeping.replace(true)) else {
            return Box::pin(std::future::ready(()));
        };
        Box::pin(async move {
            if let Err(error) = sweep(&access, alive, &renamed).await {
                tracing::warn!(%error, "expired sessions could not be removed");
            }
            is_sweeping.set(false);
        })
    }
}

impl Handler<StoreLost> for ContextManager {
    type Result = ();

    fn handle(&mut self, lost: StoreLost, ctx: &mut Context<Self>) {
        if lost.incarnation == self.incarnation {
            ctx.fail(StoreError::Lost);
        }
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
