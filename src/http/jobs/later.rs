//! Calls that are answered later: with `Prefer: respond-async` (RFC 7240), or by themselves when their wait would be too long and the settings
//! say so.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderMap, HeaderName, HeaderValue},
    web::{Data, Payload},
};
use bytes::Bytes;
use kebne_jobs::JobQueue as _;
use kebne_wire::request::naming_model;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    caller::Caller,
    http::{
        jobs::{
            accepted, answer_of,
            queueing::{Wish, digest, idempotency_key, queue},
        },
        request_id,
    },
    settings::server::{PRIORITY_MAX, Scope},
    stages::{self, Arrival, Body, Head},
    state::State,
    surface::{Surface, error::ApiError},
};

const PREFER: &str = "prefer";
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The reasons of refusals because of a predicted wait.
const LONG_WAITS: [&str; 2] = ["wait_too_long", "model_loading"];
/// The header of callers who do not wait for a model that loads.
const WAIT_FOR_MODEL: &str = "x-wait-for-model";
/// The longest time between two looks at a job whose end is awaited: another process may end it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How a call is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Later {
    /// By a job, whose end is awaited for this time.
    Job(Duration),
    /// By a job if its wait would be too long.
    IfLong,
}

/// An operation, and a request for it.
pub(in crate::http) struct Asked {
    pub(in crate::http) operation: (&'static str, &'static dyn Surface),
    pub(in crate::http) http: HttpRequest,
    pub(in crate::http) payload: Payload,
}

impl Later {
    /// Returns how a call is to be answered; `None` for an answer at once.
    pub(in crate::http) fn of(headers: &HeaderMap, state: &State) -> Option<Self> {
        if headers.contains_key(PREFER)
            && let Some(wait) = prefers_later(headers)
        {
            return Some(Self::Job(wait));
        }
        let waits = !headers.contains_key(WAIT_FOR_MODEL);
        (state.jobs.settings().on_long_wait && waits).then_some(Self::IfLong)
    }

    /// Answers a call.
    pub(in crate::http) async fn answer(self, state: Data<State>, asked: Asked) -> HttpResponse {
        let surface = asked.operation.1;
        let id = request_id::of(&asked.http);
        let answer = match self {
            Self::Job(wait) => by_job(&state, asked, wait).await,
            // On the heap, because it holds the futures of all stages.
            Self::IfLong => Box::pin(live_or_job(&state, asked)).await,
        };
        answer.unwrap_or_else(|error| error.response(surface, &id, fastrand::f64()))
    }
}

/// Returns the time for which a caller waits who prefers an answer later; `None` if it does not.
fn prefers_later(headers: &HeaderMap) -> Option<Duration> {
    let (mut is_later, mut wait) = (false, Duration::ZERO);
    let values = headers
        .get_all(PREFER)
        .filter_map(|value| value.to_str().ok());
    for preference in values.flat_map(|value| value.split(',')) {
        // Parameters of a preference follow a semicolon.
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "respond-async" => is_later = true,
            "wait" => wait = value.parse().map_or(wait, Duration::from_secs),
            _ => {}
        }
    }
    is_later.then_some(wait)
}

async fn by_job(
    state: &Data<State>,
    asked: Asked,
    wait: Duration,
) -> Result<HttpResponse, ApiError> {
    let caller = known(state, &asked.http)?;
    let headers = asked.http.headers().clone();
    state.bodies.check(&headers)?;
    let body = state.bodies.read(&headers, asked.payload).await?;
    let id = request_id::of(&asked.http);
    let deployment = asked.http.match_info().get("deployment");
    let wish = wish(asked.operation, &caller, (headers, body, deployment))?;
    // Before the job is queued, so that no change of it is missed.
    let mut changes = state.jobs.changes();
    let job = queue(state, &caller, wish, id).await?;
    let wait = wait.min(state.settings.get().deadline_max.0);
    let until = Instant::now() + wait;
    while !wait.is_zero() {
        let now = state.jobs.job(&caller.owner, &job.id).await?;
        if now.state.is_final() {
            let (_, result) = state.jobs.content(&caller.owner, &job.id).await?;
            return Ok(applied(answer_of(&now, result)?));
        }
        let changed = async {
            // One that has missed changes looks at once.
            while let Ok(id) = changes.recv().await {
                if *id == *job.id || id.is_empty() {
                    break;
                }
            }
        };
        let next = timeout(LOOK_EVERY, changed);
        tokio::select! {
            () = state.closing.cancelled() => break,
            waited = timeout_at(until, next) => if waited.is_err() {
                break;
            },
        }
    }
    Ok(applied(accepted(&job)))
}

/// Makes a call; queues it as a job if it is refused because of a predicted wait.
async fn live_or_job(state: &Data<State>, asked: Asked) -> Result<HttpResponse, ApiError> {
    let caller = known(state, &asked.http)?;
    let headers = asked.http.headers().clone();
    state.bodies.check(&headers)?;
    let body = state.bodies.read(&headers, asked.payload).await?;
    let id = request_id::of(&asked.http);
    let arrival = Arrival {
        surface: asked.operation.1,
        id: Arc::clone(&id),
        head: Head::Request(asked.http.clone()),
        body: Body::Here(body.clone()),
    };
    let response = stages::serve(state.clone(), arrival).await;
    let reason = response.headers().get("x-kebne-reason");
    let reason = reason.and_then(|reason| reason.to_str().ok());
    if !reason.is_some_and(|reason| LONG_WAITS.contains(&reason)) {
        return Ok(response);
    }
    let deployment = asked.http.match_info().get("deployment");
    let wish = wish(asked.operation, &caller, (headers, body, deployment))?;
    match queue(state, &caller, wish, id).await {
        Ok(job) => Ok(accepted(&job)),
        // The refusal says more about the call than that of the queue.
        Err(_) => Ok(response),
    }
}

fn known(state: &State, http: &HttpRequest) -> Result<Arc<Caller>, ApiError> {
    let caller = state.callers.of_headers(http.headers())?;
    caller.require(Scope::Call)?;
    Ok(caller)
}

fn wish(
    (url, surface): (&'static str, &'static dyn Surface),
    caller: &Caller,
    (headers, body, deployment): (HeaderMap, Bytes, Option<&str>),
) -> Result<Wish, ApiError> {
    let body = match deployment {
        // As in a live call, the path is decoded but for its slashes.
        Some(model) => naming_model(body, &model.replace("%2F", "/").replace("%2f", "/")),
        None => body,
    };
    let priority = headers.get("x-kebne-priority");
    let priority = priority.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let key = idempotency_key(&headers)?.map(|key| digest(&caller.owner, key));
    Ok(Wish {
        surface,
        url: url.to_owned(),
        headers,
        body,
        custom_id: None,
        priority: priority.filter(|priority| *priority <= PRIORITY_MAX),
        lifetime: None,
        webhook: None,
        idempotency: key,
    })
}

fn applied(mut response: HttpResponse) -> HttpResponse {
    let value = HeaderValue::from_static("respond-async");
    response.headers_mut().insert(APPLIED, value);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_read_in_all_its_forms() {
        let wait = |values: &[&'static str]| {
            let name = HeaderName::from_static(PREFER);
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name.clone(), HeaderValue::from_static(value));
            }
            prefers_later(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(&["respond-async"]), Some(0));
        assert_eq!(wait(&["Respond-Async; x=1, wait=10"]), Some(10));
        assert_eq!(wait(&["wait=\"5\"", "respond-async"]), Some(5));
        assert_eq!(wait(&["respond-async, wait=soon"]), Some(0));
        for none in ["wait=10", "return=minimal", ""] {
            assert_eq!(wait(&[none]), None, "{none}");
        }
    }
}
