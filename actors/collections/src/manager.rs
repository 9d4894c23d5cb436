//! The actor that reads and writes the store.
//!
//! It runs on a thread of its own, because the store blocks. It has no state but the open store, so a restart loses nothing. Each
//! minute it removes what has expired.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, ArbiterHandle, Handler, Message};
use kebne_actors::{Context, Props, Strategy};

use crate::{
    model::{Ages, StoreError, WallClock},
    sqlite::{Database, Place},
};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The number of steps that may wait.
const MAILBOX: usize = 1024;
/// The time between two removals of what has expired.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The wait before what else has expired is removed.
const SWEEP_AGAIN: Duration = Duration::from_millis(100);

/// The work of a step.
type Act<T> = Box<dyn FnOnce(&mut Database) -> Result<T, StoreError> + Send>;

/// One step on the store, which is one transaction.
pub(crate) struct Step<T> {
    pub(crate) act: Act<T>,
    /// `true` if it removes data, which is then taken out of the file's log too. Steps that replace chunks notice it by themselves.
    pub(crate) removes: bool,
    /// Whether it is still to be done.
    pub(crate) claim: Claim,
}

/// Decides between who does a step and who does not wait for it any more: a step is either committed or abandoned, never both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim(Arc<AtomicU8>);

const OPEN: u8 = 0;
const COMMITTED: u8 = 1;
const ABANDONED: u8 = 2;

impl Claim {
    /// Returns `true` if the step may be committed. It cannot be abandoned from then on.
    pub(crate) fn commit(&self) -> bool {
        let claimed = self.0.compare_exchange(OPEN, COMMITTED, SeqCst, SeqCst);
        claimed.is_ok()
    }

    /// Returns `true` if the step will not be committed.
    pub(crate) fn abandon(&self) -> bool {
        let claimed = self.0.compare_exchange(OPEN, ABANDONED, SeqCst, SeqCst);
        claimed.is_ok() || self.is_abandoned()
    }

    fn is_abandoned(&self) -> bool {
        self.0.load(SeqCst) == ABANDONED
    }
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
    ages: Ages,
    database: Option<Database>,
}

impl CollectionManager {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(
        place: Place,
        (clock, ages): (WallClock, Ages),
        thread: ArbiterHandle,
    ) -> Props<Self> {
        let create = move || Self {
            place: place.clone(),
            clock: clock.clone(),
            ages,
            database: None,
        };
        Props::new(create)
            .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
            .mailbox(MAILBOX)
            .on_arbiter(thread)
    }

    /// Does a step, which finds space on a full disk if it removes data.
    fn acts<T>(
        &mut self,
        (removes, claim): (bool, &Claim),
        act: impl FnOnce(&mut Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !removes {
            return self.step((removes, claim), act);
        }
        let place = self.place.clone();
        place.removing(|| self.step((removes, claim), act))
    }

    /// Does a step on the open store. A store that fails is opened again for the next step.
    fn step<T>(
        &mut self,
        (removes, claim): (bool, &Claim),
        act: impl FnOnce(&mut Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let open = self.database.take();
        // A file that was removed or replaced is not written any more, although it is still open.
        self.place.check()?;
        let mut database = match open {
            Some(database) => database,
            None => self.place.open()?,
        };
        let done = database.step(|| claim.commit(), act);
        if (removes || database.has_removed())
            && let Err(error) = database.forget_log()
        {
            // A search reads the log now; the next removal tries again.
            tracing::debug!(%error, "removed data is still in the log of the collections");
        }
        let is_usable = !matches!(done, Err(StoreError::Failed(_) | StoreError::Damaged(_)));
        let is_usable = is_usable || claim.is_abandoned();
        self.database = Some(database).filter(|_| is_usable);
        if let Err(error @ (StoreError::Failed(_) | StoreError::Damaged(_))) = &done
            && !claim.is_abandoned()
        {
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
        self.acts((step.removes, &step.claim), step.act)
    }
}

impl Handler<Sweep> for CollectionManager {
    type Result = ();

    fn handle(&mut self, _: Sweep, ctx: &mut Context<Self>) {
        let (now, ages) = ((self.clock)(), self.ages);
        let removed = self.acts((true, &Claim::default()), |database| {
            database.remove_expired(now, ages)
        });
        if let Ok(removed) = removed
            && removed > 0
        {
            tracing::info!(removed, "files and vector stores have expired");
            // There may be more, which a step leaves so that others need not wait for it.
            ctx.start_timer("sweep again", Sweep, SWEEP_AGAIN);
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
