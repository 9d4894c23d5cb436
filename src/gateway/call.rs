//! The calls through the backends of a model: the one that serves it, else the next.

use std::{sync::Arc, time::Duration};

use kebne_control::{FallbackKind, FallbackRules};
use kebne_lane::{CallError, CallOptions, LaneHandle, RefusalReason, Repeats, Reply};
use kebne_wire::splice::with_model;
use tokio::time::Instant;

use crate::{
    backend::{ModelBackend, reason::OUT_OF_SERVICE},
    gateway::{
        Gateway, GatewayError,
        balancer::Bond,
        fallbacks::{attempts, kind_of},
        lane::Lane,
        placement::{Placed, Placement},
        route::{Route, Target},
    },
    llm::{ModelRequest, ModelResponse},
};

/// An answer, and who gave it.
#[derive(Debug)]
pub struct GatewayReply {
    /// The answer, its guard included.
    pub reply: Reply<ModelResponse>,
    /// The lane that answered.
    pub lane: String,
    /// The model that the backend was asked for.
    pub model: String,
    /// Attempts of all lanes that were tried.
    pub attempts: u32,
    /// Why a preferred backend did not answer.
    pub fallback: Option<FallbackKind>,
}

/// What a call has cost so far, and where it was not served.
struct Journey<'g> {
    gateway: &'g Gateway,
    route: Arc<Route>,
    rules: FallbackRules,
    began: Instant,
    due: Instant,
    attempts: u32,
    /// The first reason for which it left a backend.
    fallback: Option<FallbackKind>,
    /// The lanes that it left, by number.
    left: Vec<usize>,
}

impl<'g> Journey<'g> {
    fn begin(gateway: &'g Gateway, route: Arc<Route>, options: &CallOptions) -> Self {
        let mut rules = route.rules;
        if options.refuse_when_cold {
            rules = rules.with(FallbackKind::Cold, Some(Duration::ZERO));
        }
        let began = Instant::now();
        Self {
            gateway,
            route,
            rules,
            began,
            due: began + options.deadline,
            attempts: 0,
            fallback: None,
            left: Vec::new(),
        }
    }

    /// Records that the call leaves a backend. A backend that it leaves twice counts once.
    fn leaves(&mut self, target: &Target, kind: FallbackKind) {
        let lane = &target.lane;
        if self.left.contains(&lane.number) {
            return;
        }
        self.left.push(lane.number);
        self.fallback.get_or_insert(kind);
        let (model, lane) = (self.route.model.as_str(), lane.name());
        self.gateway.inner.fallbacks.note(model, lane, kind);
        tracing::debug!(
            model,
            lane,
            kind = kind.label(),
            "the call goes to another backend"
        );
    }

    /// Returns `true` if the call may go to another backend after an obstacle.
    fn goes_on(&self, kind: FallbackKind) -> bool {
        let bounds = &self.route.fallback;
        let now = Instant::now();
        let time_max = bounds.time_max.wait();
        self.rules.allows(kind)
            && self.attempts < bounds.attempts_max
            && now < self.due
            && time_max.is_none_or(|most| now.saturating_duration_since(self.began) < most)
    }

    /// Returns the options of the call at one backend.
    fn options(
        &self,
        target: &Target,
        placement: &Placement<'_>,
        request: &ModelRequest,
        options: &CallOptions,
    ) -> CallOptions {
        let mut options = options.clone();
        let limits = &target.lane.settings.limits;
        options.deadline = self.due.saturating_duration_since(Instant::now());
        options.first_part_timeout = request.stream.then_some(limits.first_token_timeout.0);
        // A failure is repeated where it has not happened yet.
        if self.rules.allows(FallbackKind::Failed) && placement.has_alternative(target) {
            options.repeats = Repeats::Refused;
        }
        options
    }

    fn answered(self, target: &Target, reply: Reply<ModelResponse>) -> GatewayReply {
        GatewayReply {
            attempts: self.attempts + reply.attempts(),
            reply,
            lane: target.lane.name().to_owned(),
            model: target.model(&self.route),
            fallback: self.fallback,
        }
    }
}

impl Gateway {
    /// Makes a call: through the first group of replicas of the model that serves it, and there through the replica that is
    /// expected to answer it first. `session` is the session that the call belongs to.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub async fn call(
        &self,
        model: &str,
        session: Option<&str>,
        request: ModelRequest,
        options: CallOptions,
    ) -> Result<GatewayReply, GatewayError> {
        let unknown = || GatewayError::UnknownModel(model.to_owned());
        let route = self.route(model).ok_or_else(unknown)?;
        let bond = Bond::of(&route, session, &request.body);
        let groups = route.taking(&request)?;
        let mut journey = Journey::begin(self, route, &options);
        let route = Arc::clone(&journey.route);
        let endpoint = request.endpoint;
        let placed = Placed {
            endpoint,
            began: journey.began,
            due: journey.due,
        };
        let mut placement = Placement::new(route, journey.rules, &bond, placed, groups);
        loop {
            let no_replica = || GatewayError::NoReplica(model.to_owned());
            let choice = placement.choose().ok_or_else(no_replica)?;
            for (passed, kind) in &choice.passed_over {
                journey.leaves(passed, *kind);
            }
            let target = &*choice.target;
            let lane = &target.lane;
            if let Some(failing) = lane.has_failed() {
                placement.exclude(target);
                self.follow_changes(model, &request, &mut placement);
                let kind = FallbackKind::Unreachable;
                if placement.has_more() && journey.goes_on(kind) {
                    journey.leaves(target, kind);
                    continue;
                }
                let lane = lane.name().to_owned();
                return Err(GatewayError::ServerFails { lane, failing });
            }
            let sent = request_to(target, &journey.route, model, &request);
            let options = journey.options(target, &placement, &request, &options);
            let mut leaves = None;
            target.unfit.sent(endpoint);
            let withdraw = async || placement.is_better_off_elsewhere(target, &mut leaves).await;
            let called = lane.handle.call_or_withdraw(sent, options, withdraw);
            let error = match called.await {
                Ok(reply) => {
                    target.unfit.served(endpoint);
                    return Ok(journey.answered(target, reply));
                }
                Err(CallError::Withdrawn) => {
                    if let Some(kind) = leaves {
                        journey.leaves(target, kind);
                        lane.wake();
                    }
                    placement.moved(target);
                    continue;
                }
                Err(error) => error,
            };
            journey.attempts += attempts(&error);
            let cause = self.cause(&lane.handle, &error);
            self.inner.refusals.note(lane.name(), &error, cause);
            target.unfit.failed(endpoint, &error);
            placement.exclude(target);
            let kind = obstacle_of(lane, &error);
            if kind == Some(FallbackKind::ContextLength) {
                placement.exclude_contexts_of(target);
            }
            self.follow_changes(model, &request, &mut placement);
            match kind.filter(|kind| placement.has_more() && journey.goes_on(*kind)) {
                Some(kind) => journey.leaves(target, kind),
                None => return Err(not_served(lane, error, cause)),
            }
        }
    }

    /// Has a call that is on its way continue with the backends that its model has now.
    fn follow_changes(&self, model: &str, request: &ModelRequest, placement: &mut Placement<'_>) {
        let Some(route) = self.route(model) else {
            return;
        };
        if !Arc::ptr_eq(&route, placement.route())
            && let Ok(groups) = route.taking(request)
        {
            placement.change(route, groups);
        }
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
        if let Some(failing) = lane.has_failed() {
            let lane = backend.to_owned();
            return Err(GatewayError::ServerFails { lane, failing });
        }
        match lane.handle.call(request, options).await {
            Ok(reply) => Ok(GatewayReply {
                attempts: reply.attempts(),
                reply,
                lane: backend.to_owned(),
                model: String::new(),
                fallback: None,
            }),
            Err(error) => {
                let cause = self.cause(&lane.handle, &error);
                self.inner.refusals.note(backend, &error, cause);
                Err(not_served(&lane, error, cause))
            }
        }
    }

    /// Returns why a lane that refused does not serve: an operator drains it, or as its last failed attempt has it.
    fn cause(&self, lane: &LaneHandle<ModelBackend>, error: &CallError) -> Option<&'static str> {
        let CallError::Refused { reason, .. } = error else {
            return None;
        };
        match reason {
            RefusalReason::Draining if !self.is_leaving() => Some(OUT_OF_SERVICE),
            RefusalReason::Cold | RefusalReason::Broken => lane.last_failure()?.reason,
            _ => None,
        }
    }
}

/// Returns the error of a call that a lane did not serve.
fn not_served(lane: &Lane, error: CallError, cause: Option<&'static str>) -> GatewayError {
    let name = lane.name().to_owned();
    match lane.failing().filter(|_| is_away(&error)) {
        Some(failing) => GatewayError::ServerFails {
            lane: name,
            failing,
        },
        None => GatewayError::Call {
            lane: name,
            cause,
            error: Box::new(error),
        },
    }
}

/// Returns `true` for a refusal by a lane that takes its backend to be loading or broken.
fn is_away(error: &CallError) -> bool {
    let CallError::Refused { reason, .. } = error else {
        return false;
    };
    matches!(reason, RefusalReason::Cold | RefusalReason::Broken)
}

/// Returns for which kind of obstacle a call without an answer may leave a lane. A server that fails is not one that loads.
fn obstacle_of(lane: &Lane, error: &CallError) -> Option<FallbackKind> {
    if is_away(error) && lane.failing().is_some() {
        return Some(FallbackKind::Unreachable);
    }
    kind_of(error)
}

/// Returns the request as a backend gets it: with the model's name there, or its own name if the caller used another.
fn request_to(target: &Target, route: &Route, named: &str, request: &ModelRequest) -> ModelRequest {
    match &target.upstream {
        Some(upstream) => with_model(request, upstream),
        None if named == route.model => request.clone(),
        None => with_model(request, &route.model),
    }
}
