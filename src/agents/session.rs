//! The session of a run: what was said in it before, and the turn that the run adds.

use std::sync::Arc;

use kebne_agents::{Message, Run};
use kebne_context::store::{Turn, TurnContent};
use kebne_events::SessionChange;
use serde_json::{Value, json};

use crate::{state::State, surface::error::ApiError};

/// Returns the texts of the newest turns of a session that fit into the tokens of sessions.
///
/// # Errors
/// Returns a 404 if the owner has no such session, and a 503 if the store fails.
pub(crate) async fn history(
    state: &State,
    owner: &str,
    session: &str,
) -> Result<Vec<Message>, ApiError> {
    state.context.open(owner, session).await?;
    let tokens_max = state.context_settings.tokens_max;
    let turns = state.context.fit(session, tokens_max).await?;
    Ok(turns.iter().flat_map(messages).collect())
}

/// Returns the texts of a turn. Calls of tools of its caller are left out, because the agent has other tools.
fn messages(turn: &Turn) -> Vec<Message> {
    let kept = serde_json::from_slice(&turn.content.messages);
    let kept: Vec<Value> = kept.unwrap_or_default();
    let messages = kept.iter().filter_map(|message| {
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                texts.collect::<Vec<&str>>().join("\n")
            }
            _ => return None,
        };
        match message["role"].as_str()? {
            _ if text.is_empty() => None,
            "user" => Some(Message::User { text }),
            "assistant" => Some(Message::assistant(text)),
            "system" | "developer" => Some(Message::System { text }),
            _ => None,
        }
    });
    messages.collect()
}

/// Adds the input and the final text of a run to its session, beside the run.
pub(super) fn keep(state: Arc<State>, run: &Run) {
    let (Some(session), Some(output)) = (run.began.session.clone(), run.output()) else {
        return;
    };
    let input = match run.began.messages.last() {
        Some(Message::User { text }) => text.clone(),
        _ => String::new(),
    };
    let messages = [
        json!({"role": "user", "content": input}),
        json!({"role": "assistant", "content": output}),
    ];
    let tokenizer = state.context_settings.tokenizer;
    let content = TurnContent {
        tokens: messages
            .iter()
            .map(|message| tokenizer.count_message(message))
            .sum(),
        leads: true,
        messages: json!(messages).to_string().into(),
    };
    let (owner, id) = (run.owner.to_string(), run.id.to_string());
    actix_rt::spawn(async move {
        match state.context.append(&session, content).await {
            Ok(number) => {
                let added = (SessionChange::TurnAdded, Some(number));
                state.events.session_changed(&owner, &session, added);
            }
            Err(error) => {
                tracing::warn!(run = id, session, %error, "the turn of a run is not kept");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_a_turn_are_its_history() {
        let kept = json!([
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "tool", "content": "x"},
            {"role": "assistant", "content": "b"},
        ]);
        let turn = Turn {
            number: 1,
            content: TurnContent {
                tokens: 1,
                leads: true,
                messages: kept.to_string().into(),
            },
        };
        assert_eq!(
            messages(&turn),
            [Message::user("a"), Message::assistant("b")]
        );
    }
}
