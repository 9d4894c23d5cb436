//! What all requests share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

use kebne_agents::Agents;
use kebne_collections::Collections;
use kebne_context::{
    ContextHandle, Memorizer, MemoryCounts,
    prompts::{PromptStoreError, Prompts},
};
use kebne_jobs::Jobs;
use kebne_wire::NativeApi;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "broker")]
use crate::consume::Consumer;
#[cfg(feature = "otel")]
use crate::telemetry::Telemetry;
use crate::{
    agent_specs::AgentSpecs,
    answer_cache::Cache,
    bodies::Bodies,
    caller::{Callers, SETTINGS_PREFIX},
    conversations::Conversations,
    current::Current,
    events::Events,
    fence::Fence,
    function_events::FunctionEvents,
    gateway::{Applied, Gateway, behalf::Payers},
    guards::Guards,
    live::{Live, Seen},
    metrics::{McpReadings, Metrics},
    model_tools::ModelTools,
    objects::Objects,
    off_loop::OffLoop,
    page::Page,
    prompt_calls::PromptCalls,
    recall::Recall,
    record::CallRecord,
    reload::{Reloader, Requests},
    request_log,
    retrieval::Retrieval,
    routes::Routes,
    settings::{ContextSettings, McpSettings, PromptSettings, ServerSettings, Settings},
    shares::Shares,
    tally::Tally,
    tls::Certificates,
    tool_loops::ToolLoops,
    trace_context::TraceContext,
};

/// What all requests share.
#[derive(Debug)]
pub struct State {
    /// The models.
    pub gateway: Gateway,
    /// The callers that the keys name.
    pub callers: Arc<Callers>,
    /// The rules of searches in calls.
    pub retrieval: Current<Retrieval>,
    /// The service's settings.
    pub settings: Current<ServerSettings>,
    /// The sessions.
    pub context: ContextHandle,
    /// The collections of documents.
    pub collections: Collections,
    /// The jobs.
    pub jobs: Jobs,
    /// The agents.
    pub agents: Agents,
    /// The agents of the settings.
    pub agent_specs: AgentSpecs,
    /// The kept answers.
    pub cache: Cache,
    /// The responses that are kept.
    pub conversations: Conversations,
    /// The files and batches that backends hold.
    pub objects: Objects,
    /// The sessions' settings.
    pub context_settings: ContextSettings,
    /// The settings of the endpoint `/mcp`.
    pub mcp_settings: Current<McpSettings>,
    /// The tools that the gateway calls for calls of models.
    pub model_tools: Current<ModelTools>,
    /// The calls for which it has called tools.
    pub tool_loops: Arc<ToolLoops>,
    /// The search in the turns of sessions.
    pub recall: Recall,
    /// The prompts of the settings and of the store.
    pub prompts: Current<Prompts>,
    /// The prompts of the settings.
    prompt_settings: Current<Vec<PromptSettings>>,
    /// The calls with prompts, counted by version.
    pub prompt_calls: PromptCalls,
    /// The routes.
    pub routes: Routes,
    /// The numbers of the marks around texts that prompts quote.
    pub fence: Fence,
    /// The checks on what models are asked and what they answer.
    pub guards: Current<Guards>,
    /// The memory of request bodies.
    pub bodies: Bodies,
    /// The threads for work that takes long.
    pub off_loop: OffLoop,
    /// What the alerts need of ended calls.
    pub tally: Tally,
    /// The factors of the weights of keys.
    pub shares: Shares,
    /// What is counted.
    pub metrics: Metrics,
    /// What the live page shows.
    pub live: Live,
    /// What is told to those who follow the gateway.
    pub events: Events,
    /// Delivers events to functions; set before requests are served.
    pub function_events: std::sync::OnceLock<FunctionEvents>,
    /// Asks for the settings to be read again.
    pub reloader: Reloader,
    /// The certificate of the service; `None` without TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// The files of the live page.
    pub page: Page,
    /// The traces of calls, if they are sent anywhere.
    #[cfg(feature = "otel")]
    pub telemetry: Option<Telemetry>,
    /// What takes calls from a broker.
    #[cfg(feature = "broker")]
    consumer: std::sync::OnceLock<Consumer>,
    /// When the service started.
    pub started: Instant,
    draining: AtomicBool,
    /// Cancelled when the service stops, for work that nobody waits for.
    pub closing: CancellationToken,
}

impl State {
    /// Creates the state of a service that is about to start, and the requests of its reloader.
    pub(crate) fn new(gateway: Gateway, settings: &Settings) -> (Self, Requests) {
        let (reloader, requests) = Reloader::new();
        let callers = Arc::new(Callers::new(&settings.server.keys, gateway.accounts()));
        let stored = Arc::clone(&callers);
        gateway.paid_by(Arc::clone(&callers) as Arc<dyn Payers>);
        gateway
            .accounts()
            .on_keys(move |keys| stored.set_stored(keys));
        let live = Live::new(settings);
        let lanes = settings.backends.iter().map(|backend| &*backend.name);
        let off_loop = OffLoop::new();
        let searched = gateway.context().clone();
        let recall = Recall::new(&settings.context.memory, searched, off_loop.clone());
        let state = Self {
            metrics: Metrics::new(&gateway, &gateway.prices()),
            conversations: Conversations::new(gateway.context().clone(), &settings.context),
            objects: Objects::new(gateway.context().clone()),
            context: gateway.context().clone(),
            collections: gateway.collections().clone(),
            jobs: gateway.jobs().clone(),
            agents: gateway.agents().clone(),
            agent_specs: AgentSpecs::new(settings),
            cache: Cache::new(gateway.answer_cache().clone(), settings),
            gateway,
            callers,
            settings: Current::new(settings.server.clone()),
            retrieval: Current::new(Retrieval::new(settings)),
            context_settings: settings.context.clone(),
            mcp_settings: Current::new(settings.mcp.clone()),
            model_tools: Current::new(ModelTools::new(settings)),
            tool_loops: Arc::default(),
            recall,
            prompts: Current::default(),
            prompt_settings: Current::new(settings.prompts.clone()),
            prompt_calls: PromptCalls::default(),
            routes: Routes::default(),
            fence: Fence::random(),
            guards: Current::default(),
            bodies: Bodies::new(&settings.server),
            off_loop,
            tally: Tally::new(lanes, &live.models()),
            shares: Shares::default(),
            live,
            events: Events::none(),
            function_events: std::sync::OnceLock::new(),
            reloader,
            certificates: None,
            page: Page::default(),
            #[cfg(feature = "otel")]
            telemetry: None,
            #[cfg(feature = "broker")]
            consumer: std::sync::OnceLock::new(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            closing: CancellationToken::new(),
        };
        state.prompts_changed();
        state.routes.change(settings, &state.gateway);
        (state, requests)
    }

    /// Takes note of lanes that have come or gone.
    pub fn lanes_changed(&self, settings: &Settings, applied: &Applied) {
        self.live.change(settings, &applied.retired);
        let names = || settings.backends.iter().map(|one| one.name.as_str());
        self.tally.keep(names(), &self.live.models());
        let retired = applied.retired.iter();
        let gone = retired.filter(|lane| !names().any(|name| name == lane.as_str()));
        self.metrics.lanes_gone(gone);
    }

    /// Has requests from now on follow other settings, whose lanes the gateway has.
    pub async fn change(&self, settings: &Settings, applied: &Applied) {
        self.settings.replace(settings.server.clone());
        let size_max = settings.server.body_size_max.as_usize();
        self.bodies.set_size_max(size_max);
        self.metrics.change(&self.gateway, &self.gateway.prices());
        self.live.change_keys(settings);
        self.retrieval.replace(Retrieval::new(settings));
        self.mcp_settings.replace(settings.mcp.clone());
        self.model_tools.replace(ModelTools::new(settings));
        self.cache.change(settings);
        self.prompt_settings.replace(settings.prompts.clone());
        self.prompts_changed();
        self.routes.change(settings, &self.gateway);
        self.agent_specs.change(settings);
        let accounts = self.gateway.accounts();
        accounts.change(settings.accounts.clone());
        self.callers.set_keys(&settings.server.keys);
        // The groups of stored keys may be others now.
        if accounts.is_started()
            && let Err(error) = accounts.announce_keys().await
        {
            tracing::warn!(%error, "the groups of stored keys follow their next change");
        }
        let missing = accounts.missing_groups();
        if !missing.is_empty() {
            tracing::warn!(
                ?missing,
                "stored keys or groups belong to groups that the settings do not have any more, whose limits do not hold"
            );
        }
        self.lanes_changed(settings, applied);
    }

    /// Compiles the prompts of the settings and of the store anew.
    pub fn prompts_changed(&self) {
        let store = self.gateway.prompts();
        // Read before the prompts: if they are read in between, the next change takes note of it.
        let unread = store.health().unread;
        let prompts = Prompts::with_stored(&self.prompt_settings.get(), &store.stored());
        self.prompts.replace(prompts.unread(unread));
    }

    /// Reads the stored prompts if they have not been read since the start.
    ///
    /// # Errors
    /// Returns an error if they still cannot be read.
    pub async fn read_prompts(&self) -> Result<(), PromptStoreError> {
        if self.gateway.prompts().health().unread {
            return self.read_prompts_again().await;
        }
        Ok(())
    }

    /// Reads the stored prompts again if their store has failed.
    ///
    /// # Errors
    /// As [`State::read_prompts`]; prompts that were read before stay.
    pub async fn read_prompts_again(&self) -> Result<(), PromptStoreError> {
        let store = self.gateway.prompts();
        match store.read_again().await {
            Ok(true) => self.prompts_changed(),
            Ok(false) => {}
            Err(error) if store.health().unread => return Err(error),
            Err(error) => tracing::debug!(%error, "the last stored prompts are used"),
        }
        Ok(())
    }

    /// Hands the record of an ended call to its readers. It is called exactly once for each call.
    pub fn call_ended(&self, record: &CallRecord) {
        self.metrics.call_ended(record);
        self.cache.counts.call_ended(record);
        self.live.ended(&record.key, &record.consumed);
        if record.steps.is_some() {
            self.live.steps(record.steps());
        }
        self.tally.call_ended(record);
        if let Some(answered) = record.trail.answered {
            let time = answered.saturating_duration_since(record.opened);
            self.live.first_token(record.lane(), time);
        }
        if let Some(prompt) = &record.prompt {
            self.prompt_calls.count(&prompt.chosen, record);
            self.gateway.prompts().note(prompt.note(&record.id));
        }
        self.events
            .call_ended(record, self.gateway.prices().currency());
        request_log::write(record);
        #[cfg(feature = "otel")]
        if let Some(telemetry) = &self.telemetry {
            telemetry.call_ended(record);
        }
    }

    /// Returns the span of a new call; `None` if this process sends no traces.
    #[cfg(feature = "otel")]
    pub fn begin_span(&self, caller: Option<TraceContext>) -> Option<TraceContext> {
        let telemetry = self.telemetry.as_ref()?;
        Some(telemetry.begin(caller))
    }

    /// Returns `None`: this build sends no traces.
    #[cfg(not(feature = "otel"))]
    pub fn begin_span(&self, _caller: Option<TraceContext>) -> Option<TraceContext> {
        None
    }

    /// Returns `true` if a backend of a model, or of a model of a route, speaks a dialect itself.
    pub fn speaks(&self, name: &str, api: NativeApi) -> bool {
        match self.routes.of(name) {
            Some(route) => route
                .router()
                .models()
                .any(|model| self.gateway.speaks(model, api)),
            None => self.gateway.speaks(name, api),
        }
    }

    /// Returns `true` if the service is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(SeqCst)
    }

    /// Takes a sample for the live view.
    pub async fn sample(&self) {
        let seen = Seen {
            gateway: self.gateway.snapshot().await,
            draining: self.is_draining(),
            uptime: self.started.elapsed(),
            store: self.context.health(),
            store_failures: self.context.store_failures(),
            memory: self.gateway.memorizer().map(Memorizer::counts),
            budgets: self.fullest_budgets(),
            spent: self.gateway.inner_counts().spent(),
            cache: self.cache.sample(),
            routes: self.routes.counts().decisions(),
            index_bytes: self.collections.index_bytes(),
        };
        self.live.take(seen);
    }

    /// Returns the MCP servers as operators see them.
    #[cfg(feature = "mcp")]
    pub fn mcp_servers(&self) -> serde_json::Value {
        serde_json::to_value(self.gateway.mcp_reports()).unwrap_or_default()
    }

    /// Returns what the metrics have of MCP servers.
    #[cfg(feature = "mcp")]
    pub fn mcp_readings(&self) -> Vec<McpReadings> {
        let reports = self.gateway.mcp_reports().into_iter();
        reports
            .map(|report| {
                let held = report.tools.iter().filter(|tool| tool.held).count();
                McpReadings {
                    server: report.name.into(),
                    is_up: report.state == "up",
                    offered: report.tools.len() - held,
                    held,
                }
            })
            .collect()
    }

    /// Returns nothing: this build has no MCP servers.
    #[cfg(not(feature = "mcp"))]
    pub fn mcp_readings(&self) -> Vec<McpReadings> {
        Vec::new()
    }

    /// Returns null: this build has no MCP servers.
    #[cfg(not(feature = "mcp"))]
    pub fn mcp_servers(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Returns the counts of the work on the memory of sessions.
    pub fn memory_counts(&self) -> MemoryCounts {
        let memorizer = self.gateway.memorizer();
        memorizer.map(Memorizer::counts).unwrap_or_default()
    }

    /// Returns of each key with budgets the part of its fullest one that is used or reserved, in thousandths.
    fn fullest_budgets(&self) -> BTreeMap<Arc<str>, u64> {
        let accounts = self.gateway.accounts();
        let stored = accounts.keys();
        let fullest = accounts.views().into_iter().filter_map(|(account, view)| {
            let of_settings = account.strip_prefix(SETTINGS_PREFIX);
            let name = of_settings.or_else(|| Some(stored.get(&*account)?.spec.name.as_str()))?;
            let parts = view.budgets.iter().map(|budget| budget.used_permille);
            Some((name.into(), parts.max()?))
        });
        fullest.collect()
    }

    /// Sets what takes calls from a broker, once.
    #[cfg(feature = "broker")]
    pub(crate) fn set_consumer(&self, consumer: Consumer) {
        let _is_first = self.consumer.set(consumer);
    }

    /// Returns what takes calls from a broker.
    #[cfg(feature = "broker")]
    pub fn consumer(&self) -> Option<&Consumer> {
        self.consumer.get()
    }

    /// Returns what was taken from a broker, as JSON; null if nothing is.
    #[cfg(feature = "broker")]
    pub fn consumed(&self) -> serde_json::Value {
        let report = self.consumer().map(Consumer::report);
        serde_json::to_value(report).unwrap_or_default()
    }

    /// Returns null: this build takes nothing from brokers.
    #[cfg(not(feature = "broker"))]
    pub fn consumed(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Marks the service as stopping.
    pub fn drain(&self) {
        self.draining.store(true, SeqCst);
        self.closing.cancel();
    }
}
