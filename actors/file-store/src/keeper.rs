//! The actor, and how it is asked.

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, ArbiterHandle, Handler, Message};
use kebne_actors::{ActorRef, AskError, Context, Props, Strategy};

use crate::{Claim, FileStore};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The number of steps that may wait.
const MAILBOX: usize = 1024;
/// The time between two removals of what is kept no longer, and the wait before more of it is removed.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
const SWEEP_AGAIN: Duration = Duration::from_millis(100);
/// The time within which the store must answer, and how much longer it is for each MiB that is stored.
const ANSWER_TIMEOUT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(2));
/// The time for a commit that has begun.
const COMMIT_TIMEOUT: Duration = Duration::from_mins(10);

/// Removes some of what is kept no longer, in a short step, and returns how much.
pub type Sweep<S> =
    Arc<dyn Fn(&mut <S as FileStore>::Open) -> Result<u64, <S as FileStore>::Error> + Send + Sync>;

/// The work of a step.
type Act<S, T> =
    Box<dyn FnOnce(&mut <S as FileStore>::Open) -> Result<T, <S as FileStore>::Error> + Send>;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// It reads.
    Reads,
    /// It writes.
    Writes,
    /// It writes, and creates the file if there is none.
    Makes,
    /// It removes data, which is then taken out of the file's log too.
    Removes,
}

/// One step on the store, which is one transaction.
struct Step<S: FileStore, T> {
    act: Act<S, T>,
    kind: StepKind,
    claim: Claim,
}

impl<S: FileStore, T: 'static> Message for Step<S, T> {
    type Result = Result<T, S::Error>;
}

/// The time to remove what is kept no longer has come.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct SweepNow;

/// The actor that reads and writes the file. It runs on a thread of its own, because files block. It has no state but the open file, so a
/// restart loses nothing.
pub struct FileKeeper<S: FileStore> {
    store: S,
    sweep: Sweep<S>,
    open: Option<S::Open>,
}

impl<S: FileStore> FileKeeper<S> {
    /// Returns the props of the actor, which restarts without a limit and with a backoff. Each minute it does `sweep` until that removes
    /// nothing.
    pub fn props(store: S, sweep: Sweep<S>, thread: ArbiterHandle) -> Props<Self> {
        let create = move || Self {
            store: store.clone(),
            sweep: Arc::clone(&sweep),
            open: None,
        };
        Props::new(create)
            .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
            .mailbox(MAILBOX)
            .on_arbiter(thread)
    }

    /// Does a step, which finds space on a full disk if it removes data.
    fn act<T>(
        &mut self,
        kind: StepKind,
        claim: &Claim,
        act: impl FnOnce(&mut S::Open) -> Result<T, S::Error>,
    ) -> Result<T, S::Error> {
        if kind != StepKind::Removes {
            return self.step(kind, claim, act);
        }
        let file = self.store.file().clone();
        file.removing(|| self.step(kind, claim, act))
    }

    /// Does a step on the open file. A file that fails is opened again for the next step.
    fn step<T>(
        &mut self,
        kind: StepKind,
        claim: &Claim,
        act: impl FnOnce(&mut S::Open) -> Result<T, S::Error>,
    ) -> Result<T, S::Error> {
        let open = self.open.take();
        // A file that was removed or replaced is not written any more, although it is still open.
        self.store.file().check()?;
        let mut open = match open {
            Some(open) => open,
            None => self.store.open()?,
        };
        let done = S::transaction(&mut open, claim, act);
        let name = self.store.file().name();
        let removes = S::takes_removed(&mut open) || kind == StepKind::Removes;
        if removes && let Err(error) = S::open_file(&mut open).forget_log() {
            // Somebody reads the log now; the next removal tries again.
            tracing::debug!(%error, "removed data is still in the log of the store of {name}");
        }
        let failure = done.as_ref().err().filter(|error| S::is_failure(error));
        let failure = failure.filter(|_| !claim.is_abandoned());
        self.open = Some(open).filter(|_| failure.is_none());
        if let Some(error) = failure {
            tracing::error!(%error, "the store of {name} is unavailable");
        }
        done
    }
}

impl<S: FileStore> Actor for FileKeeper<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.start_timer_with_fixed_delay("sweep", SweepNow, SWEEP_EVERY);
    }
}

impl<S: FileStore, T: Send + 'static> Handler<Step<S, T>> for FileKeeper<S> {
    type Result = Result<T, S::Error>;

    fn handle(&mut self, step: Step<S, T>, _: &mut Context<Self>) -> Self::Result {
        self.act(step.kind, &step.claim, step.act)
    }
}

impl<S: FileStore> Handler<SweepNow> for FileKeeper<S> {
    type Result = ();

    fn handle(&mut self, _: SweepNow, ctx: &mut Context<Self>) {
        let sweep = Arc::clone(&self.sweep);
        let swept = self.act(StepKind::Removes, &Claim::default(), |open| sweep(open));
        if let Ok(removed) = swept
            && removed > 0
        {
            let name = self.store.file().name();
            tracing::info!(
                removed,
                "the store of {name} has removed what is kept no longer"
            );
            // There may be more, which a step leaves so that others need not wait for it.
            ctx.start_timer("sweep again", SweepNow, SWEEP_AGAIN);
        }
    }
}

impl<S: FileStore> fmt::Debug for FileKeeper<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FileKeeper").finish_non_exhaustive()
    }
}

/// Returns the time for a step that stores so many `bytes`: 10 seconds, and 2 seconds more for each MiB.
pub fn time_for(bytes: usize) -> Duration {
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    let more = ANSWER_TIMEOUT.1.saturating_mul(mib);
    more.saturating_add(ANSWER_TIMEOUT.0)
}

/// Has the actor do a step. If it is not done within `time`, it is not done at all; one whose commit has begun by then is waited for.
///
/// # Errors
/// Returns the error of the step, or [`AskError`] if the actor does not do it in time.
pub async fn do_step<S, T, E>(
    keeper: &ActorRef<FileKeeper<S>>,
    kind: StepKind,
    time: Duration,
    act: impl FnOnce(&mut S::Open) -> Result<T, S::Error> + Send + 'static,
) -> Result<T, E>
where
    S: FileStore,
    T: Send + 'static,
    E: From<S::Error> + From<AskError>,
{
    let claim = Claim::default();
    let step = Step {
        act: Box::new(act),
        kind,
        claim: claim.clone(),
    };
    let mut asked = Box::pin(keeper.ask(step, COMMIT_TIMEOUT));
    if let Ok(answer) = tokio::time::timeout(time, &mut asked).await {
        return Ok(answer??);
    }
    if claim.abandon() {
        return Err(AskError::TimedOut.into());
    }
    // It is being committed: its answer comes at once.
    Ok(asked.await??)
}
