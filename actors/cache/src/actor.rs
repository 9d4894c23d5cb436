//! The actor that owns the store.
//!
//! It runs on a thread of its own, because the store blocks. A store that fails is opened again for the next step; one in memory never fails.
//! Each minute it removes what has expired.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, ArbiterHandle, Handler, Message};
use kebne_actors::{Context, Props, Strategy};

use crate::{
    model::{StoreError, Totals, WallClock},
    store::{CacheStore, OpenStore},
};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The number of steps that may wait. A step that finds no place costs a miss.
const MAILBOX: usize = 4096;
/// The time between two removals of what has expired.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The work of a step.
pub(crate) type Act<T> = Box<dyn FnOnce(&mut dyn CacheStore) -> Result<T, StoreError> + Send>;

/// One step on the store.
pub(crate) struct Step<T>(pub(crate) Act<T>);

impl<T: 'static> Message for Step<T> {
    type Result = Result<T, StoreError>;
}

/// The time to remove what has expired has come.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Sweep;

/// What the handle sees of the store.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Totals>);

impl Seen {
    pub(crate) fn get(&self) -> Totals {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, totals: Totals) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = totals;
    }
}

/// The actor.
pub(crate) struct CacheKeeper {
    open: OpenStore,
    clock: WallClock,
    seen: Arc<Seen>,
    store: Option<Box<dyn CacheStore>>,
}

impl CacheKeeper {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(
        open: OpenStore,
        clock: WallClock,
        seen: Arc<Seen>,
        thread: ArbiterHandle,
    ) -> Props<Self> {
        let create = move || Self {
            open: Arc::clone(&open),
            clock: Arc::clone(&clock),
            seen: Arc::clone(&seen),
            store: None,
        };
        Props::new(create)
            .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
            .mailbox(MAILBOX)
            .on_arbiter(thread)
    }

    fn step<T>(
        &mut self,
        act: impl FnOnce(&mut dyn CacheStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => (self.open)()?,
        };
        let done = act(&mut *store);
        self.seen.set(store.totals());
        self.store = Some(store).filter(|_| done.is_ok());
        done
    }
}

impl Actor for CacheKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.start_timer_with_fixed_delay("sweep", Sweep, SWEEP_EVERY);
    }
}

impl<T: Send + 'static> Handler<Step<T>> for CacheKeeper {
    type Result = Result<T, StoreError>;

    fn handle(&mut self, step: Step<T>, _: &mut Context<Self>) -> Self::Result {
        self.step(step.0)
    }
}

impl Handler<Sweep> for CacheKeeper {
    type Result = ();

    fn handle(&mut self, _: Sweep, _: &mut Context<Self>) {
        let now = (self.clock)();
        match self.step(|store| store.sweep(now)) {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "kept answers have expired"),
            Err(error) => tracing::warn!(%error, "expired answers are not removed"),
        }
    }
}

impl std::fmt::Debug for CacheKeeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CacheKeeper")
            .finish_non_exhaustive()
    }
}
