//! The progress of a Messages stream that is passed on unchanged.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{translate::BadAnswer, usage::Usage};

#[derive(Deserialize)]
struct EventView<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    message: Option<MessageView>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(borrow, default)]
    delta: Option<DeltaView<'a>>,
    #[serde(borrow, default)]
    error: Option<ErrorView<'a>>,
}

#[derive(Deserialize)]
struct MessageView {
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct DeltaView<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ErrorView<'a> {
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
}

/// The part of a message that has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Nothing,
    Begun,
    Speaking,
    /// The stop reason is known.
    Ending,
    Done,
}

/// Follows one stream. A message is complete when `message_stop` arrives after a stop reason.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    stage: Stage,
    usage: Usage,
}

impl Progress {
    /// Reads the data of one event and returns its type.
    ///
    /// # Errors
    /// Returns an error if the data is not an event or reports an error, or if the message stops before it begins or
    /// without a stop reason.
    pub(super) fn note<'a>(&mut self, data: &'a [u8]) -> Result<Cow<'a, str>, BadAnswer> {
        let event: EventView<'_> =
            serde_json::from_slice(data).map_err(|error| BadAnswer::NotJson(error.to_string()))?;
        let kind = event.kind.ok_or(BadAnswer::Lacks("type"))?;
        let counted = event.message.and_then(|message| message.usage);
        if let Some(counted) = event.usage.or(counted) {
            self.usage = counted.or(self.usage);
        }
        match &*kind {
            "message_start" => self.reach(Stage::Begun),
            "content_block_start" | "content_block_delta" if self.stage >= Stage::Begun => {
                self.reach(Stage::Speaking);
            }
            "message_delta" if self.stage >= Stage::Begun => {
                let reason = event.delta.and_then(|delta| delta.stop_reason);
                let has_reason = reason.is_some_and(|reason| !reason.is_empty());
                self.reach(if has_reason {
                    Stage::Ending
                } else {
                    Stage::Speaking
                });
            }
            "message_stop" if self.stage >= Stage::Ending => self.reach(Stage::Done),
            "message_stop" => return Err(BadAnswer::Incomplete),
            "error" => {
                let message = event.error.and_then(|error| error.message);
                return Err(BadAnswer::Reported(
                    message.unwrap_or_default().into_owned(),
                ));
            }
            _ => {}
        }
        Ok(kind)
    }

    fn reach(&mut self, stage: Stage) {
        self.stage = self.stage.max(stage);
    }

    /// Returns `true` once the message has content, or a stop reason without content.
    pub(super) fn has_spoken(self) -> bool {
        self.stage >= Stage::Speaking
    }

    /// Returns `true` once the message is complete.
    pub(super) fn is_done(self) -> bool {
        self.stage == Stage::Done
    }

    /// Returns the output tokens that the backend has counted so far.
    pub(super) fn usage(self) -> Usage {
        self.usage
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn noted(events: &[serde_json::Value]) -> Result<Progress, BadAnswer> {
        let mut progress = Progress::default();
        for event in events {
            progress.note(event.to_string().as_bytes())?;
        }
        Ok(progress)
    }

    #[test]
    fn a_message_is_done_when_it_stops_for_a_reason() {
        let start =
            json!({"type": "message_start", "message": {"id": "m", "usage": {"output_tokens": 1}}});
        let ping = json!({"type": "ping"});
        let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
        let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}});
        let stop = json!({"type": "message_stop"});
        let begun = noted(&[start.clone(), ping.clone()]).unwrap();
        assert!(!begun.has_spoken() && !begun.is_done());
        assert_eq!(begun.usage().output, Some(1));
        let spoken = noted(&[start.clone(), ping, block.clone()]).unwrap();
        assert!(spoken.has_spoken() && !spoken.is_done());
        let done = noted(&[start.clone(), block.clone(), end.clone(), stop.clone()]).unwrap();
        assert!(done.is_done());
        assert_eq!(done.usage().output, Some(7));
        for events in [&[start, block, stop.clone()][..], &[end, stop][..]] {
            assert!(matches!(noted(events), Err(BadAnswer::Incomplete)));
        }
    }

    #[test]
    fn what_is_not_an_event_is_an_error() {
        let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
        assert!(matches!(noted(&[error]), Err(BadAnswer::Reported(text)) if text == "Overloaded"));
        assert!(matches!(
            noted(&[json!({"choices": []})]),
            Err(BadAnswer::Lacks(_))
        ));
        assert!(matches!(
            noted(&[json!([])]),
            Err(BadAnswer::NotJson(_) | BadAnswer::Lacks(_))
        ));
    }
}
