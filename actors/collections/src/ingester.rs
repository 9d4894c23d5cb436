//! The actor that reads files for collections, one after another.
//!
//! The queue is the store: a file is `in_progress` there until its chunks are stored, in the same transaction as its new state. So
//! nothing is lost and nothing is done twice, whenever the process ends. One file at a time bounds the memory; it is cut on a thread
//! beside the event loop. A file whose reading panics, or ends the process, is tried a few times, behind all others.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, Context, Props, Strategy};

use crate::{
    document::{self, CountTokens},
    manager::{CollectionManager, Step},
    search::embedder,
    sqlite::{Database, Job, failure},
};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// How often a file is begun, if its reading panics or ends the process.
const ATTEMPTS_MAX: u32 = 5;
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
    is_more: bool,
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
    is_busy: bool,
    /// `true` if it was woken while it was busy.
    is_woken: bool,
}

impl Ingester {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(parts: IngesterParts) -> Props<Self> {
        let create = move || Self {
            parts: parts.clone(),
            is_busy: false,
            is_woken: false,
        };
        Props::new(create).supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.is_woken = self.is_busy;
        if self.is_busy {
            return;
        }
        self.is_busy = true;
        let parts = self.parts.clone();
        ctx.pipe_to_self(async move { parts.read_next().await }, |is_more| Done {
            is_more,
        });
    }
}

impl IngesterParts {
    /// Reads the next file; returns `true` if there may be more.
    async fn read_next(&self) -> bool {
        let next = self.step(Database::next_job);
        let Some(Some(job)) = next.await else {
            return false;
        };
        let job = Arc::new(job);
        let made = if job.attempts > ATTEMPTS_MAX {
            Err(failure(
                "server_error",
                "its reading has failed several times",
            ))
        } else {
            let (reading, count) = (Arc::clone(&job), Arc::clone(&self.count));
            let read = move || {
                let Job {
                    name,
                    content,
                    rules,
                    ..
                } = &*reading;
                document::chunks(name, content, *rules, embedder(), &*count)
            };
            match tokio::task::spawn_blocking(read).await {
                Ok(made) => made,
                // It waits behind the others for its next attempt.
                Err(_panicked) => return true,
            }
        };
        let (chunks_max, bytes_max) = (self.chunks_max, self.owner_bytes_max);
        let finished =
            self.step(move |database| database.finish_job(&job, made, chunks_max, bytes_max));
        finished.await.is_some()
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
        self.begin(ctx);
        ctx.start_timer_with_fixed_delay("look", Wake, LOOK_EVERY);
    }
}

impl Handler<Wake> for Ingester {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.begin(ctx);
    }
}

impl Handler<Done> for Ingester {
    type Result = ();

    fn handle(&mut self, done: Done, ctx: &mut Context<Self>) {
        self.is_busy = false;
        if done.is_more || self.is_woken {
            self.begin(ctx);
        }
    }
}

impl std::fmt::Debug for Ingester {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ingester").finish_non_exhaustive()
    }
}
