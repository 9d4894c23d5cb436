//! The actor that reads and writes the store.
//!
//! It runs on a thread of its own, because the store blocks. It has no state but the open store, so a restart loses nothing. Each
//! minute it removes what has expired.

use std::time::Duration;

use actix::{Actor, ArbiterHandle, Handler, Message};
use kebne_actors::{Context, Props, Strategy};

use crate::{
    model::{StoreError, WallClock},
    sqlite::{Database, Place},
};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The number of steps that may wait.
const MAILBOX: usize = 1024;
/// The time between two removals of what has expired.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The work of a step.
type Act<T> = Box<dyn FnOnce(&mut Database) -> Result<T, StoreError> + Send>;

/// One step on the store, which is one transaction.
pub(crate) struct Step<T> {
    pub(crate) act: Act<T>,
    /// `true` if it removes data, which is then taken out of the file's log too.
    pub(crate) removes: bool,
}

impl<T: 'static> Message for Step<T> {
    type Result = Result<T, StoreError>;
}

/// The time to remove what has expired has come.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct Sweep;

/// The actor.
pub(crate) struct CollectionManager {
    place: Place,
    clock: WallClock,
    database: Option<Database>,
}

impl CollectionManager {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(place: Place, clock: WallClock, thread: ArbiterHandle) -> Props<Self> {
        let create = move || Self {
            place: place.clone(),
            clock: clock.clone(),
            database: None,
        };
        Props::new(create)
            .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
            .mailbox(MAILBOX)
            .on_arbiter(thread)
    }

    /// Does a step on the open store. A store that fails is opened again for the next step.
    fn step<T>(
        &mut self,
        removes: bool,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut database = match self.database.take() {
            Some(database) => database,
            None => self.place.open()?,
        };
        let done = database.step(act);
        if removes && let Err(error) = database.forget_log() {
            // A search reads the log now; the next removal tries again.
            tracing::debug!(%error, "removed data is still in the log of the collections");
        }
        let is_usable = !matches!(done, Err(StoreError::Failed(_) | StoreError::Damaged(_)));
        self.database = Some(database).filter(|_| is_usable);
        if let Err(error @ (StoreError::Failed(_) | StoreError::Damaged(_))) = &done {
            tracing::error!(%error, "the store of collections is unavailable");
        }
        done
    }
}

impl Actor for CollectionManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.start_timer_with_fixed_delay("sweep", Sweep, SWEEP_EVERY);
    }
}

impl<T: Send + 'static> Handler<Step<T>> for CollectionManager {
    type Result = Result<T, StoreError>;

    fn handle(&mut self, step: Step<T>, _: &mut Context<Self>) -> Self::Result {
        self.step(step.removes, step.act)
    }
}

impl Handler<Sweep> for CollectionManager {
    type Result = ();

    fn handle(&mut self, _: Sweep, _: &mut Context<Self>) {
        let now = (self.clock)();
        let removed = self.step(true, |database| database.remove_expired(now));
        if let Ok(removed) = removed
            && removed > 0
        {
            tracing::info!(removed, "files and vector stores have expired");
        }
    }
}

impl std::fmt::Debug for CollectionManager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CollectionManager")
            .finish_non_exhaustive()
    }
}
