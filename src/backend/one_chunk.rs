//! Creates a stream from events that are all available, for servers that cannot stream.

use bytes::Bytes;
use kebne_lane::{Answer, Attempt, Failure};

use crate::{
    backend::pump::{self, EventSource},
    llm::{ModelRequest, ModelResponse, Usage},
};

/// Creates an answer from events that are all available.
pub(crate) fn stream(
    events: Bytes,
    usage: Usage,
    attempt: &Attempt<ModelRequest>,
) -> Answer<ModelResponse> {
    let source = Nothing { usage };
    pump::stream(events, source, attempt.cancelled.clone())
}

/// The rest of a stream whose first part contained everything.
struct Nothing {
    usage: Usage,
}

impl EventSource for Nothing {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    fn tokens(&self) -> Option<u32> {
        self.usage.output_tokens()
    }

    fn usage(&self) -> Usage {
        self.usage
    }

    fn is_complete(&self) -> bool {
        true
    }
}
