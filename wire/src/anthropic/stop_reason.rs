//! The reason why a model stopped, in both dialects.

use serde_json::Value;

use crate::translate::ChatReader;

/// The end of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stop {
    pub(super) reason: String,
    pub(super) sequence: Option<String>,
}

impl Stop {
    /// Reads the end of a chat answer. An unknown reason is passed on unchanged.
    pub(super) fn of_chat(reader: &ChatReader, refused: bool, stop_sequences: &[String]) -> Self {
        let sequence = reader.stop_sequence.clone();
        let sequence = sequence.filter(|stop| stop_sequences.contains(stop));
        let reason = reader.finish_reason.as_deref().unwrap_or("stop");
        let reason = match reason {
            _ if refused || reader.is_filtered() => "refusal",
            "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" => {
                if sequence.is_some() {
                    "stop_sequence"
                } else if reader.has_calls() {
                    // Some servers do not have a separate reason for tool calls.
                    "tool_use"
                } else {
                    "end_turn"
                }
            }
            "tool_calls" | "function_call" => "tool_use",
            "length" => "max_tokens",
            "model_length" => "model_context_window_exceeded",
            other => other,
        };
        Self {
            reason: reason.to_owned(),
            sequence,
        }
    }
}

/// Returns chat's `finish_reason` for a `stop_reason`. An unknown reason is passed on unchanged.
pub(super) fn finish_reason(stop_reason: Option<&Value>) -> Value {
    let Some(Value::String(reason)) = stop_reason else {
        return Value::Null;
    };
    let reason = match reason.as_str() {
        "end_turn" | "stop_sequence" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "refusal" => "content_filter",
        other => other,
    };
    reason.into()
}
