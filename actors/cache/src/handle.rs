//! The handle through which a program uses the cache.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, ArbiterHandle, Handler};
use kebne_actors::{ActorRef, AskError, Context, Spawn};
use kebne_cache::{Key, Observation, Verifier};
use kebne_retrieval::Vector;
use kebne_seal::Keyring;
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    actor::{CacheKeeper, Seen, Step},
    memory::MemoryStore,
    model::{Candidate, Count, Entry, Erased, Health, Scope, StoreError, WallClock},
    settings::{CacheSettings, CacheStoreKind},
    sqlite::Place,
    store::{Bounds, CacheStore, OpenStore},
};

/// The time for a question of an operator.
const OPERATOR_TIMEOUT: Duration = Duration::from_secs(10);
/// For this long after a failure the store is not asked, so that no call waits for it again.
const PAUSE: Duration = Duration::from_secs(1);
/// The name of the actor.
const NAME: &str = "cache";

/// The reason why a question about the cache has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The actor did not answer; a retry may succeed.
    #[error("the store of answers is unavailable: {0}")]
    NoAnswer(#[from] AskError),
}

/// What the cache needs.
#[derive(Clone)]
pub struct CacheParts {
    /// The settings.
    pub settings: CacheSettings,
    /// The keys that encrypt the file; `None` for a file that is not encrypted.
    pub keyring: Option<Keyring>,
    /// The clock.
    pub clock: WallClock,
}

/// The handle of the cache; clones share it.
#[derive(Clone)]
pub struct AnswerCache(Arc<Inner>);

struct Inner {
    settings: CacheSettings,
    clock: WallClock,
    place: Option<Place>,
    seen: Arc<Seen>,
    start: Box<dyn Fn() -> Starting + Send + Sync>,
    running: OnceCell<Running>,
    failures: AtomicU64,
    failed: Mutex<Option<(Instant, String)>>,
}

type Starting = Pin<Box<dyn Future<Output = Result<Running, AskError>> + Send>>;

#[derive(Clone)]
struct Running {
    keeper: ActorRef<CacheKeeper>,
    thread: ArbiterHandle,
}

impl AnswerCache {
    /// Creates the handle. The actor will be a child of `parent`; it starts with the first use.
    pub fn new<P>(parent: &ActorRef<P>, parts: CacheParts) -> Self
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let bounds = Bounds::of(&parts.settings);
        let place = (parts.settings.store == CacheStoreKind::Sqlite).then(|| {
            let (path, keyring) = (parts.settings.path.clone(), parts.keyring.clone());
            Place::new(path, keyring, parts.settings.entry_size_max.0)
        });
        let open: OpenStore = match place.clone() {
            None => Arc::new(move || Ok(Box::new(MemoryStore::new(bounds)) as Box<dyn CacheStore>)),
            Some(place) => Arc::new(move || {
                let store = place.open(bounds)?;
                Ok(Box::new(store) as Box<dyn CacheStore>)
            }),
        };
        Self::build(parent, parts, place, open)
    }

    /// Creates the handle of a store that `open` opens.
    pub fn with_store<P>(parent: &ActorRef<P>, parts: CacheParts, open: OpenStore) -> Self
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        Self::build(parent, parts, None, open)
    }

    fn build<P>(
        parent: &ActorRef<P>,
        parts: CacheParts,
        place: Option<Place>,
        open: OpenStore,
    ) -> Self
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let parent = parent.clone();
        let seen = Arc::new(Seen::default());
        let (clock, of_actor) = (Arc::clone(&parts.clock), Arc::clone(&seen));
        let start = move || -> Starting {
            let (parent, open) = (parent.clone(), Arc::clone(&open));
            let (clock, seen) = (Arc::clone(&clock), Arc::clone(&of_actor));
            Box::pin(async move {
                let thread = actix_rt::Arbiter::new().handle();
                let props = CacheKeeper::props(open, clock, seen, thread.clone());
                let keeper = Spawn::ask(&parent, props, NAME).await?;
                Ok(Running { keeper, thread })
            })
        };
        Self(Arc::new(Inner {
            settings: parts.settings,
            clock: parts.clock,
            place,
            seen,
            start: Box::new(start),
            running: OnceCell::new(),
            failures: AtomicU64::new(0),
            failed: Mutex::default(),
        }))
    }

    /// Checks the file if there is one.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if it is not a store of answers or has another key, and [`StoreError::Failed`] if it cannot be
    /// opened now.
    pub fn check(&self) -> Result<(), StoreError> {
        match &self.0.place {
            Some(place) if place.exists() => place.open(Bounds::of(&self.0.settings)).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Returns `true` if there has never been a file, which is not made only to find nothing in it.
    fn is_unmade(&self) -> bool {
        let place = self.0.place.as_ref();
        place.is_some_and(|place| !place.exists())
    }

    /// Returns the settings.
    pub fn settings(&self) -> &CacheSettings {
        &self.0.settings
    }

    /// Returns the time in milliseconds since 1970.
    pub fn now(&self) -> u64 {
        (self.0.clock)()
    }

    /// Stops the thread of the store. The actor ends with its parent.
    pub fn stop(&self) {
        if let Some(running) = self.0.running.get() {
            running.thread.stop();
        }
    }

    /// Returns the state of the store.
    pub fn health(&self) -> Health {
        let failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        Health {
            totals: self.0.seen.get(),
            failures: self.0.failures.load(Relaxed),
            reason: failed.as_ref().map(|(_, reason)| reason.clone()),
        }
    }

    async fn running(&self) -> Result<&Running, AskError> {
        self.0.running.get_or_try_init(|| (self.0.start)()).await
    }

    /// Does a step within a time.
    async fn ask<T: Send + 'static>(
        &self,
        time: Duration,
        act: impl FnOnce(&mut dyn CacheStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let running = self.running().await?;
        Ok(running.keeper.ask(Step(Box::new(act)), time).await??)
    }

    /// Does a step of a call. A store that fails or is slow costs its answer, and is left alone for a while.
    async fn step<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut dyn CacheStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let is_paused = {
            let failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.as_ref().is_some_and(|(at, _)| at.elapsed() < PAUSE)
        };
        if is_paused {
            self.0.failures.fetch_add(1, Relaxed);
            return None;
        }
        let done = self.ask(self.0.settings.timeout.0, act).await;
        let mut failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Ok(value) => {
                *failed = None;
                Some(value)
            }
            Err(error) => {
                self.0.failures.fetch_add(1, Relaxed);
                if failed.is_none() {
                    tracing::warn!(%error, "the cache is not used");
                }
                *failed = Some((Instant::now(), error.to_string()));
                None
            }
        }
    }

    /// Returns a kept answer of an owner; `None` if there is none, or the store fails.
    pub async fn look(&self, owner: &str, key: Key) -> Option<Entry> {
        let (owner, now) = (owner.to_owned(), self.now());
        self.step(move |store| store.look(&owner, key, now)).await?
    }

    /// Keeps an answer. It is lost if the store fails.
    pub async fn keep(&self, owner: &str, entry: Entry) {
        self.keep_if(owner, entry, || true).await;
    }

    /// Keeps an answer if it `is_wanted` when it is written: answers may have been erased meanwhile.
    pub async fn keep_if(
        &self,
        owner: &str,
        entry: Entry,
        is_wanted: impl FnOnce() -> bool + Send + 'static,
    ) {
        let (owner, now) = (owner.to_owned(), self.now());
        let keep = move |store: &mut dyn CacheStore| {
            if is_wanted() {
                store.keep(&owner, entry, now)?;
            }
            Ok(())
        };
        self.step(keep).await;
    }

    /// Returns the kept answers of a group whose questions are the most similar, with what was learned about the group.
    pub async fn similar(
        &self,
        owner: &str,
        group: Key,
        (space, vector): (&str, Vector),
        bounds: (f32, usize),
    ) -> Option<(Vec<Candidate>, Verifier)> {
        let (owner, space, now) = (owner.to_owned(), space.to_owned(), self.now());
        self.step(move |store| {
            let found = store.similar(&owner, group, (&space, &vector), bounds, now)?;
            let learned = if found.is_empty() {
                Verifier::default()
            } else {
                verifier(store, &owner, group)?
            };
            Ok((found, learned))
        })
        .await
    }

    /// Learns from a question of a group that was asked although an answer was there.
    pub async fn learn(&self, owner: &str, model: &str, group: Key, observation: Observation) {
        let (owner, model, now) = (owner.to_owned(), model.to_owned(), self.now());
        self.step(move |store| {
            let mut learned = verifier(store, &owner, group)?;
            learned.observe(observation);
            store.learn(&owner, (&model, group), learned.to_bytes(), now)
        })
        .await;
    }

    /// Erases answers.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn erase(&self, scope: Scope) -> Result<Erased, CacheError> {
        if self.is_unmade() {
            return Ok(Erased::default());
        }
        self.ask(OPERATOR_TIMEOUT, move |store| store.erase(&scope))
            .await
    }

    /// Returns the counts by owner and model.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn counts(&self, owner: Option<String>) -> Result<Vec<Count>, CacheError> {
        if self.is_unmade() {
            return Ok(Vec::new());
        }
        self.ask(OPERATOR_TIMEOUT, move |store| {
            store.counts(owner.as_deref())
        })
        .await
    }
}

/// Returns what was learned about a group. What cannot be read is learned anew.
fn verifier(store: &mut dyn CacheStore, owner: &str, group: Key) -> Result<Verifier, StoreError> {
    let learned = store.learned(owner, group)?;
    let learned = learned.and_then(|learned| Verifier::from_bytes(&learned));
    Ok(learned.unwrap_or_default())
}

impl std::fmt::Debug for CacheParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = formatter.debug_struct("CacheParts");
        parts
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AnswerCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AnswerCache")
            .finish_non_exhaustive()
    }
}
