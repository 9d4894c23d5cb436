//! The actor that has turns summarized, and facts extracted from them, in the background.
//!
//! It owns the order of this work: which session is next, so that tenants take turns, and one piece of work at a time for a
//! session. It does not know models: the program passes in a [`Summarizer`]. No call waits for it. What it makes is kept beside
//! the turns; a hint that is lost, because the queue is full or the actor restarts, comes again with the next turn of the session,
//! and the turns that are still to be summarized are found in the store each time.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, AskError, Context, Props, Spawn, Strategy, TaskPanicked};
use serde::Serialize;

use crate::{
    context_parts::WallClock, handle::ContextHandle, settings::MemorySettings, tokens::Tokenizer,
};

mod queue;
mod summarizer;
#[cfg(test)]
mod tests;
mod work;

pub use summarizer::{Asked, ExtractedFact, FactsTask, Summarizer, SummarizerError, SummaryTask};

use queue::{Job, Queue};

/// The name of the actor.
const NAME: &str = "memorizer";
/// The first and the longest wait before the actor is restarted.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The number of hints that may wait for the actor, which handles one in microseconds.
const MAILBOX: usize = 4096;

/// What the actor works with.
#[derive(Clone)]
pub struct MemorizerParts {
    /// The sessions.
    pub context: ContextHandle,
    /// Asks models.
    pub summarizer: Arc<dyn Summarizer>,
    /// The bounds.
    pub settings: MemorySettings,
    /// Counts the tokens of summaries and facts.
    pub tokenizer: Tokenizer,
    /// The wall clock.
    pub clock: WallClock,
}

/// Counts of the work, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryCounts {
    /// Summaries that were kept.
    pub summaries: u64,
    /// Facts that were kept, new and changed ones.
    pub facts: u64,
    /// Pieces of work that ended with an error.
    pub failures: u64,
    /// Pieces of work that were not done because a budget of the session's owner had no room.
    pub unpaid: u64,
    /// Sessions that found no room in the queue.
    pub dropped: u64,
    /// Sessions that wait.
    pub waiting: usize,
    /// Sessions that are worked on.
    pub running: usize,
}

#[derive(Debug, Default)]
struct Counters {
    summaries: AtomicU64,
    facts: AtomicU64,
    failures: AtomicU64,
    unpaid: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicUsize,
    running: AtomicUsize,
}

/// A turn of a session was kept.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct TurnKept(Job);

/// The work on a session has ended.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct Worked {
    session: String,
    /// `false` if it panicked.
    is_sound: bool,
}

/// The handle of the actor; clones share it.
#[derive(Clone, Debug)]
pub struct Memorizer {
    actor: ActorRef<MemorizerActor>,
    counters: Arc<Counters>,
}

impl Memorizer {
    /// Starts the actor as a child of `parent`, which handles [`Spawn`].
    ///
    /// # Errors
    /// Returns an error if `parent` has stopped or does not answer.
    pub async fn start_under<P>(
        parent: &ActorRef<P>,
        parts: MemorizerParts,
    ) -> Result<Self, AskError>
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let counters = Arc::<Counters>::default();
        let props = MemorizerActor::props(parts, Arc::clone(&counters));
        let actor = Spawn::ask(parent, props, NAME).await?;
        Ok(Self { actor, counters })
    }

    /// Notes that a turn of a session was kept, in whose next call the history will have `history_tokens`.
    pub fn turn_kept(&self, owner: &str, session: &str, history_tokens: u64) {
        let job = Job {
            owner: owner.to_owned(),
            session: session.to_owned(),
            history_tokens,
        };
        if !self.actor.tell(TurnKept(job)).is_enqueued() {
            // The next turn of the session is another hint.
            self.counters.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Ends all work. What was being made is made by the next process, after the next turn of its session.
    pub fn stop(&self) {
        self.actor.stop();
    }

    /// Returns the counts of the work.
    pub fn counts(&self) -> MemoryCounts {
        let counters = &self.counters;
        MemoryCounts {
            summaries: counters.summaries.load(Relaxed),
            facts: counters.facts.load(Relaxed),
            failures: counters.failures.load(Relaxed),
            unpaid: counters.unpaid.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
            waiting: counters.waiting.load(Relaxed),
            running: counters.running.load(Relaxed),
        }
    }
}

/// The actor.
struct MemorizerActor {
    parts: MemorizerParts,
    counters: Arc<Counters>,
    queue: Queue,
    /// The sessions that are worked on, and the hint that came meanwhile.
    running: BTreeMap<String, Option<Job>>,
}

impl MemorizerActor {
    fn props(parts: MemorizerParts, counters: Arc<Counters>) -> Props<Self> {
        Props::new(move || Self {
            queue: Queue::new(parts.settings.queue_max),
            parts: parts.clone(),
            counters: Arc::clone(&counters),
            running: BTreeMap::new(),
        })
        .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
        .mailbox(MAILBOX)
    }

    fn take(&mut self, job: Job) {
        if let Some(again) = self.running.get_mut(&job.session) {
            *again = Some(job);
        } else if !self.queue.push(job) {
            self.counters.dropped.fetch_add(1, Relaxed);
        }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        while self.running.len() < self.parts.settings.at_once
            && let Some(job) = self.queue.pop()
        {
            let session = job.session.clone();
            self.running.insert(session.clone(), None);
            let (parts, counters) = (self.parts.clone(), Arc::clone(&self.counters));
            let worked = |result: Result<(), TaskPanicked>| Worked {
                session,
                is_sound: result.is_ok(),
            };
            // The work would outlive the actor.
            let actor = ctx.self_ref();
            let work = async move {
                tokio::select! {
                    () = work::work(&parts, &counters, &job) => {}
                    () = actor.when_stopped() => {}
                }
            };
            ctx.try_pipe_to_self(work, worked);
        }
        self.counters.waiting.store(self.queue.len(), Relaxed);
        self.counters.running.store(self.running.len(), Relaxed);
    }
}

impl Actor for MemorizerActor {
    type Context = Context<Self>;
}

impl Handler<TurnKept> for MemorizerActor {
    type Result = ();

    fn handle(&mut self, TurnKept(job): TurnKept, ctx: &mut Context<Self>) {
        self.take(job);
        self.begin(ctx);
    }
}

impl Handler<Worked> for MemorizerActor {
    type Result = ();

    fn handle(&mut self, worked: Worked, ctx: &mut Context<Self>) {
        if !worked.is_sound {
            self.counters.failures.fetch_add(1, Relaxed);
        }
        // The work of an earlier instance of the actor is not known here.
        let again = self.running.remove(&worked.session).flatten();
        if let Some(job) = again {
            self.take(job);
        }
        self.begin(ctx);
    }
}

impl fmt::Debug for MemorizerParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemorizerParts")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MemorizerActor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemorizerActor")
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}
