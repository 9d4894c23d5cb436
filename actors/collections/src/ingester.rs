//! The actor that reads files for collections.
//!
//! The queue is the store: a file is `in_progress` there until its chunks have their vectors. Each step is one transaction: the chunks of a
//! file are stored when it is cut; their vectors are stored in batches; with the last of them the file is complete and is
//! found. So nothing is lost and nothing is done twice, whenever the process ends. Two files at a time bound the memory; they are cut on
//! threads beside the event loop. A batch is asked for when the one before it is stored, so that a slow embedder is not
//! flooded.
//!
//! No file and no tenant stops another. Tenants take turns. One lane cuts files for the first time, and gives each a short time. The
//! other lane cuts those again that need longer, panicked, or ended the process; it begins when the first lane has been empty once, so that
//! a file that ended an earlier process comes after all others. Cutting ends early if the file was removed. An embedder
//! that is away is asked again and again; that counts for no file. An owner whose budget has no room waits alone.
//!
//! The same batches give new vectors to chunks whose vectors are of another space: the work after a change of the embedder.

mod embed;
mod unpaid;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, Context, Props, Strategy};
use kebne_file_store::{FileKeeper, StepKind, do_step};
use kebne_retrieval::Embedder;

use crate::{
    document::{self, Tools},
    model::{ChunkText, CollectionError, Failure},
    progress::Progress,
    sqlite::{Database, Job, Lane, Place, SERVER_ERROR, failure},
};

use embed::Batched;
pub(crate) use unpaid::Unpaid;

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The last attempt to cut a file whose cutting panics or ends the process: the third, because the second counts as 3. So a file ends the
/// process thrice at most; one that was only read beside it has two more attempts.
const ATTEMPTS_MAX: u32 = 4;
/// The attempt from which on a file whose reading takes too long is given up: its second with the longer time, which counts as 4,
/// because the first may have met a machine that was busy.
const TOO_LONG_FROM: u32 = 4;
/// The time for the first reading of a file.
const FIRST_MAX: Duration = Duration::from_secs(2);
/// The time for another reading, and how much longer it is for each MiB.
const AGAIN_MAX: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(4));
/// The time between two looks whether a file that is being read is still awaited.
const AWAITED_EVERY: Duration = Duration::from_millis(250);
/// The time between two looks for files that wait because the store failed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The longest wait for the store.
const STORE_TIMEOUT: Duration = Duration::from_mins(1);

/// The first and the longest wait for an embedder that is away.
const EMBEDDER_BACKOFF: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(30));

/// There may be files to be read.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

/// A file was read, or there is none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Done {
    lane: Lane,
    is_more: bool,
}

/// A batch was embedded, or none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Embedded(Batched);

/// An embedder that was away is to be asked again.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct AskAgain;

/// What came of a reading.
enum Read {
    Made(Result<Vec<ChunkText>, Failure>),
    TookTooLong,
    Panicked,
    NotAwaited,
}

/// Ends a reading when it is dropped.
struct Reading(Arc<AtomicBool>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The state of a lane.
#[derive(Default)]
struct LaneState {
    is_busy: bool,
    /// `true` if it was woken while it was busy.
    is_woken: bool,
    /// The owner of the last file.
    last_owner: Arc<AtomicI64>,
}

/// What the actor needs; clones share it.
#[derive(Clone)]
pub(crate) struct IngesterParts {
    pub(crate) manager: ActorRef<FileKeeper<Place>>,
    pub(crate) tools: Tools,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) unpaid: Arc<Unpaid>,
    pub(crate) chunks_max: u64,
    pub(crate) owner_bytes_max: u64,
}

/// The actor.
pub(crate) struct Ingester {
    parts: IngesterParts,
    first: LaneState,
    again: LaneState,
    embedding: LaneState,
    /// `true` when the first lane has been empty once.
    has_caught_up: bool,
    /// The wait before the embedder is asked again, while it is away.
    wait: Option<Duration>,
}

impl Ingester {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(parts: IngesterParts) -> Props<Self> {
        let create = move || Self {
            parts: parts.clone(),
            first: LaneState::default(),
            again: LaneState::default(),
            embedding: LaneState::default(),
            has_caught_up: false,
            wait: None,
        };
        Props::new(create).supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
    }

    fn lane(&mut self, lane: Lane) -> &mut LaneState {
        match lane {
            Lane::First => &mut self.first,
            Lane::Again => &mut self.again,
        }
    }

    fn begin(&mut self, lane: Lane, ctx: &mut Context<Self>) {
        if lane == Lane::Again && !self.has_caught_up {
            return;
        }
        let state = self.lane(lane);
        state.is_woken = state.is_busy;
        if state.is_busy {
            return;
        }
        state.is_busy = true;
        let last_owner = Arc::clone(&state.last_owner);
        let parts = self.parts.clone();
        ctx.pipe_to_self(
            async move { parts.read_next(lane, &last_owner).await },
            move |is_more| Done { lane, is_more },
        );
    }

    fn begin_all(&mut self, ctx: &mut Context<Self>) {
        self.begin(Lane::First, ctx);
        self.begin(Lane::Again, ctx);
        if self.wait.is_none() {
            self.embed(ctx);
        }
    }

    fn embed(&mut self, ctx: &mut Context<Self>) {
        let state = &mut self.embedding;
        state.is_woken = state.is_busy;
        if state.is_busy {
            return;
        }
        state.is_busy = true;
        let last_owner = Arc::clone(&state.last_owner);
        let parts = self.parts.clone();
        ctx.pipe_to_self(async move { parts.embed_next(&last_owner).await }, Embedded);
    }
}

impl IngesterParts {
    /// Reads the next file of a lane; returns `true` if there may be more.
    async fn read_next(&self, lane: Lane, last_owner: &AtomicI64) -> bool {
        let last = last_owner.load(Relaxed);
        let next = self.step(move |database| database.next_job(lane, last));
        let Some(Some(job)) = next.await else {
            return false;
        };
        last_owner.store(job.owner, Relaxed);
        let job = Arc::new(job);
        let read = if job.attempts > ATTEMPTS_MAX {
            let why = "its reading has failed several times";
            Read::Made(Err(failure(SERVER_ERROR, why)))
        } else {
            self.read(&job, time_for(lane, job.content.len())).await
        };
        let made = match (read, lane) {
            // It could not be tried, and waits for its next attempt.
            (Read::Made(Err(failure)), _)
                if failure.code == SERVER_ERROR && job.attempts <= ATTEMPTS_MAX =>
            {
                return true;
            }
            (Read::Made(made), _) => made,
            (Read::TookTooLong, Lane::Again) if job.attempts >= TOO_LONG_FROM => {
                Err(failure("invalid_file", "reading the file takes too long"))
            }
            // It waits for its next attempt.
            (Read::TookTooLong | Read::Panicked | Read::NotAwaited, _) => return true,
        };
        let (chunks_max, bytes_max) = (self.chunks_max, self.owner_bytes_max);
        let finished =
            self.step(move |database| database.finish_cut(&job, made, chunks_max, bytes_max));
        let Some(chunks) = finished.await else {
            return false;
        };
        self.progress.add(chunks);
        true
    }

    /// Reads a file within a time, while it is awaited.
    async fn read(&self, job: &Arc<Job>, time: Duration) -> Read {
        let ends = Reading(Arc::default());
        let (reading, tools, is_ended) = (Arc::clone(job), self.tools.clone(), Arc::clone(&ends.0));
        let read = move || {
            let Job {
                name,
                content,
                rules,
                ..
            } = &*reading;
            let goes_on = || !is_ended.load(Relaxed);
            document::chunks(name, content, *rules, &tools, &goes_on)
        };
        let mut read = tokio::task::spawn_blocking(read);
        let mut spent = Duration::ZERO;
        let ended = loop {
            match tokio::time::timeout(AWAITED_EVERY, &mut read).await {
                Ok(Ok(made)) => return Read::Made(made),
                Ok(Err(_panicked)) => return Read::Panicked,
                Err(_elapsed) => spent += AWAITED_EVERY,
            }
            if spent >= time {
                break Read::TookTooLong;
            }
            let of_job = Arc::clone(job);
            let awaited = self.step(move |database| database.awaits(&of_job));
            if awaited.await == Some(false) {
                break Read::NotAwaited;
            }
        };
        // The thread ends soon; until then it counts as busy, so that threads do not pile up.
        drop(ends);
        drop(read.await);
        ended
    }

    /// Does a step on the store; a failure is in the log, and is tried again by the next look.
    async fn step<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Database) -> Result<T, crate::model::StoreError> + Send + 'static,
    ) -> Option<T> {
        let step = do_step(&self.manager, StepKind::Writes, STORE_TIMEOUT, act);
        let done: Result<T, CollectionError> = step.await;
        done.ok()
    }
}

impl Actor for Ingester {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // An earlier process may have left some.
        self.begin_all(ctx);
        let parts = self.parts.clone();
        ctx.pipe_to_self(
            async move {
                // What an earlier process, or another embedder, has left.
                let waiting = parts.step(|database| database.waiting(None)).await;
                parts.progress.set_waiting(waiting.unwrap_or_default());
            },
            |()| Wake,
        );
        ctx.start_timer_with_fixed_delay("look", Wake, LOOK_EVERY);
    }
}

impl Handler<Wake> for Ingester {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.begin_all(ctx);
    }
}

impl Handler<Done> for Ingester {
    type Result = ();

    fn handle(&mut self, done: Done, ctx: &mut Context<Self>) {
        self.has_caught_up |= done.lane == Lane::First && !done.is_more;
        let state = self.lane(done.lane);
        state.is_busy = false;
        let is_woken = state.is_woken;
        if done.is_more || is_woken {
            self.begin(done.lane, ctx);
        }
        if done.lane == Lane::First {
            // There may be a file that it has given up.
            self.begin(Lane::Again, ctx);
        }
        if self.wait.is_none() {
            self.embed(ctx);
        }
    }
}

impl Handler<Embedded> for Ingester {
    type Result = ();

    fn handle(&mut self, embedded: Embedded, ctx: &mut Context<Self>) {
        let state = &mut self.embedding;
        state.is_busy = false;
        let is_woken = state.is_woken;
        if embedded.0 == Batched::Away {
            let wait = self.wait.map_or(EMBEDDER_BACKOFF.0, |last| last * 2);
            let wait = wait.min(EMBEDDER_BACKOFF.1);
            self.wait = Some(wait);
            ctx.start_timer("embed", AskAgain, wait);
            return;
        }
        self.wait = None;
        if matches!(embedded.0, Batched::Stored | Batched::PutOff) || is_woken {
            self.embed(ctx);
        }
    }
}

impl Handler<AskAgain> for Ingester {
    type Result = ();

    fn handle(&mut self, _: AskAgain, ctx: &mut Context<Self>) {
        self.embed(ctx);
    }
}

/// Returns the time for the reading of a file of so many bytes.
fn time_for(lane: Lane, bytes: usize) -> Duration {
    match lane {
        Lane::First => FIRST_MAX,
        Lane::Again => {
            let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
            AGAIN_MAX.0.saturating_add(AGAIN_MAX.1.saturating_mul(mib))
        }
    }
}

impl std::fmt::Debug for Ingester {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ingester").finish_non_exhaustive()
    }
}
