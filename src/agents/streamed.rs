//! The streamed answer of a model: its text is told while it arrives, and it is read as a whole at its end.

use bytes::{Buf as _, BytesMut};
use kebne_agents::{ModelError, Reply, TextSink, ToolCall, Usage};
use kebne_wire::{
    tool_rounds::{Head, Round, RoundsAnswer},
    translate::BadAnswer,
};

use crate::stages::Answered;

/// An answer that is being read.
pub(super) struct Streamed {
    answer: RoundsAnswer,
    round: Round,
    /// The beginning of a line.
    rest: BytesMut,
    error: Option<BadAnswer>,
}

impl Default for Streamed {
    fn default() -> Self {
        let head = Head {
            id: String::new(),
            model: String::new(),
            created: 0,
        };
        Self {
            answer: RoundsAnswer::new(head, false),
            round: Round::default(),
            rest: BytesMut::new(),
            error: None,
        }
    }
}

/// Returns `true` if an answer is a stream.
pub(super) fn is_streamed(answered: &Answered) -> bool {
    answered.content_type.starts_with("text/event-stream")
}

impl Streamed {
    /// Reads a part, and tells the text in it. What is not a stream has no lines of data.
    pub(super) fn read(&mut self, part: &[u8], text: &TextSink) {
        self.rest.extend_from_slice(part);
        while let Some(end) = memchr::memchr(b'\n', &self.rest) {
            let line = self.rest.split_to(end);
            self.rest.advance(1);
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            let before = self.round.text().len();
            if let Err(error) = self.answer.data(&mut self.round, data) {
                self.error.get_or_insert(error);
            }
            if let Some(more) = self.round.text().get(before..)
                && !more.is_empty()
            {
                text(more);
            }
        }
    }

    /// Returns the answer, once it has ended.
    pub(super) fn reply(mut self, answered: &Answered) -> Result<Reply, ModelError> {
        let unreadable = |error: BadAnswer| ModelError::last(error.to_string());
        if let Some(error) = self.error {
            return Err(unreadable(error));
        }
        let end = self.answer.close(self.round).map_err(unreadable)?;
        let consumed = answered.consumed;
        let (input_tokens, output_tokens) = end.tokens.unwrap_or((consumed.tokens, 0));
        let calls = end.calls.into_iter().map(|call| ToolCall {
            id: call.id,
            name: call.name,
            arguments: call.arguments,
        });
        Ok(Reply {
            text: end.text,
            calls: calls.collect(),
            usage: Usage {
                input_tokens,
                output_tokens,
                cost: consumed.cost.unwrap_or_default(),
            },
        })
    }

    /// Returns why an answer has failed that had begun.
    pub(super) fn failure(self) -> String {
        let error = self.error.map(|error| error.to_string());
        error.unwrap_or_else(|| BadAnswer::Incomplete.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use actix_web::http::StatusCode;
    use bytes::Bytes;

    use super::*;
    use crate::{cost::Consumed, stages::Meaning};

    fn answered() -> Answered {
        Answered {
            status: StatusCode::OK,
            content_type: "text/event-stream".to_owned(),
            body: Bytes::new(),
            ending: Meaning::Answer,
            consumed: Consumed::default(),
        }
    }

    /// Reads a stream in parts of seven bytes; returns the answer and what was told.
    fn read(stream: &str) -> (Result<Reply, ModelError>, Vec<String>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let sink: TextSink = Arc::new(move |text: &str| {
            teller.lock().unwrap().push(text.to_owned());
        });
        let mut streamed = Streamed::default();
        for part in stream.as_bytes().chunks(7) {
            streamed.read(part, &sink);
        }
        let told = told.lock().unwrap().clone();
        (streamed.reply(&answered()), told)
    }

    const BEGUN: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hå\"}}]}\n\n: waiting\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"llo\"}}]}\n\n";

    #[test]
    fn the_text_is_told_in_pieces_and_the_answer_is_read_at_its_end() {
        let call = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        let (reply, told) = read(&format!("{BEGUN}{call}"));
        let reply = reply.unwrap();
        assert_eq!(told, ["Hå", "llo"]);
        assert_eq!(reply.text, "Hållo");
        assert_eq!((reply.calls.len(), reply.calls[0].name.as_str()), (1, "f"));
        assert_eq!(
            (reply.usage.input_tokens, reply.usage.output_tokens),
            (3, 2)
        );
    }

    #[test]
    fn a_stream_that_breaks_off_or_reports_an_error_is_none() {
        assert!(read(BEGUN).0.is_err());
        let failed = format!("{BEGUN}data: {{\"error\":{{\"message\":\"no room\"}}}}\n\n");
        let error = read(&failed).0.unwrap_err();
        assert!(error.message.contains("no room"), "{error}");
    }
}
