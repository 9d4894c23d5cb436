//! The models and the lanes that serve them.
//!
//! Owns the routes (`route`) and the handles of the lanes. It exists so that the HTTP surface does not know lanes and a lane
//! does not know the others: a call goes from one lane to the next here (`call`), before the first byte. `apply` changes the lanes and the
//! models while calls are served.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use kebne_accounts::Accounts;
use kebne_actors::{ActorRef, ActorReport, ActorSystem, Props, Spawn};
use kebne_agents::Agents;
use kebne_answer_cache::AnswerCache;
use kebne_collections::Collections;
use kebne_context::{ContextHandle, Keyring, Memorizer, prompts::PromptStore};
use kebne_control::LaneState;
use kebne_jobs::Jobs;
use kebne_lane::{Ending, LaneSnapshot, Service};
use kebne_monitor::{GetMemory, Monitor};
use kebne_retrieval::Embedder;
use kebne_servers::{ServerReport, Servers};
use serde::Serialize;

#[cfg(feature = "lab")]
use crate::backend::{ModelBackend, SimulatedBackend};
use crate::{
    cost::Prices,
    current::Current,
    decisions::Decisions,
    learned::Learned,
    memory::ByteBudget,
    settings::{BackendKind, Environment, Settings},
    sharing::Sharing,
    supervisor::Supervisor,
};

mod accounts;
mod affinity;
mod agents;
mod apply;
mod balancer;
pub mod behalf;
mod cache;
mod call;
mod check;
mod collections;
mod context;
mod embedder;
mod error;
mod fallbacks;
mod health;
mod hooks;
pub mod inner;
mod jobs;
mod lane;
#[cfg(feature = "mcp")]
pub(crate) mod mcp;
mod memorizer;
mod operate;
pub(crate) mod owned;
mod placement;
mod prompts;
mod refusals;
mod restarts;
mod route;
mod sharing;
mod table;
mod threads;
mod unfit;

pub use apply::Applied;
pub use call::GatewayReply;
pub use check::check;
pub use error::{GatewayError, StartError};
pub use fallbacks::FallbackCount;
pub use health::HealthReport;
pub use refusals::RefusalCounts;
pub use sharing::ShareReport;

use behalf::{Behalf, Payers};
pub(crate) use context::keyring_of;
use context::{context_parts, master_key};
use embedder::LaneEmbedder;
use fallbacks::Fallbacks;
use inner::InnerCounts;
use lane::Lane;
use refusals::Refusals;
use restarts::Restarts;
use table::Table;
use threads::Threads;

/// The time within which the monitor must answer; it has nothing else to do.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(1);

/// The models and the lanes behind them; clones share both.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

/// A handle of a gateway that does not keep it alive, for what the gateway itself holds.
#[derive(Clone, Debug)]
pub struct WeakGateway(Weak<Inner>);

struct Inner {
    system: ActorSystem,
    supervisor: ActorRef<Supervisor>,
    context: ContextHandle,
    /// The keys that wrap the keys of tenants; `None` without encryption.
    master_key: Option<Keyring>,
    prompts: PromptStore,
    /// Has sessions summarized, if a model is set for it.
    memorizer: Option<Memorizer>,
    collections: Collections,
    jobs: Jobs,
    agents: Agents,
    answer_cache: AnswerCache,
    embedder: Arc<dyn Embedder>,
    /// The same one, if it is a model that is asked.
    lane_embedder: Option<LaneEmbedder>,
    accounts: Accounts,
    /// The servers that this process starts and stops.
    servers: Servers,
    /// The leases of shared backends; `None` if this gateway is alone.
    sharing: Option<Sharing>,
    /// What MCP servers share.
    #[cfg(feature = "mcp")]
    mcp: mcp::Mcp,
    /// Raises alerts about all of this.
    monitor: ActorRef<Monitor>,
    /// The threads that the lanes run on; stopped after the actors.
    threads: Threads,
    /// The thread of the accountant, which waits for its file; none without keys.
    accountant_thread: Mutex<Option<actix_rt::ArbiterHandle>>,
    table: Current<Table>,
    /// Held while the table changes.
    applying: tokio::sync::Mutex<()>,
    /// The lanes that were started so far.
    lanes_started: AtomicUsize,
    /// The lanes that are no longer wanted and serve their last calls.
    retired: Mutex<Vec<Arc<Lane>>>,
    /// The memory of large answers, shared by all backends.
    answers: ByteBudget,
    /// The prices of models.
    prices: Current<Prices>,
    /// Those who pay for work in the background; set once the service has them.
    payers: OnceLock<Arc<dyn Payers>>,
    /// The file for what the lanes learn, if they are to remember it.
    learned: Option<Mutex<Learned>>,
    /// What operators have decided about backends.
    decisions: Decisions,
    /// The service is about to stop.
    leaving: AtomicBool,
    restarts: Restarts,
    fallbacks: Fallbacks,
    refusals: Refusals,
    /// What the gateway itself has asked models.
    own_calls: InnerCounts,
}

/// The gateway as `/state` shows it.
#[derive(Debug, Serialize)]
pub struct GatewaySnapshot {
    /// Every living actor.
    pub actors: Vec<ActorReport>,
    /// Messages that were not delivered (dead letters).
    pub dead_letters: u64,
    /// The lanes. One whose actors do not answer has its last known numbers.
    pub lanes: Vec<LaneSnapshot>,
    /// Restarts of actors since the start, by kind.
    pub restarts: BTreeMap<&'static str, u64>,
    /// Calls that left a backend for another one of their model.
    pub fallbacks: Vec<FallbackCount>,
    /// What the health checks have found.
    pub health: Vec<HealthReport>,
    /// The servers that this process starts and stops.
    pub servers: Vec<ServerReport>,
    /// The leases of shared backends.
    pub shares: Vec<ShareReport>,
}

impl WeakGateway {
    /// Returns the gateway, if it has not stopped.
    pub fn upgrade(&self) -> Option<Gateway> {
        let inner = self.0.upgrade()?;
        Some(Gateway { inner })
    }
}

/// Returns the props of the monitor, which goes on with what an earlier process knew.
fn monitor(settings: &Settings, learned: Option<&Learned>) -> Props<Monitor> {
    let memory = learned.map(|learned| learned.monitor(&settings.backends));
    Monitor::props(
        settings.alerts.rules.clone(),
        settings.alerts.actions.clone(),
        memory.unwrap_or_default(),
    )
}

impl Gateway {
    /// Starts the actors that the settings describe; each lane on a thread of its own, as far as there are
    /// cores.
    ///
    /// # Errors
    /// Returns an error if a backend cannot be made of its settings, or sessions cannot be kept.
    pub async fn start(
        settings: &Settings,
        environment: &dyn Environment,
    ) -> Result<Self, StartError> {
        let context = context_parts(settings, environment)?;
        let master_key = master_key(settings, environment)?;
        let prompts = prompts::store(settings, master_key.as_ref())?;
        let system = ActorSystem::new("kebne", fastrand::u64(..));
        let restarts = Restarts::of(&system);
        let supervisor = Supervisor::spawn(&system);
        let clock = Arc::clone(&context.clock);
        let context = ContextHandle::start_under(&supervisor, context).await?;
        let sessions = (context.clone(), clock);
        let memorizer = memorizer::start(&supervisor, &settings.context, sessions).await?;
        let (memorizer, summarizer) = memorizer.unzip();
        let (embedder, lane_embedder) = embedder::new(&settings.embedder);
        let collections =
            collections::start(&supervisor, settings, environment, Arc::clone(&embedder)).await?;
        let jobs = jobs::start(&supervisor, settings, environment)?;
        let agents = agents::start(&supervisor, settings, environment)?;
        let answer_cache = cache::start(&supervisor, settings, environment)?;
        let learned = Learned::open(&settings.server.learned_path);
        let monitor = monitor(settings, learned.as_ref());
        let monitor = Spawn::ask(&supervisor, monitor, "monitor").await?;
        let servers = Servers::start_under(&supervisor).await?;
        let decisions = operate::decisions(&supervisor, settings).await;
        let gateway = Self {
            inner: Arc::new(Inner {
                system,
                supervisor,
                context,
                master_key,
                prompts,
                memorizer,
                collections,
                jobs,
                agents,
                answer_cache,
                embedder,
                lane_embedder,
                accounts: accounts::new(settings, environment)?,
                servers,
                sharing: Sharing::open(settings, environment)?,
                #[cfg(feature = "mcp")]
                mcp: mcp::start(settings),
                monitor,
                threads: Threads::default(),
                accountant_thread: Mutex::default(),
                table: Current::default(),
                applying: tokio::sync::Mutex::default(),
                lanes_started: AtomicUsize::new(0),
                retired: Mutex::default(),
                answers: ByteBudget::new(settings.server.answers_size_max.as_usize()),
                prices: Current::new(Prices::new(settings)),
                payers: OnceLock::new(),
                learned: learned.map(Mutex::new),
                decisions,
                leaving: AtomicBool::new(false),
                restarts,
                fallbacks: Fallbacks::default(),
                refusals: Refusals::default(),
                own_calls: InnerCounts::default(),
            }),
        };
        gateway.connect_embedder();
        if let Some(summarizer) = summarizer {
            summarizer.connect(gateway.downgrade());
        }
        gateway.start_accounts(settings).await?;
        gateway.follow_servers();
        gateway.apply(settings, environment).await?;
        Ok(gateway)
    }

    /// Has the embedder ask the models of this gateway.
    fn connect_embedder(&self) {
        if let Some(embedder) = &self.inner.lane_embedder {
            embedder.connect(self.downgrade());
        }
    }

    /// Returns the lanes and the models as they are now.
    fn table(&self) -> Arc<Table> {
        self.inner.table.get()
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        let retired = self.inner.retired.lock();
        retired.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all lanes that may hold calls: those of the table, and those that serve their last calls.
    fn all_lanes(&self) -> Vec<Arc<Lane>> {
        let mut lanes = self.table().lanes.clone();
        lanes.extend(self.retired().iter().cloned());
        lanes
    }

    fn lane(&self, backend: &str) -> Result<Arc<Lane>, GatewayError> {
        let table = self.table();
        let lane = table.lane(backend).cloned();
        lane.ok_or_else(|| GatewayError::UnknownBackend(backend.to_owned()))
    }

    /// Returns the simulated model of a backend; `None` if there is no such backend, or it is not simulated.
    #[cfg(feature = "lab")]
    pub fn simulated(&self, backend: &str) -> Option<Arc<SimulatedBackend>> {
        match &*self.lane(backend).ok()?.backend {
            ModelBackend::Simulated(model) => Some(Arc::clone(model)),
            _ => None,
        }
    }

    /// Blocks the thread of a lane for this long, as an error in the program would. Returns `false` if there is no such lane.
    #[cfg(feature = "lab")]
    pub fn block(&self, backend: &str, time: Duration) -> bool {
        let table = self.table();
        let blocks = async move { std::thread::sleep(time) };
        table
            .lane(backend)
            .is_some_and(|lane| lane.thread.spawn(blocks))
    }

    /// Returns what the gateway itself has asked models.
    pub fn inner_counts(&self) -> &InnerCounts {
        &self.inner.own_calls
    }

    /// Returns a handle that does not keep the gateway alive.
    pub fn downgrade(&self) -> WeakGateway {
        WeakGateway(Arc::downgrade(&self.inner))
    }

    /// Returns the embedder of collections, cache and routes. Nobody pays for what it embeds.
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.inner.embedder
    }

    /// Returns the embedder as it embeds on somebody's behalf.
    pub fn embedder_for(&self, behalf: &Behalf) -> Arc<dyn Embedder> {
        match &self.inner.lane_embedder {
            Some(embedder) => Arc::new(embedder.on_behalf(behalf.clone())),
            None => Arc::clone(&self.inner.embedder),
        }
    }

    /// Returns the sessions.
    pub fn context(&self) -> &ContextHandle {
        &self.inner.context
    }

    /// Returns the keys that wrap the keys of tenants; `None` without encryption.
    pub fn master_key(&self) -> Option<&Keyring> {
        self.inner.master_key.as_ref()
    }

    /// Returns the store of prompts.
    pub fn prompts(&self) -> &PromptStore {
        &self.inner.prompts
    }

    /// Returns what has sessions summarized; `None` if no model is set for it.
    pub fn memorizer(&self) -> Option<&Memorizer> {
        self.inner.memorizer.as_ref()
    }

    /// Returns the collections of documents.
    pub fn collections(&self) -> &Collections {
        &self.inner.collections
    }

    /// Returns the jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.inner.jobs
    }

    /// Returns the agents.
    pub fn agents(&self) -> &Agents {
        &self.inner.agents
    }

    /// Returns the store of kept answers.
    pub fn answer_cache(&self) -> &AnswerCache {
        &self.inner.answer_cache
    }

    /// Returns the accounts of keys.
    pub fn accounts(&self) -> &Accounts {
        &self.inner.accounts
    }

    /// Returns the actor that raises alerts.
    pub fn monitor(&self) -> &ActorRef<Monitor> {
        &self.inner.monitor
    }

    /// Returns the names of all lanes.
    pub fn lane_names(&self) -> Vec<String> {
        let table = self.table();
        let names = table.lanes.iter().map(|lane| lane.name().to_owned());
        names.collect()
    }

    /// Returns the prices of models.
    pub fn prices(&self) -> Arc<Prices> {
        self.inner.prices.get()
    }

    /// Returns the memory of large answers.
    pub fn answers(&self) -> &ByteBudget {
        &self.inner.answers
    }

    /// Returns `true` if some lane may serve: not all of them are broken, closed or drained.
    pub fn is_ready(&self) -> bool {
        let table = self.table();
        let mut lanes = table.lanes.iter();
        lanes.any(|lane| {
            lane.handle.state() != LaneState::Open && lane.handle.service() == Service::Open
        })
    }

    /// Returns the whole tree, for `/state`.
    pub async fn snapshot(&self) -> GatewaySnapshot {
        let table = self.table();
        let snapshots = table.lanes.iter().map(|lane| lane.handle.snapshot());
        let lanes = futures_util::future::join_all(snapshots).await;
        let shares = table.lanes.iter().zip(&lanes);
        let shares = shares
            .filter_map(|(lane, snapshot)| lane.share(snapshot))
            .collect();
        GatewaySnapshot {
            actors: self.inner.system.tree(),
            dead_letters: self.inner.system.dead_letters(),
            lanes,
            restarts: self.inner.restarts.by_kind(),
            fallbacks: self.inner.fallbacks.counts(),
            health: table
                .lanes
                .iter()
                .filter_map(|lane| lane.health())
                .collect(),
            servers: self.inner.servers.reports().await,
            shares,
        }
    }

    /// Returns the calls that each lane refused since the start, by reason code.
    pub fn refusals(&self) -> RefusalCounts {
        self.inner.refusals.counts()
    }

    /// Writes down what the lanes and the monitor have learned, if that is wanted and there is something new. A file that
    /// cannot be written is logged: calls do not depend on it.
    pub async fn remember(&self) {
        let Some(learned) = &self.inner.learned else {
            return;
        };
        let lanes = self.table().lanes.clone();
        let memory = self.inner.monitor.ask(GetMemory, MEMORY_TIMEOUT).await;
        let load_times = self.inner.servers.load_times().await;
        let mut learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in &lanes {
            if let Some(snapshot) = lane.handle.learned() {
                learned.note(&lane.settings, snapshot);
            }
        }
        learned.note_servers(load_times);
        // Without an answer, what is known of the monitor stays.
        if let Ok(memory) = memory {
            learned.note_monitor(memory);
        }
        if let Err(error) = learned.write() {
            let path = learned.path().display();
            tracing::warn!(%path, %error, "what was learned cannot be written");
        }
    }

    /// Takes note of what a lane has learned, if that is wanted.
    fn note_learned(&self, lane: &Lane) {
        let learned = self.inner.learned.as_ref();
        if let Some((learned, snapshot)) = learned.zip(lane.handle.learned()) {
            let mut learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.note(&lane.settings, snapshot);
        }
    }

    /// Marks the service as about to stop: calls are still served, and it does not count as ready.
    pub fn leave(&self) {
        self.inner.leaving.store(true, SeqCst);
    }

    /// Returns `true` once the service is about to stop.
    pub fn is_leaving(&self) -> bool {
        self.inner.leaving.load(SeqCst)
    }

    /// Refuses new calls from now on.
    pub async fn drain(&self) {
        // Nobody waits for summaries, so that the end does not wait for them either.
        if let Some(memorizer) = &self.inner.memorizer {
            memorizer.stop();
        }
        self.inner.jobs.drain();
        self.inner.agents.drain();
        let (agents, others) = self.lanes_by_kind();
        drain(&agents).await;
        // The runs that callers wait for make calls of their own until their end.
        if agents.iter().all(|lane| lane.handle.live() == 0) {
            drain(&others).await;
        }
    }

    /// Waits until no lane holds a call, after [`Gateway::drain`].
    pub async fn when_idle(&self) {
        let (agents, others) = self.lanes_by_kind();
        for lane in &agents {
            lane.handle.when_idle().await;
        }
        drain(&others).await;
        for lane in &others {
            lane.handle.when_idle().await;
        }
    }

    /// Returns the lanes of agents, and all others.
    fn lanes_by_kind(&self) -> (Vec<Arc<Lane>>, Vec<Arc<Lane>>) {
        let lanes = self.all_lanes().into_iter();
        lanes.partition(|lane| lane.settings.kind == BackendKind::Agent)
    }

    /// Returns how many calls were cut off, including those that are not over yet although their connections were closed.
    pub fn drained(&self) -> usize {
        let lanes = self.all_lanes();
        let counts = lanes.iter().map(|lane| lane.handle.endings());
        let drained: u64 = counts
            .map(|counts| counts.of(Ending::Drained) + counts.live())
            .sum();
        usize::try_from(drained).unwrap_or(usize::MAX)
    }

    /// Gives up every call that is left; returns how many were waiting or in flight.
    pub async fn cut_off(&self) -> usize {
        let lanes = self.all_lanes();
        drain(&lanes).await;
        let lanes = lanes.iter().map(|lane| lane.handle.cut_off());
        let cut = futures_util::future::join_all(lanes).await;
        cut.into_iter().sum()
    }

    /// Stops all actors and their threads.
    pub async fn terminate(&self) {
        self.inner.system.terminate().await;
        self.inner.threads.stop();
        self.inner.collections.stop();
        self.inner.jobs.stop();
        self.inner.agents.stop();
        self.inner.answer_cache.stop();
        let accountant = self.inner.accountant_thread.lock();
        if let Some(thread) = accountant.unwrap_or_else(PoisonError::into_inner).take() {
            thread.stop();
        }
    }
}

/// Has lanes refuse new calls.
async fn drain(lanes: &[Arc<Lane>]) {
    let lanes = lanes.iter().map(|lane| lane.handle.drain());
    futures_util::future::join_all(lanes).await;
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gateway")
            .field("models", &self.table().models)
            .finish_non_exhaustive()
    }
}
