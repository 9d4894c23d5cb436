//! The actor that reads files for collections.
//!
//! The queue is the store: a file is `in_progress` there until its chunks are stored, in the same transaction as its new state. So
//! nothing is lost and nothing is done twice, whenever the process ends. Two files at a time bound the memory; they are cut on threads
//! beside the event loop.
//!
//! No file and no tenant stops another. Tenants take turns. One lane reads files for the first time, and gives each a short time. The
//! other lane reads those again that need longer, panicked, or ended the process. Reading ends early if the file was removed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, Context, Props, Strategy};

use crate::{
    document::{self, CountTokens},
    manager::{CollectionManager, Step},
    model::Failure,
    search::embedder,
    sqlite::{Database, Job, Lane, NewChunk, failure},
};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The last attempt to read a file whose reading panics or ends the process: the fifth, because the second counts as 3.
const ATTEMPTS_MAX: u32 = 6;
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

/// What came of a reading.
enum Read {
    Made(Result<Vec<NewChunk>, Failure>),
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
    pub(crate) manager: ActorRef<CollectionManager>,
    pub(crate) count: Arc<CountTokens>,
    pub(crate) chunks_max: u64,
    pub(crate) owner_bytes_max: u64,
}

/// The actor.
pub(crate) struct Ingester {
    parts: IngesterParts,
    first: LaneState,
    again: LaneState,
}

impl Ingester {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(parts: IngesterParts) -> Props<Self> {
        let create = move || Self {
            parts: parts.clone(),
            first: LaneState::default(),
            again: LaneState::default(),
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
            Read::Made(Err(failure("server_error", why)))
        } else {
            self.read(&job, time_for(lane, job.content.len())).await
        };
        let made = match (read, lane) {
            (Read::Made(made), _) => made,
            (Read::TookTooLong, Lane::Again) => {
                Err(failure("invalid_file", "reading the file takes too long"))
            }
            // It waits for its next attempt.
            (Read::TookTooLong | Read::Panicked | Read::NotAwaited, _) => return true,
        };
        let (chunks_max, bytes_max) = (self.chunks_max, self.owner_bytes_max);
        let finished =
            self.step(move |database| database.finish_job(&job, made, chunks_max, bytes_max));
        finished.await.is_some()
    }

    /// Reads a file within a time, while it is awaited.
    async fn read(&self, job: &Arc<Job>, time: Duration) -> Read {
        let ends = Reading(Arc::default());
        let (reading, count, is_ended) = (
            Arc::clone(job),
            Arc::clone(&self.count),
            Arc::clone(&ends.0),
        );
        let read = move || {
            let Job {
                name,
                content,
                rules,
                ..
            } = &*reading;
            let goes_on = || !is_ended.load(Relaxed);
            document::chunks(name, content, *rules, embedder(), &*count, &goes_on)
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
        let step = Step {
            act: Box::new(act),
            removes: false,
        };
        self.manager.ask(step, STORE_TIMEOUT).await.ok()?.ok()
    }
}

impl Actor for Ingester {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // An earlier process may have left some.
        self.begin_all(ctx);
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
