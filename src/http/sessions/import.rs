//! Reads sessions from JSON lines, as an export writes them.
//!
//! The body is read in parts of bounded size. All its sessions are made, or none: until the last line they are not listed, and
//! an error, or a caller who leaves, removes them.

use std::sync::Arc;

use actix_web::{HttpResponse, http::header::CONTENT_ENCODING, web::Data};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use kebne_context::ContextHandle;
use kebne_events::SessionChange;
use serde_json::json;

use super::{
    lines::{Line, Lines, NewFact, wrong},
    new_id,
};
use crate::{http::visit::Visit, state::State, surface::error::ApiError};

/// The size of the lines that are read at once, and of the turns that are written at once.
const BATCH: usize = 1 << 20;
/// The number of turns that are written at once.
const TURNS: usize = 64;
/// The largest line beside the messages of a turn.
const FRAME: usize = 256 << 10;

/// `POST /v1/sessions/import`.
pub(in crate::http) async fn import(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    if visit.headers().contains_key(CONTENT_ENCODING) {
        let message = "an import cannot be compressed".to_owned();
        return Err(ApiError::unsupported_encoding(message));
    }
    let Some(mut payload) = visit.payload() else {
        return Err(ApiError::bad_request(None, "the body is empty"));
    };
    let state = Data::clone(&visit.state);
    let settings = &state.context_settings;
    let line_max = settings.turn_size_max.as_usize().saturating_mul(2) + FRAME;
    let mut room = state.bodies.room();
    let granted = room.reserve(line_max + 2 * BATCH);
    granted.map_err(|_| ApiError::no_memory())?;
    let mut import = Import::new(&state, visit.owner());
    let mut buffer = BytesMut::new();
    let time = state.settings.get().request_timeout.0;
    loop {
        let part = tokio::time::timeout(time, payload.next()).await;
        let part = part.map_err(|_| ApiError::slow_request())?;
        let Some(part) = part else { break };
        let part = part.map_err(|error| {
            let message = "the request body cannot be received";
            ApiError::bad_request(None, message).detail_of(&error)
        })?;
        buffer.extend_from_slice(&part);
        if buffer.len() >= BATCH {
            let whole = buffer.iter().rposition(|byte| *byte == b'\n');
            if let Some(end) = whole {
                import.take(buffer.split_to(end + 1).freeze()).await?;
            }
        }
        if buffer.len() > line_max {
            let line = import.lines.next_number();
            return Err(wrong(line, &format!("it is longer than {line_max} bytes")));
        }
    }
    import.take(buffer.freeze()).await?;
    let made = import.end().await?;
    for made in &made {
        let imported = (SessionChange::Imported, None);
        state
            .events
            .session_changed(visit.owner(), &made.id, imported);
    }
    let sessions: Vec<_> = made
        .iter()
        .map(|made| {
            json!({"id": made.id, "from": made.from, "turns": made.turns, "facts": made.facts})
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": sessions, "has_more": false})))
}

/// A session that is made.
struct Made {
    id: String,
    /// Its id in the lines.
    from: String,
    turns: u64,
    facts: u64,
}

/// The sessions of an import. They are removed with it unless it has ended.
struct Import {
    state: Data<State>,
    owner: Arc<str>,
    lines: Lines,
    made: Vec<Made>,
    turns: Vec<kebne_context::store::Turn>,
    turns_size: usize,
    notes: Vec<kebne_context::store::Note>,
    is_done: bool,
}

impl Import {
    fn new(state: &Data<State>, owner: &str) -> Self {
        Self {
            lines: Lines::new(state),
            state: Data::clone(state),
            owner: owner.into(),
            made: Vec::new(),
            turns: Vec::new(),
            turns_size: 0,
            notes: Vec::new(),
            is_done: false,
        }
    }

    fn context(&self) -> &ContextHandle {
        &self.state.context
    }

    /// Takes some whole lines.
    async fn take(&mut self, lines: Bytes) -> Result<(), ApiError> {
        let mut reader = std::mem::take(&mut self.lines);
        let state = Data::clone(&self.state);
        let read = move || {
            let read = reader.read(&lines, &state);
            (reader, read)
        };
        let (reader, read) = self.state.off_loop.run(read).await?;
        self.lines = reader;
        for line in read? {
            self.take_line(line).await?;
        }
        Ok(())
    }

    async fn take_line(&mut self, line: Line) -> Result<(), ApiError> {
        match line {
            Line::Session { from, details } => {
                self.end_session().await?;
                let id = new_id()?;
                self.context().begin(&self.owner, &id, details).await?;
                self.made.push(Made {
                    id,
                    from,
                    turns: 0,
                    facts: 0,
                });
            }
            Line::Turn(turn) => {
                self.turns_size += turn.content.messages.len();
                self.turns.push(turn);
                if self.turns.len() >= TURNS || self.turns_size >= BATCH {
                    self.put_turns().await?;
                }
            }
            Line::Summary(summary) => self.notes.push(summary.note()),
            Line::Fact(NewFact(fact)) => {
                if let Some(made) = self.made.last_mut() {
                    made.facts += 1;
                }
                self.notes.push(fact.note());
            }
        }
        Ok(())
    }

    async fn put_turns(&mut self) -> Result<(), ApiError> {
        let turns = std::mem::take(&mut self.turns);
        self.turns_size = 0;
        let Some(made) = self.made.last_mut().filter(|_| !turns.is_empty()) else {
            return Ok(());
        };
        made.turns += turns.len() as u64;
        let id = made.id.clone();
        Ok(self.context().put_turns(&self.owner, &id, turns).await?)
    }

    /// Writes what is left of the present session.
    async fn end_session(&mut self) -> Result<(), ApiError> {
        self.put_turns().await?;
        let notes = std::mem::take(&mut self.notes);
        let Some(id) = self.made.last().map(|made| made.id.clone()) else {
            return Ok(());
        };
        let facts_max = self.state.context_settings.memory.facts_max;
        let put = self.context().put_notes(&self.owner, &id, notes, facts_max);
        Ok(put.await?)
    }

    /// Makes the sessions like all others.
    async fn end(mut self) -> Result<Vec<Made>, ApiError> {
        self.lines.require_end()?;
        self.end_session().await?;
        for made in &self.made {
            self.context().finish(&self.owner, &made.id).await?;
        }
        self.is_done = true;
        Ok(std::mem::take(&mut self.made))
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if self.is_done || self.made.is_empty() {
            return;
        }
        let (state, owner) = (Data::clone(&self.state), Arc::clone(&self.owner));
        let made = std::mem::take(&mut self.made);
        actix_rt::spawn(async move {
            for made in made {
                // One that remains is not listed, and expires.
                if let Err(error) = state.context.remove(&owner, &made.id).await {
                    tracing::debug!(%error, "a session of a failed import was not removed");
                }
            }
        });
    }
}
