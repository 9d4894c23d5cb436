//! The handle through which a program uses jobs.

mod batches;
mod dispatcher;

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix::{Actor, ArbiterHandle, Handler};
use kebne_actors::{ActorRef, AskError, Context, Spawn};
use kebne_file_store::{FileKeeper, FileStore as _, StepKind, Sweep, do_step, time_for};
use kebne_seal::Keyring;
use tokio::sync::{OnceCell, broadcast};

use dispatcher::{Dispatcher, Drain, IsBusy, Wake};

pub use dispatcher::{Delivered, Work, Worker};

use crate::{
    counts::{Count, Counts},
    id::new_id,
    model::{
        Job, JobError, Lease, Leased, Needs, NewJob, Outcome, Page, PageQuery, Renewed, State,
        StoreError, Taken, Totals, WallClock,
    },
    queue::{Answer, JobQueue},
    settings::JobsSettings,
    sqlite::{Database, Place},
};

/// Changes that a reader may be behind; one that is further behind reads the store.
const CHANGES: usize = 256;
/// The time within which the dispatcher must answer, and the time between two questions whether it is busy.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
const SETTLE_EVERY: Duration = Duration::from_millis(20);
/// The names of the actors.
const MANAGER: &str = "jobs";
const DISPATCHER: &str = "dispatcher";
const NO_JOB: StoreError = StoreError::NotFound("job");

/// What jobs need.
#[derive(Clone)]
pub struct JobsParts {
    /// The settings.
    pub settings: JobsSettings,
    /// The keys that encrypt the file; `None` for a file that is not encrypted.
    pub keyring: Option<Keyring>,
    /// The clock.
    pub clock: WallClock,
}

/// The handle of jobs; clones share them.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    parts: JobsParts,
    place: Place,
    counts: Counts,
    changes: broadcast::Sender<Arc<str>>,
    worker: OnceLock<Arc<dyn Worker>>,
    start: Box<dyn Fn(Jobs) -> Starting + Send + Sync>,
    running: OnceCell<Running>,
}

type Starting = Pin<Box<dyn Future<Output = Result<Running, AskError>> + Send>>;

/// The actors, once there is a job.
struct Running {
    manager: ActorRef<FileKeeper<Place>>,
    /// `None` without a worker.
    dispatcher: Option<ActorRef<Dispatcher>>,
    threads: Vec<ArbiterHandle>,
}

impl Jobs {
    /// Creates the handle. The actors will be children of `parent`; they start with the first job.
    pub fn new<P>(parent: &ActorRef<P>, parts: JobsParts) -> Self
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let parent = parent.clone();
        let start = move |jobs: Self| -> Starting {
            let parent = parent.clone();
            Box::pin(async move {
                let thread = actix_rt::Arbiter::new().handle();
                let mut threads = vec![thread.clone()];
                let props = FileKeeper::props(jobs.0.place.clone(), sweep(&jobs.0.parts), thread);
                let manager = Spawn::ask(&parent, props, MANAGER).await?;
                let dispatcher = match jobs.0.worker.get() {
                    None => None,
                    Some(worker) => {
                        let thread = actix_rt::Arbiter::new().handle();
                        threads.push(thread.clone());
                        let props = Dispatcher::props(&jobs, Arc::clone(worker), thread);
                        Some(Spawn::ask(&parent, props, DISPATCHER).await?)
                    }
                };
                Ok(Running {
                    manager,
                    dispatcher,
                    threads,
                })
            })
        };
        Self(Arc::new(Inner {
            place: Place::new(
                parts.settings.path.clone(),
                parts.keyring.clone(),
                parts.settings.result_size_max.0,
            ),
            parts,
            counts: Counts::default(),
            changes: broadcast::channel(CHANGES).0,
            worker: OnceLock::new(),
            start: Box::new(start),
            running: OnceCell::new(),
        }))
    }

    /// Checks the file if there is one.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if it is not a store of jobs or has another key, and [`StoreError::Failed`] if it cannot be
    /// opened now.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.0.place.file().exists() {
            self.0.place.open()?;
        }
        Ok(())
    }

    /// Has a worker carry the jobs out, and starts the actors if there is a file, so that what an earlier process left is done. Only the first
    /// worker counts.
    ///
    /// # Errors
    /// Returns an error if the parent has stopped or does not answer.
    pub async fn connect(&self, worker: Arc<dyn Worker>) -> Result<(), AskError> {
        self.0.worker.get_or_init(|| worker);
        if self.0.place.file().exists() {
            self.running().await?;
        }
        Ok(())
    }

    /// Takes no more jobs; those that run go on.
    pub fn drain(&self) {
        if let Some(dispatcher) = self.dispatcher() {
            dispatcher.post(Drain);
        }
    }

    /// Waits until no job runs; after [`Jobs::drain`], what is confirmed by then is not repeated by the next process.
    pub async fn when_settled(&self) {
        let Some(dispatcher) = self.dispatcher() else {
            return;
        };
        // A dispatcher that does not answer settles nothing any more.
        while let Ok(true) = dispatcher.ask(IsBusy, SETTLE_TIMEOUT).await {
            tokio::time::sleep(SETTLE_EVERY).await;
        }
    }

    /// Stops the threads. The actors end with their parent.
    pub fn stop(&self) {
        if let Some(running) = self.0.running.get() {
            for thread in &running.threads {
                thread.stop();
            }
        }
    }

    /// Returns the settings.
    pub fn settings(&self) -> &JobsSettings {
        &self.0.parts.settings
    }

    /// Returns the counts of the events of jobs since the start.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Returns `true` once there is a file.
    pub fn exist(&self) -> bool {
        self.0.place.file().exists()
    }

    /// Returns the ids of jobs and batches that change from now on. An empty id stands for changes of any of them.
    pub fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.0.changes.subscribe()
    }

    /// Counts what the store holds.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn totals(&self) -> Result<Totals, JobError> {
        let act = |database: &mut Database| database.totals();
        self.step(StepKind::Reads, Ok(Totals::default()), act).await
    }

    /// Reports a change to those who wait for it, and counts it.
    pub(crate) fn changed(&self, id: &str, state: Option<State>) {
        let count = match state {
            Some(State::Succeeded) => Some(Count::Succeeded),
            Some(State::Failed) => Some(Count::Failed),
            Some(State::Cancelled) => Some(Count::Cancelled),
            Some(State::Expired) => Some(Count::Expired),
            Some(State::Queued | State::Running) | None => None,
        };
        if let Some(count) = count {
            self.0.counts.add(count, 1);
        }
        // Without readers there is nobody to tell.
        self.0.changes.send(id.into()).ok();
    }

    /// Has the dispatcher look for work at once.
    pub(crate) fn wake(&self) {
        if let Some(dispatcher) = self.dispatcher() {
            dispatcher.post(Wake);
        }
    }

    pub(crate) fn now(&self) -> u64 {
        (self.0.parts.clock)()
    }

    fn dispatcher(&self) -> Option<&ActorRef<Dispatcher>> {
        self.0.running.get()?.dispatcher.as_ref()
    }

    async fn running(&self) -> Result<&Running, AskError> {
        let start = || (self.0.start)(self.clone());
        self.0.running.get_or_try_init(start).await
    }

    /// Does a step; returns `unmade` while there is no file and the step does not create it.
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        kind: StepKind,
        unmade: Result<T, StoreError>,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, JobError> {
        self.large_step(0, kind, unmade, act).await
    }

    /// Does a step that stores so many bytes. If it is not done in time, it is not done at all.
    pub(crate) async fn large_step<T: Send + 'static>(
        &self,
        bytes: usize,
        kind: StepKind,
        unmade: Result<T, StoreError>,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, JobError> {
        if kind != StepKind::Makes && !self.0.place.file().exists() {
            return Ok(unmade?);
        }
        let running = self.running().await?;
        do_step(&running.manager, kind, time_for(bytes), act).await
    }
}

impl JobQueue for Jobs {
    fn enqueue<'a>(&'a self, owner: &'a str, job: NewJob) -> Answer<'a, (Job, bool)> {
        Box::pin(async move {
            let id = new_id("job_")?;
            let (owner, now, settings) = (owner.to_owned(), self.now(), self.settings().clone());
            let bytes = job.request.len();
            let act = move |database: &mut Database| {
                database.enqueue(&owner, (&id, &job), (now, &settings))
            };
            let queued = self
                .large_step(bytes, StepKind::Makes, Err(NO_JOB), act)
                .await?;
            if queued.1 {
                self.0.counts.add(Count::Queued, 1);
                self.wake();
            }
            Ok(queued)
        })
    }

    fn job<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, Job> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        let act = move |database: &mut Database| database.job(&owner, &id);
        Box::pin(self.step(StepKind::Reads, Err(NO_JOB), act))
    }

    fn content<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, (Vec<u8>, Vec<u8>)> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        let act = move |database: &mut Database| database.content(&owner, &id);
        Box::pin(self.step(StepKind::Reads, Err(NO_JOB), act))
    }

    fn jobs<'a>(
        &'a self,
        owner: &'a str,
        page: PageQuery,
        state: Option<State>,
    ) -> Answer<'a, Page<Job>> {
        let owner = owner.to_owned();
        let unmade = page.of_nothing();
        let act = move |database: &mut Database| database.jobs(&owner, &page, state);
        Box::pin(self.step(StepKind::Reads, unmade, act))
    }

    fn cancel<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, Job> {
        Box::pin(async move {
            let (of, job, now) = (owner.to_owned(), id.to_owned(), self.now());
            let act = move |database: &mut Database| {
                let before = database.job(&of, &job)?.state;
                Ok((before, database.cancel(&of, &job, now)?))
            };
            let (before, job) = self.step(StepKind::Writes, Err(NO_JOB), act).await?;
            if before != job.state {
                self.changed(id, Some(job.state));
            }
            // One that runs is ended by the dispatcher.
            self.wake();
            Ok(job)
        })
    }

    fn take(&self, needs: Needs) -> Answer<'_, Taken> {
        Box::pin(async move {
            let now = self.now();
            let act = move |database: &mut Database| database.take(&needs, now);
            let taken = self
                .step(StepKind::Writes, Ok(Taken::default()), act)
                .await?;
            self.0.counts.add(Count::Lost, taken.lost);
            for ended in &taken.ended {
                self.changed(&ended.id, Some(ended.state));
            }
            for job in &taken.jobs {
                self.changed(&job.id, Some(State::Running));
            }
            Ok(taken)
        })
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Answer<'_, Vec<Renewed>> {
        let now = self.now();
        let lost = vec![Renewed::Lost; leases.len()];
        let act = move |database: &mut Database| database.renew(&leases, (now, lease));
        Box::pin(self.step(StepKind::Writes, Ok(lost), act))
    }

    fn confirm<'a>(
        &'a self,
        job: &'a Leased,
        outcome: Outcome,
        attempts_max: u32,
    ) -> Answer<'a, Option<State>> {
        Box::pin(async move {
            let (lease, id, now) = (job.lease, job.id.clone(), self.now());
            let bytes = outcome.result().len();
            let act = move |database: &mut Database| {
                database.confirm((lease, &id), outcome, (now, attempts_max))
            };
            let state = self
                .large_step(bytes, StepKind::Writes, Ok(None), act)
                .await?;
            match state {
                None => self.0.counts.add(Count::Stale, 1),
                Some(State::Queued) => self.0.counts.add(Count::Again, 1),
                Some(_) => {}
            }
            if state.is_some() {
                self.changed(&job.id, state);
            }
            Ok(state)
        })
    }
}

impl Outcome {
    /// Returns the result that comes with it.
    fn result(&self) -> &[u8] {
        match self {
            Self::Succeeded(result) | Self::Failed(result) | Self::Again { result, .. } => result,
            Self::Cancelled => &[],
        }
    }
}

impl PageQuery {
    /// Returns the page of an owner who has nothing.
    fn of_nothing<T>(&self) -> Result<Page<T>, StoreError> {
        match self.after {
            Some(_) => Err(StoreError::NotListed),
            None => Ok(Page {
                items: Vec::new(),
                has_more: false,
            }),
        }
    }
}

/// Removes jobs and batches that are kept no longer.
fn sweep(parts: &JobsParts) -> Sweep<Place> {
    let (clock, retention) = (parts.clock.clone(), parts.settings.retention.0);
    let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    let bytes_max = parts.settings.result_size_max.0;
    Arc::new(move |database| database.sweep(clock().saturating_sub(retention), bytes_max))
}

impl std::fmt::Debug for JobsParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = formatter.debug_struct("JobsParts");
        parts
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Jobs").finish_non_exhaustive()
    }
}
