//! `/v1/agents/{name}/runs`: starts runs, reads them, decides on their calls.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::header::{HeaderMap, LOCATION},
};
use kebne_agents::{
    AgentError, Budget, Decision, Message, Money, PageQuery, Run, Start, StoreError,
};
use kebne_settings::HumanDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    agents::{history, shown_head, shown_run},
    http::{
        agents::{events, found},
        json_body, list_query,
        visit::Visit,
    },
    stages::origin,
    surface::error::ApiError,
};

/// Runs of one list, at most and without `limit`.
const PAGE: (usize, usize) = (100, 20);
/// The longest time for which a caller waits for the end of a run, and that without a number of seconds.
const WAIT: (Duration, Duration) = (Duration::from_mins(10), Duration::from_secs(30));

/// The body of `POST /v1/agents/{name}/runs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRun {
    input: Input,
    #[serde(default)]
    session: Option<String>,
    #[serde(default)]
    budget: NewBudget,
    #[serde(default)]
    stream: bool,
}

/// A text, or a conversation whose last message is the input.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Messages(Vec<InputMessage>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputMessage {
    role: String,
    content: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewBudget {
    steps: Option<u32>,
    tokens: Option<u64>,
    cost: Option<Money>,
    time: Option<HumanDuration>,
}

/// The body of `POST /v1/agents/{name}/runs/{run}/approvals/{call}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDecision {
    approve: bool,
    #[serde(default)]
    answer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<String>,
    after: Option<String>,
}

impl NewRun {
    fn start(self, agent: String, caller: String) -> Result<(Start, bool), ApiError> {
        let messages = match self.input {
            Input::Text(text) => vec![Message::User { text }],
            Input::Messages(messages) => messages
                .into_iter()
                .map(InputMessage::message)
                .collect::<Result<_, _>>()?,
        };
        let is_input = matches!(messages.last(), Some(Message::User { text }) if !text.is_empty());
        if !is_input {
            let message = "`input` must be a text, or messages whose last one is that of a user";
            return Err(ApiError::bad_request(Some("input"), message));
        }
        let start = Start {
            agent,
            messages,
            caller,
            session: self.session,
            budget: Some(self.budget.budget()?),
            ..Start::default()
        };
        Ok((start, self.stream))
    }
}

impl InputMessage {
    fn message(self) -> Result<Message, ApiError> {
        let text = self.content;
        match self.role.as_str() {
            "user" => Ok(Message::User { text }),
            "assistant" => Ok(Message::assistant(text)),
            "system" => Ok(Message::System { text }),
            other => {
                let message = format!(
                    "`input` has a message of the role `{other}`; there are `system`, `user` and `assistant`"
                );
                Err(ApiError::bad_request(Some("input"), message))
            }
        }
    }
}

impl NewBudget {
    /// Returns the bounds; those that are not given are those of the agent.
    fn budget(self) -> Result<Budget, ApiError> {
        let wrong = |key: &str| {
            let key = format!("budget.{key}");
            ApiError::bad_request(Some(&key), format!("`{key}` must be more than 0"))
        };
        if self.steps == Some(0) {
            return Err(wrong("steps"));
        }
        if self.tokens == Some(0) {
            return Err(wrong("tokens"));
        }
        if self.time.is_some_and(|time| time.0.is_zero()) {
            return Err(wrong("time"));
        }
        let time = self
            .time
            .map(|time| u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX));
        Ok(Budget {
            steps: self.steps.unwrap_or(u32::MAX),
            tokens: self.tokens.unwrap_or(u64::MAX),
            cost: self.cost,
            time_ms: time.unwrap_or(u64::MAX),
        })
    }
}

/// `POST /v1/agents/{name}/runs`.
pub(in crate::http) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.named_parameter("name");
    let body = visit.body().await?;
    let new: NewRun = json_body::object(&body)?;
    found(&visit, &name).await?;
    let (mut start, streams) = new.start(name.clone(), visit.caller.id.clone())?;
    if let Some(session) = &start.session {
        let mut messages = history(&visit.state, visit.owner(), session).await?;
        start.remembered = messages.len();
        messages.append(&mut start.messages);
        start.messages = messages;
    }
    start.origin = origin(visit.headers(), &visit.caller)?;
    let agents = visit.state.agents.clone();
    let id = agents.start(visit.owner(), start).await?;
    if streams {
        return Ok(events::stream(&visit, id, 0));
    }
    let wait = waits(visit.headers());
    let place = format!("/v1/agents/{name}/runs/{id}");
    if let Some(wait) = wait {
        let resting = agents.when_resting(visit.owner(), &id);
        if let Ok(run) = timeout(wait, resting).await {
            let mut response = HttpResponse::Ok();
            response.insert_header((LOCATION, place));
            return Ok(response.json(shown_run(&run?)));
        }
    }
    let run = agents.run(visit.owner(), &id).await?;
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, place));
    Ok(response.json(shown_run(&run)))
}

/// Returns the time for which a caller waits, by `Prefer: wait` or `Prefer: wait=SECONDS` (RFC 7240).
fn waits(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer");
    let mut parts = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .map(str::trim);
    parts.find_map(|part| {
        if part.eq_ignore_ascii_case("wait") {
            return Some(WAIT.1);
        }
        let (name, seconds) = part.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        let seconds = seconds.trim().trim_matches('"').parse().ok();
        let seconds = seconds.filter(|_| is_wait)?;
        Some(Duration::from_secs(seconds).min(WAIT.0))
    })
}

/// `GET /v1/agents/{name}/runs`.
pub(in crate::http) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let query: ListQuery = visit.query()?;
    let name = visit.named_parameter("name");
    let page = PageQuery {
        limit: list_query::limit(query.limit, PAGE.0, PAGE.1)?,
        agent: Some(name.clone()),
        after: query.after,
    };
    let page = visit.state.agents.runs(visit.owner(), page).await?;
    // Runs outlive their agent.
    if page.runs.is_empty() {
        found(&visit, &name).await?;
    }
    let data: Vec<Value> = page.runs.iter().map(shown_head).collect();
    Ok(HttpResponse::Ok().json(json!({
        "object": "list", "data": data, "has_more": page.has_more,
        "first_id": page.runs.first().map(|run| &run.id), "last_id": page.runs.last().map(|run| &run.id),
    })))
}

/// `GET /v1/agents/{name}/runs/{run}`.
pub(in crate::http) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let run = of_path(&visit).await?;
    Ok(HttpResponse::Ok().json(shown_run(&run)))
}

/// `POST /v1/agents/{name}/runs/{run}/cancel`.
pub(in crate::http) async fn cancel(visit: Visit) -> Result<HttpResponse, ApiError> {
    let run = of_path(&visit).await?;
    let agents = &visit.state.agents;
    let by = &visit.caller.name;
    let run = agents.cancel(visit.owner(), &run.id, by).await?;
    Ok(HttpResponse::Ok().json(shown_run(&run)))
}

/// `POST /v1/agents/{name}/runs/{run}/approvals/{call}`.
pub(in crate::http) async fn decide(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let run = of_path(&visit).await?;
    let call = visit.named_parameter("call");
    let body = visit.body().await?;
    let new: NewDecision = json_body::object(&body)?;
    let decision = Decision {
        approved: new.approve,
        answer: new.answer,
        by: visit.caller.name.clone(),
    };
    let agents = &visit.state.agents;
    let run = agents
        .decide(visit.owner(), &run.id, &call, decision)
        .await?;
    Ok(HttpResponse::Ok().json(shown_run(&run)))
}

/// Returns the run of the path, if it began with the agent of the path.
pub(super) async fn of_path(visit: &Visit) -> Result<Run, ApiError> {
    let (name, id) = (visit.named_parameter("name"), visit.named_parameter("run"));
    let run = visit.state.agents.run(visit.owner(), &id).await?;
    if run.began.spec.name != name {
        return Err(AgentError::from(StoreError::NotFound("run")).into());
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_caller_says_for_how_long_it_waits() {
        let wait = |value: &'static str| {
            let name = HeaderName::from_static("prefer");
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            waits(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("wait"), Some(30));
        assert_eq!(wait("respond-async, wait=7"), Some(7));
        assert_eq!(wait("wait=100000"), Some(600));
        assert_eq!(wait("respond-async"), None);
        assert_eq!(wait("wait=x"), None);
    }
}
