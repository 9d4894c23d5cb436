//! Sessions of the caller's tenant: which there are, and their turns.

use kebne_mcp::Tool;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{http::visit::Visit, surface::error::ApiError};

/// The entries of a page, at most and by default.
const PAGE: (usize, usize) = (100, 20);

/// The arguments of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListArguments {
    after: Option<String>,
    limit: Option<usize>,
}

/// The arguments of the turns.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TurnsArguments {
    session: String,
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) fn list_tool() -> Tool {
    let schema = super::schema(
        &json!({
            "after": {"type": "string", "description": "The id of a session: those behind it are listed."},
            "limit": {"type": "integer", "minimum": 1, "maximum": PAGE.0},
        }),
        &[],
    );
    Tool::own("sessions", "Lists the sessions that are kept.", schema).read_only()
}

pub(super) fn turns_tool() -> Tool {
    let schema = super::schema(
        &json!({
            "session": {"type": "string", "description": "The id of the session."},
            "after": {"type": "integer", "minimum": 0, "description": "The number of a turn: those behind it are read."},
            "limit": {"type": "integer", "minimum": 1, "maximum": PAGE.0},
        }),
        &["session"],
    );
    let about = "Reads the turns of a session in order.";
    Tool::own("session_turns", about, schema).read_only()
}

pub(super) async fn list(visit: &Visit, asked: ListArguments) -> Result<Value, ApiError> {
    let limit = limit(asked.limit)?;
    let context = &visit.state.context;
    let part = context.list(visit.owner(), asked.after, limit).await?;
    let sessions = part.items.iter().map(|session| {
        json!({
            "id": session.id, "turns": session.turns, "tokens": session.tokens,
            "metadata": session.details.metadata,
            "created_at": session.created / 1000, "last_used_at": session.used / 1000,
        })
    });
    Ok(json!({"sessions": sessions.collect::<Vec<_>>(), "has_more": part.has_more}))
}

pub(super) async fn turns(visit: &Visit, asked: TurnsArguments) -> Result<Value, ApiError> {
    let limit = limit(asked.limit)?;
    let after = asked.after.unwrap_or(0);
    let context = &visit.state.context;
    let part = context.turns(visit.owner(), &asked.session, after, limit);
    let part = part.await?;
    let turns = part.items.iter().map(|turn| {
        let messages: Value = serde_json::from_slice(&turn.content.messages).unwrap_or_default();
        json!({"number": turn.number, "messages": messages})
    });
    Ok(json!({"turns": turns.collect::<Vec<_>>(), "has_more": part.has_more}))
}

fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    let limit = asked.unwrap_or(PAGE.1);
    if (1..=PAGE.0).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::bad_request(
        Some("limit"),
        "`limit` must be 1 to 100",
    ))
}
