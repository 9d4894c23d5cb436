//! Calls of the Responses API to a server that has it. The request is sent unchanged, and the response is returned
//! unchanged; its first bytes show whether it is a response or a chat answer.

use bytes::Bytes;
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::{
    NativeApi,
    responses::{ResponseFramer, check_response, events_of_response, final_response},
    sniff::Kind,
    splice::{model_of, native_with_model},
};

use crate::{
    backend::{
        events::Events,
        failure, one_chunk,
        openai::OpenAiBackend,
        pump::{self, EventSource as _},
        upstream::Incoming,
    },
    llm::{ModelRequest, ModelResponse, whole_answer},
};

impl OpenAiBackend {
    /// Returns the body of a call that is sent to the Responses API of the server.
    pub(super) fn native(&self, request: &ModelRequest) -> Option<Bytes> {
        let native = request.native.as_ref();
        let native = native.filter(|native| native.api == NativeApi::Responses)?;
        if !self.speaks_responses {
            return None;
        }
        let model = self.model.clone();
        let model = model.unwrap_or_else(|| model_of(request));
        Some(native_with_model(native, &model))
    }

    /// Reads a response according to its content, regardless of its `content-type`.
    pub(super) async fn responded(
        &self,
        mut body: Incoming,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let is_stream = attempt.request.stream;
        match body.kind().await? {
            Some(Kind::Events) => {
                let framer = ResponseFramer::new(self.upstream.event_size_max());
                let mut source = Events::new(body, framer, attempt.idle_timeout);
                if is_stream {
                    let first = source.head().await?;
                    return Ok(pump::stream(first, source, attempt.cancelled.clone()));
                }
                self.last(source).await
            }
            Some(Kind::Json) => {
                let body = body.read(self.upstream.answer_size_max()).await?;
                whole(&body, attempt)
            }
            Some(Kind::Other) => {
                let start = body.chunk().await?.unwrap_or_default();
                Err(failure::unreadable(&start))
            }
            None => Err(failure::cut("the backend's answer ended before it began")),
        }
    }

    /// Reads a stream that was not requested up to its last event, which contains the whole response.
    async fn last(
        &self,
        mut source: Events<ResponseFramer>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let mut last = None;
        while let Some(events) = source.next().await? {
            last = final_response(&events);
        }
        let whole =
            last.ok_or_else(|| failure::cut("the backend's stream ended before it was done"))?;
        let mut answer = whole_answer(whole, source.usage());
        answer.tokens = source.tokens();
        Ok(answer)
    }
}

fn whole(body: &Bytes, attempt: &Attempt<ModelRequest>) -> Result<Answer<ModelResponse>, Failure> {
    let checked = check_response(body.clone());
    let checked = checked.map_err(|problem| failure::of_problem(&problem, false))?;
    if attempt.request.stream {
        let events = events_of_response(&checked.body);
        let events = events.ok_or_else(|| failure::unreadable(body))?;
        return Ok(one_chunk::stream(events, checked.usage, attempt));
    }
    Ok(whole_answer(checked.body, checked.usage))
}

#[cfg(test)]
mod tests;
