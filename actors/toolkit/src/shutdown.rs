//! Coordinated shutdown: named phases, one after the other, each with tasks that run at the same time.
//!
//! Owns the tasks and the only run. A program uses it to stop in a fixed order: first new work, then running work,
//! then connections, then actors. A part that hangs costs at most the time limit of its phase. A task never runs
//! twice, and is never awaited longer than the time limit of its phase.
//!
//! Source: Pekko's `CoordinatedShutdown`. Differences: a task that exceeds the time limit of its phase is dropped,
//! where Pekko lets it run on; a run ends with a [`Report`]; an unknown dependency and an unknown first phase are
//! errors; no hook ends the process, which the program does itself.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::Actor;
use tokio::sync::watch;

use crate::system::{ActorRef, ActorSystem, Context};

mod phases;
mod report;
mod run;

pub use phases::{
    ACTOR_SYSTEM_TERMINATE, BEFORE_ACTOR_SYSTEM_TERMINATE, BEFORE_CLUSTER_SHUTDOWN,
    BEFORE_SERVICE_UNBIND, CLUSTER_EXITING, CLUSTER_EXITING_DONE, CLUSTER_LEAVE,
    CLUSTER_SHARDING_SHUTDOWN_REGION, CLUSTER_SHUTDOWN, Phase, Phases, PhasesError,
    SERVICE_REQUESTS_DONE, SERVICE_STOP, SERVICE_UNBIND,
};
pub use report::{PhaseEnd, PhaseReport, Reason, Report, TaskEnd, TaskReport};

/// The error of a task.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

type TaskFuture = Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>;
type TaskBody = Box<dyn FnOnce() -> TaskFuture + Send>;

/// The reason why a task was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddTaskError {
    /// The phase does not exist.
    #[error("the phase `{0}` does not exist")]
    UnknownPhase(String),
    /// The task has no name; the report needs one.
    #[error("a task of the phase `{0}` has no name")]
    Unnamed(String),
    /// The phase has begun, or will not run any more.
    #[error("it is too late for the task `{task}` of the phase `{phase}`")]
    TooLate {
        /// The phase.
        phase: String,
        /// The task.
        task: String,
    },
}

/// The error of a run that would begin with a phase that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the phase `{0}` does not exist")]
pub struct UnknownPhase(pub String);

/// The shutdown of one program; clones share it.
#[derive(Clone)]
pub struct CoordinatedShutdown {
    inner: Arc<Inner>,
}

struct Inner {
    /// The phases in the order in which they run.
    phases: Vec<(String, Phase)>,
    next_task: AtomicU64,
    state: Mutex<State>,
    report: watch::Sender<Option<Report>>,
}

#[derive(Default)]
struct State {
    /// The tasks of the phases that have not begun, in the order in which they were added.
    tasks: BTreeMap<String, BTreeMap<u64, Task>>,
    /// The reason of the run; `None` before it begins.
    reason: Option<Reason>,
    /// The number of phases that have begun or were skipped.
    begun: usize,
}

struct Task {
    name: String,
    body: TaskBody,
}

/// A task that was added. It can be removed until its phase begins; dropping the handle does not remove it.
#[derive(Debug)]
pub struct TaskHandle {
    shutdown: CoordinatedShutdown,
    phase: String,
    id: u64,
}

impl TaskHandle {
    /// Removes the task, so that it never runs. Returns `false` if its phase has begun.
    pub fn cancel(&self) -> bool {
        let mut state = self.shutdown.inner.state();
        let tasks = state.tasks.get_mut(&self.phase);
        tasks.is_some_and(|tasks| tasks.remove(&self.id).is_some())
    }
}

impl CoordinatedShutdown {
    /// Creates a shutdown with these phases and without tasks.
    ///
    /// # Errors
    /// Returns an error if the phases have no order: see [`PhasesError`].
    pub fn new(phases: Phases) -> Result<Self, PhasesError> {
        Ok(Self {
            inner: Arc::new(Inner {
                phases: phases.into_order()?,
                next_task: AtomicU64::new(0),
                state: Mutex::default(),
                report: watch::Sender::new(None),
            }),
        })
    }

    /// Adds a task to a phase. The tasks of a phase run at the same time; several may have the same name.
    ///
    /// # Errors
    /// Returns an error if the phase does not exist or has begun, or if the name is empty.
    pub fn add_task<F>(
        &self,
        phase: &str,
        name: &str,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> Result<TaskHandle, AddTaskError>
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let Some(place) = self.inner.place(phase) else {
            return Err(AddTaskError::UnknownPhase(phase.to_owned()));
        };
        if name.is_empty() {
            return Err(AddTaskError::Unnamed(phase.to_owned()));
        }
        let mut state = self.inner.state();
        if place < state.begun {
            return Err(AddTaskError::TooLate {
                phase: phase.to_owned(),
                task: name.to_owned(),
            });
        }
        let id = self.inner.next_task.fetch_add(1, SeqCst);
        let task = Task {
            name: name.to_owned(),
            body: Box::new(move || Box::pin(async move { task().await })),
        };
        let tasks = state.tasks.entry(phase.to_owned()).or_default();
        tasks.insert(id, task);
        drop(state);
        Ok(TaskHandle {
            shutdown: self.clone(),
            phase: phase.to_owned(),
            id,
        })
    }

    /// Adds a task that stops an actor and waits until it has stopped. `stop` may tell the actor a message or call
    /// [`ActorRef::stop`]. If the actor has already stopped, the task ends at once.
    ///
    /// # Errors
    /// See [`CoordinatedShutdown::add_task`].
    pub fn add_actor_termination<A>(
        &self,
        phase: &str,
        name: &str,
        actor: &ActorRef<A>,
        stop: impl FnOnce(&ActorRef<A>) + Send + 'static,
    ) -> Result<TaskHandle, AddTaskError>
    where
        A: Actor<Context = Context<A>>,
    {
        let actor = actor.clone();
        self.add_task(phase, name, move || async move {
            stop(&actor);
            actor.when_stopped().await;
            Ok(())
        })
    }

    /// Adds the task that stops all actors of a system, to the phase [`ACTOR_SYSTEM_TERMINATE`].
    ///
    /// # Errors
    /// See [`CoordinatedShutdown::add_task`].
    pub fn add_system(&self, system: &ActorSystem) -> Result<TaskHandle, AddTaskError> {
        let system = system.clone();
        self.add_task(
            ACTOR_SYSTEM_TERMINATE,
            "terminate-system",
            move || async move {
                system.terminate().await;
                Ok(())
            },
        )
    }

    /// Runs all phases in a separate task and waits for the end. Only the first call starts the run; a later call
    /// waits for the same run and returns the same report, with the first reason. Dropping this future does not stop
    /// the run.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub async fn run(&self, reason: Reason) -> Report {
        self.start(0, reason);
        self.ended().await
    }

    /// Runs as [`CoordinatedShutdown::run`] does, without the phases before `phase`.
    ///
    /// # Errors
    /// Returns an error if the phase does not exist; nothing runs then.
    pub async fn run_from(&self, phase: &str, reason: Reason) -> Result<Report, UnknownPhase> {
        let place = self.inner.place(phase);
        let first = place.ok_or_else(|| UnknownPhase(phase.to_owned()))?;
        self.start(first, reason);
        Ok(self.ended().await)
    }

    /// Waits until the run has ended. It does not start it.
    pub async fn ended(&self) -> Report {
        let mut reports = self.inner.report.subscribe();
        let ended = reports.wait_for(Option::is_some).await;
        match ended.ok().and_then(|report| report.clone()) {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    /// Returns the reason of the run; `None` before it begins.
    pub fn reason(&self) -> Option<Reason> {
        self.inner.state().reason.clone()
    }

    /// Returns the names of the phases in the order in which they run.
    pub fn phases(&self) -> impl Iterator<Item = &str> {
        self.inner.phases.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the time limit of a phase; `None` if it does not exist.
    pub fn timeout(&self, phase: &str) -> Option<Duration> {
        let place = self.inner.place(phase)?;
        let phase = self.inner.phases.get(place);
        phase.map(|(_, phase)| phase.timeout)
    }

    /// Returns the longest time that a run may take: the sum of the time limits of all enabled phases that have a task
    /// now.
    pub fn total_timeout(&self) -> Duration {
        let state = self.inner.state();
        let phases = self.inner.phases.iter().filter(|(name, phase)| {
            let tasks = state.tasks.get(name);
            phase.enabled && tasks.is_some_and(|tasks| !tasks.is_empty())
        });
        phases.map(|(_, phase)| phase.timeout).sum()
    }

    fn start(&self, first: usize, reason: Reason) {
        {
            let mut state = self.inner.state();
            if state.reason.is_some() {
                return;
            }
            tracing::info!(?reason, "coordinated shutdown");
            state.reason = Some(reason.clone());
            state.begun = first;
        }
        tokio::spawn(run::drive(Arc::clone(&self.inner), first, reason));
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, phase: &str) -> Option<usize> {
        self.phases.iter().position(|(name, _)| name == phase)
    }

    /// Begins the phase at `place` and returns its tasks. No task can be added to it any more.
    fn begin(&self, place: usize, phase: &str) -> Vec<Task> {
        let mut state = self.state();
        state.begun = place + 1;
        let tasks = state.tasks.remove(phase).unwrap_or_default();
        tasks.into_values().collect()
    }
}

impl fmt::Debug for CoordinatedShutdown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state();
        formatter
            .debug_struct("CoordinatedShutdown")
            .field("reason", &state.reason)
            .field("begun", &state.begun)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
