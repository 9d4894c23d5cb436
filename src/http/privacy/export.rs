//! The export of what is kept of a tenant or of one of its users, as JSON lines.

use actix_web::{HttpResponse, web::Data};
use bytes::Bytes;
use futures_util::stream::unfold;
use kebne_collections::PageQuery;
use kebne_context::{erasure::USER, store::Session};
use kebne_jobs::JobQueue as _;
use serde_json::{Value, json, value::RawValue};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::{
    agents::{shown_agent, shown_event, shown_head},
    http::{kept::Room, visit::Visit},
    jobs::{JobRequest, JobResult, shown, shown_batch},
    privacy::Whose,
    state::State,
    surface::error::ApiError,
};

/// The parts of the answer that may wait for the caller.
const PARTS: usize = 2;
/// The number of sessions, turns or files that are read at once.
const PAGE: usize = 50;
/// The space of kept responses in the store of sessions.
const RESPONSES: &str = "\u{1f}responses";

/// The reason why an export ended early: the store failed, or the caller left.
#[derive(Debug, thiserror::Error)]
#[error("the export has ended early")]
struct Ended;

type Part = Result<Bytes, Ended>;

/// Writes lines in parts.
struct Writer {
    state: Data<State>,
    parts: Sender<Part>,
    lines: u64,
}

/// `GET /v1/privacy/export`.
pub(in crate::http) async fn export(visit: Visit) -> Result<HttpResponse, ApiError> {
    let whose = super::whose(&visit)?;
    let state = Data::clone(&visit.state);
    let settings = &state.context_settings;
    let (size_max, wait) = (settings.page_bytes_max.0, settings.answer_timeout.0);
    let room = Room::of(state.gateway.answers(), size_max, wait).await?;
    // Found out before the answer begins, if it can be.
    state.context.held(&whose).await?;
    let (parts, answer) = channel(PARTS);
    let mut writer = Writer {
        state,
        parts,
        lines: 0,
    };
    actix_rt::spawn(async move {
        let _until_written = room;
        if let Err(error) = writer.all(&whose).await {
            tracing::warn!(reason = error.reason(), "an export has ended early");
            // A caller that has left needs no end.
            writer.parts.send(Err(Ended)).await.ok();
        }
    });
    let next = |mut answer: Receiver<Part>| async move {
        let part = answer.recv().await?;
        Some((part, answer))
    };
    Ok(HttpResponse::Ok()
        .content_type("application/jsonl")
        .streaming(unfold(answer, next)))
}

impl Writer {
    async fn all(&mut self, whose: &Whose) -> Result<(), ApiError> {
        self.sessions(whose, &whose.tenant, "session").await?;
        let space = format!("{}{RESPONSES}", whose.tenant);
        self.sessions(whose, &space, "conversation").await?;
        if whose.user.is_none() {
            self.documents(&whose.tenant).await?;
            self.jobs(&whose.tenant).await?;
            self.batches(&whose.tenant).await?;
            self.agents(&whose.tenant).await?;
        }
        let end = json!({"object": "privacy.export.end", "lines": self.lines, "complete": true});
        self.write(&[end]).await
    }

    /// Writes the sessions of an owner, each with its turns.
    async fn sessions(&mut self, whose: &Whose, owner: &str, object: &str) -> Result<(), ApiError> {
        let context = self.state.context.clone();
        let mut after = None;
        loop {
            let part = context.list(owner, after, PAGE).await?;
            for session in part.items.iter().filter(|session| is_of(whose, session)) {
                self.write(&[json!({
                    "object": object, "id": session.id,
                    "created_at": session.created / 1000, "last_used_at": session.used / 1000,
                    "metadata": session.details.metadata,
                    "system_prompt": session.details.system_prompt,
                    "prompt": session.details.prompt,
                })])
                .await?;
                self.turns(owner, &session.id, object).await?;
            }
            after = part.items.last().map(|session| session.id.clone());
            if !part.has_more {
                return Ok(());
            }
        }
    }

    async fn turns(&mut self, owner: &str, id: &str, object: &str) -> Result<(), ApiError> {
        let context = self.state.context.clone();
        let mut after = 0;
        loop {
            let part = context.turns(owner, id, after, PAGE).await?;
            let lines = part.items.iter().map(|turn| {
                let kept = serde_json::from_slice::<Box<RawValue>>(&turn.content.messages);
                let kept = kept.ok().map(|kept| json!(kept));
                json!({
                    "object": format!("{object}.turn"), "of": id, "number": turn.number,
                    "content": kept.unwrap_or_default(),
                })
            });
            let lines: Vec<Value> = lines.collect();
            self.write(&lines).await?;
            after = part.items.last().map_or(after, |turn| turn.number);
            if !part.has_more {
                return Ok(());
            }
        }
    }

    /// Writes the jobs, each with its request and its answer as far as they are JSON.
    async fn jobs(&mut self, owner: &str) -> Result<(), ApiError> {
        let jobs = self.state.jobs.clone();
        let mut after = None;
        loop {
            let page = kebne_jobs::PageQuery { limit: PAGE, after };
            let part = jobs.jobs(owner, page, None).await?;
            for job in &part.items {
                let (request, result) = jobs.content(owner, &job.id).await?;
                let (request, result) = (JobRequest::of(request), JobResult::of(result));
                let mut line = shown(job, request.as_ref(), result.as_ref());
                let body = request.map(|request| request.body);
                let body = body.and_then(|body| serde_json::from_slice(&body).ok());
                let body: Option<Box<RawValue>> = body;
                line["request"]["body"] = json!(body);
                self.write(&[line]).await?;
            }
            after = part.items.last().map(|job| job.id.clone());
            if !part.has_more {
                return Ok(());
            }
        }
    }

    /// Writes the agents, and the runs, each with its events.
    async fn agents(&mut self, owner: &str) -> Result<(), ApiError> {
        let agents = self.state.agents.clone();
        let own = agents.own(owner).await?;
        let lines: Vec<Value> = own.iter().map(|agent| shown_agent(agent, "own")).collect();
        self.write(&lines).await?;
        let mut after = None;
        loop {
            let page = kebne_agents::PageQuery {
                agent: None,
                limit: PAGE,
                after,
            };
            let part = agents.runs(owner, page).await?;
            for head in &part.runs {
                self.write(&[shown_head(head)]).await?;
                let events = agents.events(owner, &head.id, 0).await?;
                let lines = events.iter().map(|event| {
                    json!({"object": "agent.run.event", "of": head.id, "event": shown_event(event)})
                });
                let lines: Vec<Value> = lines.collect();
                self.write(&lines).await?;
            }
            after = part.runs.last().map(|run| run.id.clone());
            if !part.has_more {
                return Ok(());
            }
        }
    }

    /// Writes the batches; their results are among the files.
    async fn batches(&mut self, owner: &str) -> Result<(), ApiError> {
        let jobs = self.state.jobs.clone();
        let mut after = None;
        loop {
            let page = kebne_jobs::PageQuery { limit: PAGE, after };
            let part = jobs.batches(owner, page).await?;
            let lines: Vec<Value> = part.items.iter().map(shown_batch).collect();
            self.write(&lines).await?;
            after = part.items.last().map(|batch| batch.id.clone());
            if !part.has_more {
                return Ok(());
            }
        }
    }

    /// Writes the files and the vector stores, without the contents of files.
    async fn documents(&mut self, owner: &str) -> Result<(), ApiError> {
        let collections = self.state.collections.clone();
        let page = |after| PageQuery {
            limit: PAGE,
            after,
            before: None,
            oldest_first: true,
        };
        let mut after = None;
        loop {
            let part = collections.files(owner, page(after), None).await?;
            let lines = part.items.iter().map(|file| {
                json!({
                    "object": "file", "id": file.id, "created_at": file.created / 1000,
                    "name": file.details.name, "bytes": file.bytes,
                    "content": format!("/v1/files/{}/content", file.id),
                })
            });
            let lines: Vec<Value> = lines.collect();
            self.write(&lines).await?;
            after = part.items.last().map(|file| file.id.clone());
            if !part.has_more {
                break;
            }
        }
        let mut after = None;
        loop {
            let part = collections.collections(owner, page(after)).await?;
            let lines = part.items.iter().map(|collection| {
                json!({
                    "object": "vector_store", "id": collection.id,
                    "created_at": collection.created / 1000, "name": collection.details.name,
                    "metadata": collection.details.metadata,
                })
            });
            let lines: Vec<Value> = lines.collect();
            self.write(&lines).await?;
            after = part.items.last().map(|collection| collection.id.clone());
            if !part.has_more {
                return Ok(());
            }
        }
    }

    async fn write(&mut self, lines: &[Value]) -> Result<(), ApiError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for line in lines {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        self.lines += lines.len() as u64;
        let sent = self.parts.send(Ok(text.into())).await;
        sent.map_err(|_| ApiError::internal("the caller has left"))
    }
}

fn is_of(whose: &Whose, session: &Session) -> bool {
    let named = session.details.metadata.get(USER);
    whose.user.as_ref().is_none_or(|user| named == Some(user))
}
