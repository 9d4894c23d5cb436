//! Sessions as JSON lines: one line for the format, then for each session its line, its turns, its summaries and its facts, and
//! a line at the end.
//!
//! An answer is written page by page, so that it never holds more than a page. If the store fails, the answer is cut off
//! without its last line.

use actix_web::{HttpResponse, web::Data};
use bytes::Bytes;
use kebne_context::{
    ContextError, Fact, Summary,
    store::{Session, StoreError, Turn},
};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::room_of_page;
use crate::{
    http::{kept::Room, visit::Visit},
    state::State,
    surface::error::ApiError,
};

/// The version of the format.
pub(super) const VERSION: u64 = 1;
/// The type of the first line.
pub(super) const FORMAT: &str = "kebne.sessions";
/// The number of sessions and of turns that are read from the store at once.
const PAGE: usize = 64;

/// A turn as a line.
#[derive(Serialize)]
struct TurnLine<'a> {
    r#type: &'static str,
    number: u64,
    messages: &'a RawValue,
}

/// What is written next.
enum Next {
    Begin,
    /// The session that follows this one.
    Session(Option<String>),
    /// The turns of a session after this one.
    Turns(Box<Session>, u64),
    Notes(Box<Session>),
    End,
}

/// An export that is being written.
struct Export {
    state: Data<State>,
    owner: String,
    /// The one session to write; all if there is none.
    only: Option<Session>,
    next: Next,
    sessions: u64,
    /// The memory of a page, held until the end.
    _room: Room,
}

/// `GET /v1/sessions/{id}/export`.
pub(in crate::http) async fn one(visit: Visit) -> Result<HttpResponse, ApiError> {
    let context = &visit.state.context;
    let session = context.read(visit.owner(), &visit.parameter()).await?;
    answer(&visit, Some(session)).await
}

/// `GET /v1/sessions/export`: all sessions of the caller.
pub(in crate::http) async fn all(visit: Visit) -> Result<HttpResponse, ApiError> {
    answer(&visit, None).await
}

async fn answer(visit: &Visit, only: Option<Session>) -> Result<HttpResponse, ApiError> {
    let export = Export {
        _room: room_of_page(visit).await?,
        state: Data::clone(&visit.state),
        owner: visit.owner().to_owned(),
        only,
        next: Next::Begin,
        sessions: 0,
    };
    let lines = futures_util::stream::unfold(Some(export), async |export| {
        let mut export = export?;
        match export.lines().await {
            Ok(Some(lines)) => Some((Ok(lines), Some(export))),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "an export of sessions was cut off");
                Some((Err(error), None))
            }
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("application/jsonl")
        .streaming(Box::pin(lines)))
}

impl Export {
    /// Returns the next lines; `None` after the last.
    async fn lines(&mut self) -> Result<Option<Bytes>, ContextError> {
        let mut lines = Vec::new();
        match std::mem::replace(&mut self.next, Next::End) {
            Next::Begin => {
                let begin = json!({"type": FORMAT, "version": VERSION});
                write(&mut lines, &begin)?;
                self.next = Next::Session(None);
            }
            Next::Session(after) => self.session(after, &mut lines).await?,
            Next::Turns(session, after) => self.turns(session, after, &mut lines).await?,
            Next::Notes(session) => {
                self.notes(&session, &mut lines).await?;
                self.next = Next::Session(Some(session.id));
            }
            Next::End => return Ok(None),
        }
        Ok(Some(lines.into()))
    }

    async fn session(
        &mut self,
        after: Option<String>,
        lines: &mut Vec<u8>,
    ) -> Result<(), ContextError> {
        let session = match (&self.only, &after) {
            (Some(only), None) => Some(only.clone()),
            (Some(_), Some(_)) => None,
            (None, _) => {
                let context = &self.state.context;
                let page = context.list(&self.owner, after, 1).await?;
                page.items.into_iter().next()
            }
        };
        let Some(session) = session else {
            let end = json!({"type": "end", "sessions": self.sessions});
            return write(lines, &end);
        };
        self.sessions += 1;
        let details = &session.details;
        let line = json!({
            "type": "session",
            "id": session.id,
            "created_at": session.created / 1000,
            "last_used_at": session.used / 1000,
            "metadata": details.metadata,
            "system_prompt": details.system_prompt,
            "prompt": details.prompt,
        });
        write(lines, &line)?;
        self.next = Next::Turns(Box::new(session), 0);
        Ok(())
    }

    async fn turns(
        &mut self,
        session: Box<Session>,
        after: u64,
        lines: &mut Vec<u8>,
    ) -> Result<(), ContextError> {
        let context = &self.state.context;
        let page = context.turns(&self.owner, &session.id, after, PAGE).await?;
        for turn in &page.items {
            write(lines, &turn_line(turn)?)?;
        }
        let last = page.items.last().map_or(after, |turn| turn.number);
        self.next = if page.has_more {
            Next::Turns(session, last)
        } else {
            Next::Notes(session)
        };
        Ok(())
    }

    async fn notes(&self, session: &Session, lines: &mut Vec<u8>) -> Result<(), ContextError> {
        let context = &self.state.context;
        for Summary { through, content } in context.summaries(&self.owner, &session.id).await? {
            let line = json!({
                "type": "summary",
                "through": through,
                "text": content.text,
                "created_at_ms": content.created,
            });
            write(lines, &line)?;
        }
        for fact in context.facts(&self.owner, &session.id).await? {
            let Fact {
                number,
                is_owners,
                content,
            } = fact;
            let line = json!({
                "type": "fact",
                "id": number,
                "by": if is_owners { "owner" } else { "model" },
                "text": content.text,
                "turns": content.turns,
                "created_at_ms": content.created,
                "changed_at_ms": content.changed,
            });
            write(lines, &line)?;
        }
        Ok(())
    }
}

fn turn_line(turn: &Turn) -> Result<TurnLine<'_>, ContextError> {
    let messages = serde_json::from_slice(&turn.content.messages).map_err(|error| {
        StoreError::Damaged(format!("turn {} cannot be read: {error}", turn.number))
    })?;
    Ok(TurnLine {
        r#type: "turn",
        number: turn.number,
        messages,
    })
}

fn write(lines: &mut Vec<u8>, line: &impl Serialize) -> Result<(), ContextError> {
    serde_json::to_writer(&mut *lines, line)
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    lines.push(b'\n');
    Ok(())
}
