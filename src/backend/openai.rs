//! Any server of the `OpenAI` dialect: `OpenAI`, vLLM, TGI, Ollama, llama.cpp's server and others.
//!
//! The caller's body is sent unchanged (except for the model's name) and the answer is returned unchanged (except for
//! lines that SDKs cannot read). The bytes of the answer determine whether it is a stream or a whole answer. A stream
//! that was not requested is folded into one answer, and a whole answer is converted to a stream if one was requested.
//!
//! A server that has the Responses API gets calls of that API unchanged (`responses`).

mod lessons;
mod responses;

use std::sync::Arc;

use http::{HeaderValue, Method, header::CONTENT_TYPE};
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::{
    Endpoint, NativeApi,
    error::is_error,
    fold::Fold,
    json,
    one_chunk::of_answer,
    sniff::Kind,
    splice,
    stream::{self, Framer},
    whole,
};
use serde_json::Value;

use crate::{
    backend::{
        BuildError,
        events::Events,
        failure, one_chunk,
        openai::lessons::Lessons,
        pump,
        upstream::{Call, Incoming, Upstream},
    },
    llm::{AnswerUsage, ModelBody, ModelRequest, ModelResponse, Usage, whole_answer},
    memory::ByteBudget,
    settings::{BackendSettings, Environment},
};

/// The path of the Responses API.
const RESPONSES: &str = "responses";

/// Bytes of an answer that are shown in a log when it cannot be used.
const SHOWN_MAX: usize = 200;

/// A client of one server.
#[derive(Debug)]
pub struct OpenAiBackend {
    upstream: Upstream,
    model: Option<String>,
    speaks_responses: bool,
    lessons: Lessons,
}

impl OpenAiBackend {
    /// Creates the client of the settings.
    ///
    /// # Errors
    /// Returns an error if the key's variable is not set or the value of a setting is not possible.
    pub fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            upstream: Upstream::build(settings, environment)?,
            model: settings.model.clone(),
            speaks_responses: settings.speaks(NativeApi::Responses),
            lessons: Lessons::default(),
        })
    }

    /// Returns the server.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Returns the server's own name for the model, if it has one.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Charges whole answers to a budget.
    pub(crate) fn charge_answers_to(&mut self, answers: &ByteBudget) {
        self.upstream.charge_answers_to(answers);
    }

    /// Makes one attempt.
    ///
    /// # Errors
    /// Returns a [`Failure`] with its class. After the first event, a loss is reported in the stream instead.
    pub async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        let is_opaque = matches!(request.endpoint, Endpoint::PassThrough(_));
        let native = self.native(request);
        let is_native = native.is_some();
        let direct = request.direct.as_ref();
        let is_content = direct.is_some_and(|direct| direct.is_content);
        let (method, path, body) = if let Some(direct) = direct {
            (direct.method.clone(), &*direct.path, request.body.clone())
        } else if let Some(body) = native {
            (Method::POST, RESPONSES, body)
        } else {
            let body = splice::body_for(request, self.model.as_deref());
            (Method::POST, request.endpoint.path(), body)
        };
        let call = Call {
            method,
            path,
            body,
            form: request.form.as_deref(),
            is_opaque,
            request_id: &request.request_id,
            headers: request.headers.as_deref(),
            stream: request.stream,
            wake: attempt.wake,
        };
        let (response, hides_usage) = if is_native || is_opaque {
            (self.upstream.send(call).await?, false)
        } else {
            self.send_asking(call, request).await?
        };
        let heard = self.upstream.heard(response.headers());
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let body = self.upstream.incoming(response, request.stream);
        let answered = if is_native {
            self.responded(body, &attempt).await
        } else if is_opaque {
            self.opaque(body, content_type, is_content).await
        } else {
            self.answered(body, &attempt, hides_usage).await
        };
        match answered {
            Ok(answer) => Ok(self.upstream.answered(answer, heard)),
            Err(failure) => Err(self.upstream.failed(failure, heard, &request.request_id)),
        }
    }

    /// Reads an answer whose shape is not known here; only an error is, unless the answer is the content of a file.
    async fn opaque(
        &self,
        body: Incoming,
        content_type: Option<HeaderValue>,
        is_content: bool,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let body = if is_content { body.into_file() } else { body };
        let body = body.read(self.upstream.answer_size_max()).await?;
        let json = if is_content {
            None
        } else {
            serde_json::from_slice::<Value>(&body).ok()
        };
        if json.as_ref().is_some_and(is_error) {
            return Err(failure::of_problem(&stream::Problem::Error(body), false));
        }
        let content_type = content_type.as_ref().and_then(|kind| kind.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        if !is_content && content_type.contains("json") && json::is_cut(&body) {
            return Err(failure::of_problem(&stream::Problem::Cut, false));
        }
        let mut response = ModelResponse::from(ModelBody::Opaque(content_type, body));
        let usage = json.as_ref().map(Usage::of_answer);
        response.usage = AnswerUsage::Known(usage.unwrap_or_default());
        Ok(Answer::complete(response))
    }

    /// Reads an answer according to its content, regardless of its `content-type`. With `hides_usage` the usage of a
    /// stream is not passed on.
    async fn answered(
        &self,
        mut body: Incoming,
        attempt: &Attempt<ModelRequest>,
        hides_usage: bool,
    ) -> Result<Answer<ModelResponse>, Failure> {
        match body.kind().await? {
            Some(Kind::Events) if attempt.request.stream => {
                self.streamed(body, attempt, hides_usage).await
            }
            Some(Kind::Events) => self.folded(body, attempt).await,
            Some(Kind::Json) => self.whole(body, attempt).await,
            Some(Kind::Other) => {
                let start = body.chunk().await?.unwrap_or_default();
                Err(failure::unreadable(&start))
            }
            None => Err(failure::cut("the backend's answer ended before it began")),
        }
    }

    /// Reads a whole answer, and converts it to one chunk if the caller requested a stream.
    async fn whole(
        &self,
        body: Incoming,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        let body = body.read(self.upstream.answer_size_max()).await?;
        let start = body.slice(..body.len().min(SHOWN_MAX));
        let checked = whole::check(request.endpoint, body, &request.request_id);
        let checked = checked.map_err(|problem| {
            let mut failure = failure::of_problem(&problem, false);
            if !matches!(problem, stream::Problem::Error(_)) {
                failure.message = format!(
                    "{}; it begins: {}",
                    failure.message,
                    failure::error_text(&start)
                );
            }
            failure
        })?;
        if request.stream {
            let chunks = of_answer(request.endpoint, &request.body, &checked.body);
            let chunks = chunks.ok_or_else(|| failure::unreadable(&start))?;
            return Ok(one_chunk::stream(chunks, checked.usage, attempt));
        }
        Ok(whole_answer(checked.body, checked.usage))
    }

    /// Folds a stream that was not requested into one answer.
    async fn folded(
        &self,
        mut body: Incoming,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        let mut fold = Fold::new(
            request.endpoint,
            self.upstream.event_size_max(),
            self.upstream.answer_size_max(),
            request.choices,
        )
        .with_id_seed(Arc::clone(&request.request_id));
        while let Some(chunk) = body.chunk().await? {
            if fold.push(chunk) {
                break;
            }
        }
        let folded = fold.finish();
        let folded = folded.map_err(|problem| failure::of_problem(&problem, false))?;
        let (whole, tokens, usage) =
            folded.ok_or_else(|| failure::cut("the backend's stream ended before it was done"))?;
        let mut answer = whole_answer(whole, usage);
        answer.tokens = Some(tokens);
        Ok(answer)
    }

    /// Waits for the first event and leaves the rest to the tail.
    async fn streamed(
        &self,
        body: Incoming,
        attempt: &Attempt<ModelRequest>,
        hides_usage: bool,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        let mut framer = Framer::new(self.upstream.event_size_max(), request.choices)
            .with_id_seed(Arc::clone(&request.request_id));
        if hides_usage {
            framer = framer.hiding_usage();
        }
        let mut source = Events::new(body, framer, attempt.idle_timeout);
        let first = source.head().await?;
        Ok(pump::stream(first, source, attempt.cancelled.clone()))
    }
}

#[cfg(test)]
mod tests;
