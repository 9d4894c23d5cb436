//! The handle through which a program uses agents.

mod awaiting;
mod deciding;
mod embedding;
mod manager;
mod owned;
mod runner;
mod tasks;
mod waiting;

use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, ArbiterHandle, Handler};
use kebne_actors::{ActorRef, AskError, Context, Spawn};
use kebne_settings::{SettingsError, Validate as _};
use tokio::sync::OnceCell;

use crate::{
    counts::Counts,
    host::{Host, RunContext},
    live::Followers,
    message::Message,
    run::{Awaited, Began, Budget, Event, Run, RunEvent},
    settings::AgentStoreSettings,
    spec::AgentSpec,
    store::{Head, Lease, NewRun, Page, PageQuery, RunStore, StoreError, WallClock},
};

use manager::{Count, Drain, Fill, Manager, Rests, Take};

pub use awaiting::Attendance;
pub(crate) use tasks::{NewTask, child_id};

/// The time within which the manager must answer, and the time between two questions whether it is busy.
const SETTLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(20));
/// The most threads on which agents run.
const THREADS_MAX: usize = 4;

/// What agents need.
#[derive(Clone)]
pub struct AgentsParts {
    /// The settings of the store.
    pub settings: AgentStoreSettings,
    /// The store.
    pub store: Arc<dyn RunStore>,
    /// The clock.
    pub clock: WallClock,
}

/// The reason why something was not done with a run or an agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The store has not done it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The actors do not answer.
    #[error("the actors of agents do not answer: {0}")]
    Actor(#[from] AskError),
    /// There is no agent of this name.
    #[error("there is no agent `{0}`")]
    NoAgent(String),
    /// The call does not wait for a human.
    #[error("the call `{0}` does not wait for a human")]
    NotWaiting(String),
    /// A question was approved without an answer.
    #[error("`answer` is needed, because the call is a question")]
    NeedsAnswer,
    /// The run has ended.
    #[error("the run has ended")]
    HasEnded,
    /// The input is too large.
    #[error("the input has more than {0} bytes (`agent_store.text_size_max`)")]
    TooLarge(usize),
    /// The agent is not valid.
    #[error("{}: {}", .0.path, .0.message)]
    Invalid(Box<SettingsError>),
    /// An agent of the settings cannot be changed.
    #[error("`{0}` is an agent of the settings")]
    OfSettings(String),
}

/// A run that is to be started.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The agent.
    pub agent: String,
    /// The conversation; the last message is the input.
    pub messages: Vec<Message>,
    /// How many of them are those of the session.
    pub remembered: usize,
    /// The session to which the run belongs.
    pub session: Option<String>,
    /// Who starts it, as the program names it.
    pub caller: String,
    /// What it may use; each bound is at most that of the agent.
    pub budget: Option<Budget>,
    /// Properties of the call that starts it, as the program names them; they are those of the runs of its tasks too.
    pub origin: BTreeMap<String, String>,
}

/// The handle of agents; clones share them.
#[derive(Clone)]
pub struct Agents(Arc<Inner>);

struct Inner {
    parts: AgentsParts,
    host: OnceLock<Arc<dyn Host>>,
    followers: Followers,
    counts: Counts,
    threads: OnceLock<Vec<ArbiterHandle>>,
    next_thread: AtomicUsize,
    start: Box<dyn Fn(Agents) -> Starting + Send + Sync>,
    manager: OnceCell<ActorRef<Manager>>,
    /// The runs that callers of this process wait for.
    awaited: Mutex<HashSet<String>>,
    is_draining: AtomicBool,
}

type Starting = Pin<Box<dyn Future<Output = Result<ActorRef<Manager>, AskError>> + Send>>;

/// A host that offers nothing, before one is connected.
struct Nothing;

impl Host for Nothing {
    fn model(
        &self,
        _: &RunContext,
    ) -> Result<Arc<dyn crate::model::Model>, crate::model::ModelError> {
        let message = "no models are connected";
        Err(crate::model::ModelError::last(message))
    }

    fn tool(&self, _: &str, _: &RunContext) -> Option<Arc<dyn crate::tool::Tool>> {
        None
    }

    fn agent(&self, _: &str) -> Option<AgentSpec> {
        None
    }
}

impl Agents {
    /// Creates the handle. The actors will be children of `parent`; they start with the first run, or when a host is connected.
    pub fn new<P>(parent: &ActorRef<P>, parts: AgentsParts) -> Self
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let parent = parent.clone();
        let start = move |agents: Self| -> Starting {
            let parent = parent.clone();
            Box::pin(async move {
                let props = Manager::props(&agents);
                Spawn::ask(&parent, props, "agents").await
            })
        };
        Self(Arc::new(Inner {
            parts,
            host: OnceLock::new(),
            followers: Followers::default(),
            counts: Counts::default(),
            threads: OnceLock::new(),
            next_thread: AtomicUsize::new(0),
            start: Box::new(start),
            manager: OnceCell::new(),
            awaited: Mutex::default(),
            is_draining: AtomicBool::new(false),
        }))
    }

    /// Connects what the program offers, and starts the actors if `at_once`, so that runs that an earlier process left go on. Only the first host
    /// counts.
    ///
    /// # Errors
    /// Returns an error if the parent has stopped or does not answer.
    pub async fn connect(&self, host: Arc<dyn Host>, at_once: bool) -> Result<(), AskError> {
        self.0.host.get_or_init(|| host);
        if at_once {
            self.manager().await?;
        }
        Ok(())
    }

    /// Has the actors run on the thread of their parent, so that a test's paused time holds for them.
    #[cfg(test)]
    pub(crate) fn on_this_thread(self) -> Self {
        let this = actix_rt::Arbiter::current();
        self.0.threads.get_or_init(|| vec![this]);
        self
    }

    /// Returns the settings.
    pub fn settings(&self) -> &AgentStoreSettings {
        &self.0.parts.settings
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn RunStore> {
        &self.0.parts.store
    }

    /// Returns what was counted since the start.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Takes no more runs, and gives those that go on back when what is going on of them has ended. Those that callers of this process wait for go on
    /// until their end.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Relaxed);
        if let Some(manager) = self.0.manager.get() {
            manager.post(Drain);
        }
    }

    /// Waits until no run goes on here. A run that waits for a tool or a model goes on until that has answered.
    pub async fn when_settled(&self) {
        let Some(manager) = self.0.manager.get() else {
            return;
        };
        // A manager that does not answer settles nothing any more.
        while let Ok(1..) = manager.ask(Count, SETTLE.0).await {
            tokio::time::sleep(SETTLE.1).await;
        }
    }

    /// Stops the threads. The actors end with their parent.
    pub fn stop(&self) {
        for thread in self.0.threads.get().into_iter().flatten() {
            thread.stop();
        }
    }

    /// Returns an agent: one of the program, else one of the owner.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn find(&self, owner: &str, name: &str) -> Result<Option<AgentSpec>, StoreError> {
        match self.host().agent(name) {
            Some(spec) => Ok(Some(spec)),
            None => self.store().agent(owner, name).await,
        }
    }

    /// Starts a run; returns its id.
    ///
    /// # Errors
    /// [`AgentError::NoAgent`] for an unknown agent, [`AgentError::TooLarge`] for a large input, and [`StoreError::Full`] at a bound of the owner.
    pub async fn start(&self, owner: &str, start: Start) -> Result<String, AgentError> {
        let id = new_id()?;
        self.start_as(owner, &id, start, None).await?;
        Ok(id)
    }

    /// Starts a run with an id, unless there is one.
    async fn start_as(
        &self,
        owner: &str,
        id: &str,
        start: Start,
        awaited: Option<Awaited>,
    ) -> Result<(), AgentError> {
        let found = self.find(owner, &start.agent).await?;
        let spec = found.ok_or_else(|| AgentError::NoAgent(start.agent.clone()))?;
        let size: usize = start.messages.iter().map(size_of).sum();
        let size_max = self.settings().text_size_max;
        if size > size_max.as_usize() {
            return Err(AgentError::TooLarge(size_max.as_usize()));
        }
        let budget = Budget::of(&spec);
        let began = Began {
            budget: start.budget.map_or(budget, |asked| asked.within(budget)),
            messages: start.messages,
            remembered: start.remembered,
            session: start.session,
            caller: start.caller,
            parent: None,
            depth: 0,
            spec,
            origin: start.origin,
            awaited,
        };
        let open_max = Some(self.settings().open_max);
        self.create(owner, id.to_owned(), began, open_max).await
    }

    async fn create(
        &self,
        owner: &str,
        id: String,
        began: Began,
        open_max: Option<u64>,
    ) -> Result<(), AgentError> {
        let (agent, now) = (began.spec.name.clone(), self.now());
        // The process that has the caller carries it out.
        let is_own = began.awaited.is_some();
        let is_task = began.parent.is_some();
        let began = RunEvent::Began(Box::new(began));
        let new = NewRun {
            id: id.clone(),
            owner: owner.to_owned(),
            agent,
            began: began.clone(),
            now,
            open_max,
            until: if is_own { self.until(now) } else { 0 },
        };
        if self.store().create(new).await? {
            let event = Event {
                seq: 1,
                at: now,
                what: began,
            };
            self.noted(&id, owner, &[event]);
            if is_own {
                let lease = Lease {
                    id: id.into(),
                    owner: owner.into(),
                    fence: 1,
                };
                self.manager().await?.post(Take { lease, is_task });
                return Ok(());
            }
        }
        self.manager().await?.post(Fill);
        Ok(())
    }

    /// Counts events that this handle has written, and tells the program.
    fn noted(&self, id: &str, owner: &str, events: &[Event]) {
        let Some(last) = events.last() else {
            return;
        };
        self.counts().note(&last.what);
        if let Some(run) = Run::of(id.into(), owner.into(), events) {
            self.host().noted(&run, last);
        }
    }

    /// Returns a run.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the owner has no such run.
    pub async fn run(&self, owner: &str, id: &str) -> Result<Run, AgentError> {
        let events = self.events(owner, id, 0).await?;
        let missing = || StoreError::Damaged(format!("the run `{id}` has no beginning"));
        let run = Run::of(id.into(), owner.into(), &events).ok_or_else(missing)?;
        Ok(run)
    }

    /// Returns the events of a run behind a number.
    ///
    /// # Errors
    /// As [`Agents::run`].
    pub async fn events(
        &self,
        owner: &str,
        id: &str,
        after: u64,
    ) -> Result<Vec<Event>, AgentError> {
        Ok(self.store().events(owner, id, after).await?)
    }

    /// Returns the head of a run, without reading its events.
    ///
    /// # Errors
    /// As [`Agents::run`].
    pub async fn head(&self, owner: &str, id: &str) -> Result<Head, AgentError> {
        Ok(self.store().head(owner, id).await?)
    }

    /// Returns the runs of an owner.
    ///
    /// # Errors
    /// [`StoreError::NotListed`] for an unknown `after`.
    pub async fn runs(&self, owner: &str, page: PageQuery) -> Result<Page, AgentError> {
        Ok(self.store().runs(owner, page).await?)
    }

    /// Returns the time.
    pub(crate) fn now(&self) -> u64 {
        (self.0.parts.clock)()
    }

    /// Returns the end of a lease that begins now.
    pub(crate) fn until(&self, now: u64) -> u64 {
        let lease = self.settings().lease.0.as_millis();
        now.saturating_add(u64::try_from(lease).unwrap_or(u64::MAX))
    }

    pub(crate) fn host(&self) -> &dyn Host {
        self.0.host.get().map_or(&Nothing, |host| &**host)
    }

    pub(crate) fn followers(&self) -> &Followers {
        &self.0.followers
    }

    /// Returns the thread of the next actor.
    pub(crate) fn thread(&self) -> ArbiterHandle {
        let threads = self.0.threads.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = 0..cores.min(THREADS_MAX);
            threads.map(|_| actix_rt::Arbiter::new().handle()).collect()
        });
        let next = self.0.next_thread.fetch_add(1, Relaxed);
        threads[next % threads.len()].clone()
    }

    /// Tells the manager whether a run only waits for its tasks.
    pub(crate) fn rests(&self, lease: &Lease, only_waits: bool) {
        if let Some(manager) = self.0.manager.get() {
            manager.post(Rests {
                run: Arc::clone(&lease.id),
                fence: lease.fence,
                only_waits,
            });
        }
    }

    async fn manager(&self) -> Result<&ActorRef<Manager>, AskError> {
        let start = || (self.0.start)(self.clone());
        self.0.manager.get_or_try_init(start).await
    }
}

/// Returns what is wrong with an agent first.
pub(crate) fn checked(spec: &AgentSpec) -> Result<(), AgentError> {
    match spec.validate("").into_iter().next() {
        Some(error) => Err(AgentError::Invalid(Box::new(error))),
        None => Ok(()),
    }
}

fn size_of(message: &Message) -> usize {
    match message {
        Message::System { text } | Message::User { text } | Message::Tool { text, .. } => {
            text.len()
        }
        Message::Assistant { text, calls } => {
            let calls = calls.iter().map(|call| call.arguments.len());
            text.len() + calls.sum::<usize>()
        }
    }
}

/// Returns a new id that nobody can guess.
fn new_id() -> Result<String, StoreError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(format!("run_{}", hex::encode(id)))
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Agents").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AgentsParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AgentsParts")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
