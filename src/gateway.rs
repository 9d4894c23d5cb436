//! From a model's name to the lanes that serve it.
//!
//! Owns the routes and the handles of the lanes. It exists so that the HTTP surface knows no lane and a lane does not know
//! the others: falling back from one to the next happens here, before the first byte and at the cost of a retry.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use kebne_actors::{ActorReport, ActorSystem};
use kebne_context::{ContextHandle, ContextParts, Secrets};
use kebne_control::{LaneState, Outcome};
use kebne_lane::{
    CallError, CallOptions, Ending, LaneBuilder, LaneHandle, LaneSnapshot, Prewarm, RefusalReason,
    Reply,
};
use kebne_wire::{NativeApi, splice::with_model};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    backend::{ModelBackend, wake},
    learned::Learned,
    llm::{ModelRequest, ModelResponse},
    memory::{ByteBudget, purge_while_idle},
    settings::{Api, BackendSettings, ContextSettings, Environment, NotUtf8, Settings},
    supervisor::Supervisor,
};

mod check;
mod error;
pub use check::check;
pub use error::{GatewayError, StartError};

/// The reason why an operator's lane is closed, in `/state`.
const CLOSED_BY_OPERATOR: &str = "closed by an operator";

/// The models and the lanes behind them; clones share both.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    system: ActorSystem,
    context: ContextHandle,
    /// The threads that the lanes run on; stopped after the actors.
    threads: Vec<actix_rt::ArbiterHandle>,
    lanes: Vec<Lane>,
    /// By model name and by alias.
    routes: BTreeMap<String, Arc<Route>>,
    /// Names in the order of the settings, aliases left out.
    models: Vec<String>,
    /// The file for what the lanes learn, if they are to remember it.
    learned: Option<Mutex<Learned>>,
    /// The service is about to stop.
    leaving: AtomicBool,
}

struct Lane {
    handle: LaneHandle<ModelBackend>,
    settings: BackendSettings,
}

/// Where a model's calls go, in order of preference.
struct Route {
    model: String,
    targets: Vec<Target>,
}

struct Target {
    lane: usize,
    /// What the backend calls the model, where that differs.
    upstream: Option<String>,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub struct GatewayReply {
    /// The answer, its guard included.
    pub reply: Reply<ModelResponse>,
    /// The lane that answered.
    pub lane: String,
    /// Attempts of all lanes that were tried.
    pub attempts: u32,
}

/// The gateway as `/state` shows it.
#[derive(Debug, Serialize)]
pub struct GatewaySnapshot {
    /// Every living actor.
    pub actors: Vec<ActorReport>,
    /// Messages that were not delivered (dead letters).
    pub dead_letters: u64,
    /// The lanes whose actors answered.
    pub lanes: Vec<LaneSnapshot>,
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
        let system = ActorSystem::new("kebne", fastrand::u64(..));
        let supervisor = Supervisor::spawn(&system);
        let context = ContextHandle::start_under(&supervisor, context).await?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads: Vec<_> = (0..cores.min(settings.backends.len()))
            .map(|_| actix_rt::Arbiter::new().handle())
            .collect();
        for thread in &threads {
            // An arbiter that has just started takes it.
            let _is_started = thread.spawn(async { match purge_while_idle().await {} });
        }
        let answers = ByteBudget::new(settings.server.answers_size_max.as_usize());
        let learned = Learned::open(&settings.server.learned_path);
        let mut lanes = Vec::new();
        for (backend_settings, thread) in settings.backends.iter().zip(threads.iter().cycle()) {
            let backend = ModelBackend::build(backend_settings, environment)?;
            let backend = Arc::new(backend.with_answer_budget(&answers));
            let limits = &backend_settings.limits;
            let (wake, wake_options) = wake::call(backend_settings, settings)?;
            let handle = LaneBuilder::new(backend_settings.name.as_str(), backend)
                .settings(limits.clone())
                .learned(
                    learned
                        .as_ref()
                        .and_then(|learned| learned.of(backend_settings)),
                )
                .wake_request(wake, wake_options)
                .on_arbiter(thread.clone())
                .start_under(&supervisor)
                .await
                .map_err(|error| StartError::Lane {
                    lane: backend_settings.name.clone(),
                    error,
                })?;
            lanes.push(Lane {
                handle,
                settings: backend_settings.clone(),
            });
        }
        let (routes, models) = routes(settings);
        let gateway = Self {
            inner: Arc::new(Inner {
                system,
                context,
                threads,
                lanes,
                routes,
                models,
                learned: learned.map(Mutex::new),
                leaving: AtomicBool::new(false),
            }),
        };
        gateway.prewarm_at_start().await;
        Ok(gateway)
    }

    /// Wakes the backends that are to be woken as the service starts. One that cannot be woken is logged: callers may still
    /// reach it.
    async fn prewarm_at_start(&self) {
        let lanes = self.inner.lanes.iter();
        for lane in lanes.filter(|lane| lane.settings.prewarm.at_start) {
            let backend = lane.handle.name();
            match lane.handle.prewarm().await {
                Ok(_) => tracing::info!(backend, "the backend is being woken"),
                Err(error) => tracing::warn!(backend, %error, "the backend was not woken"),
            }
        }
    }

    /// Wakes a backend before any caller asks; returns when that is decided, not when it is warm.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not let the wake call in.
    pub async fn prewarm(&self, backend: &str) -> Result<(Prewarm, LaneState), GatewayError> {
        let lane = self.lane(backend)?;
        let woken = lane.handle.prewarm().await;
        let woken = woken.map_err(|error| GatewayError::Prewarm {
            backend: backend.to_owned(),
            error,
        })?;
        Ok((woken, lane.handle.state()))
    }

    /// Closes a backend's lane: its calls fall back to the next backend of their model, or are refused. Returns `false` if
    /// it was closed already.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not answer.
    pub async fn close(&self, backend: &str) -> Result<bool, GatewayError> {
        let closed = self.lane(backend)?.handle.close(CLOSED_BY_OPERATOR).await;
        closed.map_err(|_| GatewayError::NoAnswer(backend.to_owned()))
    }

    /// Opens a backend's lane that is closed, with new actors. Returns `false` if it was not closed.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not answer.
    pub async fn reopen(&self, backend: &str) -> Result<bool, GatewayError> {
        let reopened = self.lane(backend)?.handle.reopen().await;
        reopened.map_err(|_| GatewayError::NoAnswer(backend.to_owned()))
    }

    fn lane(&self, backend: &str) -> Result<&Lane, GatewayError> {
        let mut lanes = self.inner.lanes.iter();
        lanes
            .find(|lane| lane.handle.name() == backend)
            .ok_or_else(|| GatewayError::UnknownBackend(backend.to_owned()))
    }

    /// Returns the sessions.
    pub fn context(&self) -> &ContextHandle {
        &self.inner.context
    }

    /// Returns the names of the models, in the order of the settings.
    pub fn models(&self) -> &[String] {
        &self.inner.models
    }

    /// Returns the model's own name for a name or an alias.
    pub fn canonical(&self, name: &str) -> Option<&str> {
        self.inner
            .routes
            .get(name)
            .map(|route| route.model.as_str())
    }

    /// Returns `true` if a backend of a model speaks a dialect itself.
    pub fn speaks(&self, model: &str, api: NativeApi) -> bool {
        let speaks = |target: &Target| {
            let lane = self.inner.lanes.get(target.lane);
            lane.is_some_and(|lane| lane.settings.speaks(api))
        };
        let route = self.inner.routes.get(model);
        route.is_some_and(|route| route.targets.iter().any(speaks))
    }

    /// Makes a call: through the first lane of the model that serves it.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub async fn call(
        &self,
        model: &str,
        request: ModelRequest,
        options: CallOptions,
    ) -> Result<GatewayReply, GatewayError> {
        let unknown = || GatewayError::UnknownModel(model.to_owned());
        let route = Arc::clone(self.inner.routes.get(model).ok_or_else(unknown)?);
        let due = Instant::now() + options.deadline;
        let mut before = 0;
        let mut targets = self.taking(&route, &request)?.into_iter().peekable();
        while let Some(target) = targets.next() {
            let Some(lane) = self.inner.lanes.get(target.lane) else {
                continue;
            };
            let request = match &target.upstream {
                Some(upstream) => with_model(&request, upstream),
                None if model == route.model => request.clone(),
                None => with_model(&request, &route.model),
            };
            let mut options = options.clone();
            options.deadline = due.saturating_duration_since(Instant::now());
            options.first_part_timeout = request
                .stream
                .then_some(lane.settings.limits.first_token_timeout.0);
            let name = lane.handle.name().to_owned();
            let error = match lane.handle.call(request, options).await {
                Ok(reply) => {
                    let attempts = before + reply.attempts();
                    return Ok(GatewayReply {
                        reply,
                        lane: name,
                        attempts,
                    });
                }
                Err(error) => error,
            };
            if targets.peek().is_none() || due <= Instant::now() || !falls_back(lane, &error).await
            {
                let cause = cause(&lane.handle, &error);
                return Err(GatewayError::Call {
                    lane: name,
                    error: Box::new(error),
                    cause,
                });
            }
            before += attempts(&error);
            tracing::debug!(lane = name, %error, "falling back to the model's next backend");
        }
        Err(unknown())
    }

    /// Returns the first backend that has an API.
    pub fn backend_with(&self, api: Api) -> Option<&str> {
        let mut lanes = self.inner.lanes.iter();
        let lane = lanes.find(|lane| lane.settings.apis.contains(&api))?;
        Some(lane.handle.name())
    }

    /// Returns `true` if a backend has an API.
    pub fn has(&self, backend: &str, api: Api) -> bool {
        let lane = self.lane(backend);
        lane.is_ok_and(|lane| lane.settings.apis.contains(&api))
    }

    /// Makes a call of an operation without a model.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub async fn call_backend(
        &self,
        backend: &str,
        request: ModelRequest,
        options: CallOptions,
    ) -> Result<GatewayReply, GatewayError> {
        let lane = self.lane(backend)?;
        match lane.handle.call(request, options).await {
            Ok(reply) => Ok(GatewayReply {
                attempts: reply.attempts(),
                reply,
                lane: backend.to_owned(),
            }),
            Err(error) => Err(GatewayError::Call {
                cause: cause(&lane.handle, &error),
                lane: backend.to_owned(),
                error: Box::new(error),
            }),
        }
    }

    /// Returns the targets of a route whose backends take the dialect and the inputs of a request.
    fn taking<'r>(
        &self,
        route: &'r Route,
        request: &ModelRequest,
    ) -> Result<Vec<&'r Target>, GatewayError> {
        let mut refused = None;
        let mut taking = Vec::with_capacity(route.targets.len());
        for target in &route.targets {
            let lane = self.inner.lanes.get(target.lane);
            let native = request.native.as_ref().filter(|native| native.is_required);
            let required = native.map(|native| native.api);
            if required.is_some_and(|api| !lane.is_some_and(|lane| lane.settings.speaks(api))) {
                continue;
            }
            match lane.and_then(|lane| request.inputs.beyond(&lane.settings.inputs)) {
                Some(input) => refused = Some(input),
                None => taking.push(target),
            }
        }
        match refused {
            Some(input) if taking.is_empty() => Err(GatewayError::UnsupportedInput {
                model: route.model.clone(),
                input,
            }),
            _ => Ok(taking),
        }
    }

    /// Returns `true` if some lane may serve: not all of them are broken or closed.
    pub fn is_ready(&self) -> bool {
        let mut lanes = self.inner.lanes.iter();
        lanes.any(|lane| lane.handle.state() != LaneState::Open && lane.handle.closed().is_none())
    }

    /// Returns the whole tree, for `/state`.
    pub async fn snapshot(&self) -> GatewaySnapshot {
        let snapshots = self.inner.lanes.iter().map(|lane| lane.handle.snapshot());
        let lanes = futures_util::future::join_all(snapshots).await;
        GatewaySnapshot {
            actors: self.inner.system.tree(),
            dead_letters: self.inner.system.dead_letters(),
            lanes: lanes.into_iter().flatten().collect(),
        }
    }

    /// Writes down what the lanes have learned, if that is wanted and there is something new. A file that cannot be written
    /// is logged: calls do not depend on it.
    pub fn remember(&self) {
        let Some(learned) = &self.inner.learned else {
            return;
        };
        let mut learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in &self.inner.lanes {
            if let Some(snapshot) = lane.handle.learned() {
                learned.note(&lane.settings, snapshot);
            }
        }
        if let Err(error) = learned.write() {
            let path = learned.path().display();
            tracing::warn!(%path, %error, "what was learned cannot be written");
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
        let lanes = self.inner.lanes.iter().map(|lane| lane.handle.drain());
        futures_util::future::join_all(lanes).await;
    }

    /// Waits until no lane holds a call.
    pub async fn when_idle(&self) {
        for lane in &self.inner.lanes {
            lane.handle.when_idle().await;
        }
    }

    /// Returns how many calls were cut off, including those that are not over yet although their connections were closed.
    pub fn drained(&self) -> usize {
        let counts = self.inner.lanes.iter().map(|lane| lane.handle.endings());
        let drained: u64 = counts
            .map(|counts| counts.of(Ending::Drained) + counts.live())
            .sum();
        usize::try_from(drained).unwrap_or(usize::MAX)
    }

    /// Gives up every call that is left; returns how many were waiting or in flight.
    pub async fn cut_off(&self) -> usize {
        let lanes = self.inner.lanes.iter().map(|lane| lane.handle.cut_off());
        let cut = futures_util::future::join_all(lanes).await;
        cut.into_iter().sum()
    }

    /// Stops all actors and their threads.
    pub async fn terminate(&self) {
        self.inner.system.terminate().await;
        for thread in &self.inner.threads {
            thread.stop();
        }
    }
}

/// Reads the keys of the session store. An error comes with the setting that names the variable.
fn secrets(
    context: &ContextSettings,
    environment: &dyn Environment,
) -> Result<Secrets, (&'static str, NotUtf8)> {
    let of = |setting, variable: &str| {
        let value = environment.get(variable);
        value.map_err(|error| (setting, error))
    };
    Ok(Secrets {
        key: of("key_env", &context.key_env)?,
        old_keys: of("old_keys_env", &context.old_keys_env)?,
    })
}

/// Returns what the context manager needs. Sessions belong to the tenant of a key. Files of earlier versions name the key's
/// hash instead.
fn context_parts(
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<ContextParts, StartError> {
    let secrets = secrets(&settings.context, environment).map_err(|(_, error)| error)?;
    let mut parts = kebne_context::parts(&settings.context, &secrets)?;
    let keys = settings.server.keys.iter();
    parts.former_owners = keys
        .map(|key| (key.hash.clone(), key.tenant().to_owned()))
        .collect();
    Ok(parts)
}

/// Returns `true` if the next lane is to be tried: a refusal costs nothing, a failure costs a retry. A call that panicked
/// is not made again: its request may be the cause.
async fn falls_back(lane: &Lane, error: &CallError) -> bool {
    match error {
        CallError::Refused { reason, .. } => *reason != RefusalReason::Draining,
        CallError::Failed { failure, .. }
            if failure.is_shed || failure.outcome == Outcome::Client =>
        {
            false
        }
        // No load comes from these, and a budget that successes fill would never pay for them.
        CallError::Failed { failure, .. } if failure.outcome.is_final() => true,
        CallError::Failed { .. } | CallError::Timeout { .. } => lane.handle.spend_retry().await,
        CallError::Closed { .. } | CallError::Stopped => true,
        CallError::Panicked { .. } | CallError::Drained => false,
    }
}

/// Returns why a lane that refused does not serve, as its last failed attempt has it.
fn cause(lane: &LaneHandle<ModelBackend>, error: &CallError) -> Option<&'static str> {
    let CallError::Refused {
        reason: RefusalReason::Cold | RefusalReason::Broken,
        ..
    } = error
    else {
        return None;
    };
    lane.last_failure()?.reason
}

/// Returns the attempts behind an error.
fn attempts(error: &CallError) -> u32 {
    match error {
        CallError::Failed { attempts, .. }
        | CallError::Timeout { attempts, .. }
        | CallError::Panicked { attempts }
        | CallError::Closed { attempts } => *attempts,
        CallError::Refused { .. } | CallError::Drained | CallError::Stopped => 0,
    }
}

/// Returns the routes by name and alias, and the names in order.
fn routes(settings: &Settings) -> (BTreeMap<String, Arc<Route>>, Vec<String>) {
    let position = |name: &String| settings.backends.iter().position(|b| b.name == *name);
    let mut routes = BTreeMap::new();
    let mut models = Vec::new();
    for model in &settings.models {
        let targets = model.backends.iter().filter_map(|backend| {
            Some(Target {
                lane: position(backend)?,
                upstream: model.upstream.get(backend).cloned(),
            })
        });
        let route = Arc::new(Route {
            model: model.name.clone(),
            targets: targets.collect(),
        });
        models.push(model.name.clone());
        for name in std::iter::once(&model.name).chain(&model.aliases) {
            routes.insert(name.clone(), Arc::clone(&route));
        }
    }
    if settings.models.is_empty() {
        for (lane, backend) in settings.backends.iter().enumerate() {
            let target = Target {
                lane,
                upstream: None,
            };
            let route = Route {
                model: backend.name.clone(),
                targets: vec![target],
            };
            models.push(backend.name.clone());
            routes.insert(backend.name.clone(), Arc::new(route));
        }
    }
    (routes, models)
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gateway")
            .field("models", &self.inner.models)
            .finish_non_exhaustive()
    }
}
