//! The calls through the lanes of a model: the first that serves it, else the next.

use std::sync::Arc;

use kebne_control::Outcome;
use kebne_lane::{CallError, CallOptions, LaneHandle, RefusalReason, Reply};
use kebne_wire::splice::with_model;
use tokio::time::Instant;

use crate::{
    backend::{ModelBackend, reason::OUT_OF_SERVICE},
    gateway::{
        Gateway, GatewayError,
        balancer::{Bond, Placement},
        lane::Lane,
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
    /// Attempts of all lanes that were tried.
    pub attempts: u32,
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
        let route = Arc::clone(self.inner.routes.get(model).ok_or_else(unknown)?);
        let due = Instant::now() + options.deadline;
        let bond = Bond::of(&route, session, &request.body);
        let mut before = 0;
        let mut groups = route.taking(&request)?.into_iter();
        let mut placement = Placement::new(&route, &bond, groups.next().unwrap_or_default());
        loop {
            let Some(target) = placement.choose() else {
                return Err(unknown());
            };
            let lane = &target.lane;
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
            let name = lane.name().to_owned();
            let withdraw = async || placement.is_better_off_elsewhere(target).await;
            let called = lane.handle.call_or_withdraw(request, options, withdraw);
            let error = match called.await {
                Ok(reply) => {
                    let attempts = before + reply.attempts();
                    return Ok(GatewayReply {
                        reply,
                        lane: name,
                        attempts,
                    });
                }
                Err(CallError::Withdrawn) => {
                    tracing::debug!(lane = name, "the call moves to another replica");
                    placement.moved(target);
                    continue;
                }
                Err(error) => error,
            };
            placement.exclude(target);
            if !placement.has_more() {
                placement = Placement::new(&route, &bond, groups.next().unwrap_or_default());
            }
            if !placement.has_more() || due <= Instant::now() || !falls_back(lane, &error).await {
                let cause = self.cause(&lane.handle, &error);
                return Err(GatewayError::Call {
                    lane: name,
                    error: Box::new(error),
                    cause,
                });
            }
            before += attempts(&error);
            tracing::debug!(lane = name, %error, "falling back to the model's next backend");
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
        match lane.handle.call(request, options).await {
            Ok(reply) => Ok(GatewayReply {
                attempts: reply.attempts(),
                reply,
                lane: backend.to_owned(),
            }),
            Err(error) => Err(GatewayError::Call {
                cause: self.cause(&lane.handle, &error),
                lane: backend.to_owned(),
                error: Box::new(error),
            }),
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

/// Returns `true` if the next lane is to be tried: a refusal costs nothing, a failure costs a retry. A call that panicked
/// is not made again: its request may be the cause.
async fn falls_back(lane: &Lane, error: &CallError) -> bool {
    match error {
        CallError::Refused { .. } => true,
        CallError::Failed { failure, .. }
            if failure.is_shed || failure.outcome == Outcome::Client =>
        {
            false
        }
        // No load comes from these, and a budget that successes fill would never pay for them.
        CallError::Failed { failure, .. } if failure.outcome.is_final() => true,
        CallError::Failed { .. } | CallError::Timeout { .. } => lane.handle.spend_retry().await,
        CallError::Closed { .. } | CallError::Stopped => true,
        CallError::Panicked { .. } | CallError::Drained | CallError::Withdrawn => false,
    }
}

/// Returns the attempts behind an error.
fn attempts(error: &CallError) -> u32 {
    match error {
        CallError::Failed { attempts, .. }
        | CallError::Timeout { attempts, .. }
        | CallError::Panicked { attempts }
        | CallError::Closed { attempts } => *attempts,
        CallError::Refused { .. }
        | CallError::Drained
        | CallError::Stopped
        | CallError::Withdrawn => 0,
    }
}
