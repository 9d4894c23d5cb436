//! The actor that reads and writes the store.
//!
//! It runs on a thread of its own, because the store blocks. It has no state but the open store, so a restart loses nothing. Each minute it
//! removes what is kept no longer.

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
    model::{StoreError, WallClock},
    sqlite::{Database, Place},
};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The number of steps that may wait.
const MAILBOX: usize = 1024;
/// The time between two removals of what is kept no longer.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// The wait before more of it is removed.
const SWEEP_AGAIN: Duration = Duration::from_millis(100);

/// The work of a step.
type Act<T> = Box<dyn FnOnce(&mut Database) -> Result<T, StoreError> + Send>;

/// One step on the store, which is one transaction.
pub(crate) struct Step<T> {
    pub(crate) act: Act<T>,
    /// `true` if it erases data, which is then taken out of the file's log too.
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

/// The time to remove what is kept no longer has come.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct Sweep;

/// The actor.
pub(crate) struct JobManager {
    place: Place,
    clock: WallClock,
    /// The time for which results are kept, and the bytes of them that one step removes.
    kept: (Duration, u64),
    database: Option<Database>,
}

impl JobManager {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(
        place: Place,
        (clock, kept): (WallClock, (Duration, u64)),
        thread: ArbiterHandle,
    ) -> Props<Self> {
        let create = move || Self {
            place: place.clone(),
            clock: clock.clone(),
            kept,
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
        if removes && let Err(error) = database.forget_log() {
            tracing::debug!(%error, "removed data is still in the log of the jobs");
        }
        let is_broken = matches!(done, Err(StoreError::Failed(_) | StoreError::Damaged(_)));
        let is_broken = is_broken && !claim.is_abandoned();
        self.database = Some(database).filter(|_| !is_broken);
        if let Err(error) = &done
            && is_broken
        {
            tracing::error!(%error, "the store of jobs is unavailable");
        }
        done
    }
}

impl Actor for JobManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.start_timer_with_fixed_delay("sweep", Sweep, SWEEP_EVERY);
    }
}

impl<T: Send + 'static> Handler<Step<T>> for JobManager {
    type Result = Result<T, StoreError>;

    fn handle(&mut self, step: Step<T>, _: &mut Context<Self>) -> Self::Result {
        self.acts((step.removes, &step.claim), step.act)
    }
}

impl Handler<Sweep> for JobManager {
    type Result = ();

    fn handle(&mut self, _: Sweep, ctx: &mut Context<Self>) {
        let (retention, bytes_max) = self.kept;
        let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        let before = (self.clock)().saturating_sub(retention);
        let removed = self.acts((true, &Claim::default()), |database| {
            database.sweep(before, bytes_max)
        });
        if let Ok(removed) = removed
            && removed > 0
        {
            tracing::debug!(removed, "jobs and batches are kept no longer");
            // There may be more, which a step leaves so that others need not wait for it.
            ctx.start_timer("sweep again", Sweep, SWEEP_AGAIN);
        }
    }
}

impl std::fmt::Debug for JobManager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JobManager").finish_non_exhaustive()
    }
}
