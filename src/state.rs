//! What all requests share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

use kebne_collections::Collections;
use kebne_context::{ContextHandle, prompts::Prompts};

#[cfg(feature = "otel")]
use crate::telemetry::Telemetry;
use crate::{
    bodies::Bodies,
    caller::{Callers, SETTINGS_PREFIX},
    conversations::Conversations,
    cost::Prices,
    current::Current,
    gateway::{Applied, Gateway},
    guards::Guards,
    live::{Live, Seen},
    metrics::Metrics,
    objects::Objects,
    off_loop::OffLoop,
    page::Page,
    record::CallRecord,
    reload::{Reloader, Requests},
    request_log,
    settings::{ContextSettings, ServerSettings, Settings},
    shares::Shares,
    tally::Tally,
    tls::Certificates,
    trace_context::TraceContext,
};

/// What all requests share.
#[derive(Debug)]
pub struct State {
    /// The models.
    pub gateway: Gateway,
    /// The callers that the keys name.
    pub callers: Arc<Callers>,
    /// The prices of models.
    pub prices: Current<Prices>,
    /// The service's settings.
    pub settings: Current<ServerSettings>,
    /// The sessions.
    pub context: ContextHandle,
    /// The collections of documents.
    pub collections: Collections,
    /// The responses that are kept.
    pub conversations: Conversations,
    /// The files and batches that backends hold.
    pub objects: Objects,
    /// The sessions' settings.
    pub context_settings: ContextSettings,
    /// The prompts.
    pub prompts: Current<Prompts>,
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
    /// Asks for the settings to be read again.
    pub reloader: Reloader,
    /// The certificate of the service; `None` without TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// The files of the live page.
    pub page: Page,
    /// The traces of calls, if they are sent anywhere.
    #[cfg(feature = "otel")]
    pub telemetry: Option<Telemetry>,
    /// When the service started.
    pub started: Instant,
    draining: AtomicBool,
}

impl State {
    /// Creates the state of a service that is about to start, and the requests of its reloader.
    pub(crate) fn new(gateway: Gateway, settings: &Settings) -> (Self, Requests) {
        let (reloader, requests) = Reloader::new();
        let prices = Prices::new(settings);
        let callers = Arc::new(Callers::new(&settings.server.keys, gateway.accounts()));
        let stored = Arc::clone(&callers);
        gateway
            .accounts()
            .on_keys(move |keys| stored.set_stored(keys));
        let live = Live::new(settings);
        let lanes = settings.backends.iter().map(|backend| &*backend.name);
        let state = Self {
            metrics: Metrics::new(&gateway, &prices),
            conversations: Conversations::new(gateway.context().clone(), &settings.context),
            objects: Objects::new(gateway.context().clone()),
            context: gateway.context().clone(),
            collections: gateway.collections().clone(),
            gateway,
            callers,
            settings: Current::new(settings.server.clone()),
            prices: Current::new(prices),
            context_settings: settings.context.clone(),
            prompts: Current::new(Prompts::new(&settings.prompts)),
            guards: Current::default(),
            bodies: Bodies::new(&settings.server),
            off_loop: OffLoop::new(),
            tally: Tally::new(lanes, &live.models()),
            shares: Shares::default(),
            live,
            reloader,
            certificates: None,
            page: Page::default(),
            #[cfg(feature = "otel")]
            telemetry: None,
            started: Instant::now(),
            draining: AtomicBool::new(false),
        };
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
        let prices = Prices::new(settings);
        self.metrics.change(&self.gateway, &prices);
        self.live.change_keys(settings);
        self.prices.replace(prices);
        self.prompts.replace(Prompts::new(&settings.prompts));
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

    /// Hands the record of an ended call to its readers. It is called exactly once for each call.
    pub fn call_ended(&self, record: &CallRecord) {
        self.metrics.call_ended(record);
        self.live.ended(&record.key, &record.consumed);
        self.tally.call_ended(record);
        if let Some(answered) = record.trail.answered {
            let time = answered.saturating_duration_since(record.opened);
            self.live.first_token(record.lane(), time);
        }
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
            budgets: self.fullest_budgets(),
        };
        self.live.take(seen);
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

    /// Marks the service as stopping.
    pub fn drain(&self) {
        self.draining.store(true, SeqCst);
    }
}
