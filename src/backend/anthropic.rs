//! Anthropic's Messages API, and servers compatible with it.
//!
//! A call that arrived as a Messages request is sent unchanged, except for the model's name, and its answer is
//! returned unchanged; its first bytes show whether it is a message or a chat answer. A chat call is translated into a
//! Messages request, and its answer into a chat answer.

use bytes::Bytes;
use kebne_control::Outcome;
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::{
    Endpoint, NativeApi,
    anthropic::{
        ChunkWriter, FromChat, MessageFold, MessageFramer, chat_of_message, events_of_message,
        from_chat, without_foreign,
    },
    fold::Fold,
    one_chunk::of_answer,
    sniff::Kind,
    splice,
    stream::Problem,
    translate::{BadAnswer, InvalidField},
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    backend::{
        BuildError,
        events::Events,
        failure, one_chunk,
        pump::{self, EventSource as _},
        upstream::{Call, Incoming, Upstream},
    },
    llm::{ModelRequest, ModelResponse, Usage, whole_answer},
    memory::ByteBudget,
    settings::{BackendSettings, Environment},
    unix_time,
};

/// The version of the API, which every request contains; `headers` of the settings can set another.
const VERSION: &str = "2023-06-01";

/// A client of one server.
#[derive(Debug)]
pub struct AnthropicBackend {
    upstream: Upstream,
    model: Option<String>,
    options: FromChat,
}

impl AnthropicBackend {
    /// Creates the client of the settings.
    ///
    /// # Errors
    /// Returns an error if the key's variable is not set or the value of a setting is not possible.
    pub fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        let limit = settings.output_tokens_default;
        let mut settings = settings.clone();
        let version = settings.headers.entry("anthropic-version".to_owned());
        version.or_insert_with(|| VERSION.to_owned());
        Ok(Self {
            upstream: Upstream::build(&settings, environment)?,
            model: settings.model,
            options: FromChat {
                max_tokens_default: limit,
            },
        })
    }

    /// Returns the server.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
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
        let (body, form) = self.body(request)?;
        let call = Call {
            method: http::Method::POST,
            path: "messages",
            body,
            form: None,
            is_opaque: false,
            request_id: &request.request_id,
            headers: request.headers.as_deref(),
            stream: request.stream,
            wake: attempt.wake,
        };
        let response = self.upstream.send(call).await?;
        let heard = self.upstream.heard(response.headers());
        let body = self.upstream.incoming(response, request.stream);
        let answered = self.answered(body, form, &attempt).await;
        match answered {
            Ok(answer) => Ok(self.upstream.answered(answer, heard)),
            Err(failure) => Err(self.upstream.failed(failure, heard, &request.request_id)),
        }
    }

    /// Returns the Messages request, and the form in which the caller's surface requires the answer.
    fn body(&self, request: &ModelRequest) -> Result<(Bytes, Form), Failure> {
        let model = self.model.clone();
        let model = model.unwrap_or_else(|| splice::model_of(request));
        let native = request.native.as_ref();
        if let Some(message) = native.filter(|native| native.api == NativeApi::Messages) {
            let body = splice::native_with_model(message, &model);
            let body = without_foreign(&body).unwrap_or(body);
            return Ok((body, Form::Message));
        }
        if request.endpoint != Endpoint::Chat {
            let message = format!(
                "the backend of this model has no `{}`",
                request.endpoint.path()
            );
            return Err(client(None, &message));
        }
        let mut chat: Value = serde_json::from_slice(&request.body)
            .map_err(|error| client(None, &format!("the body is not valid JSON: {error}")))?;
        let include_usage = chat["stream_options"]["include_usage"] == true;
        if let Some(chat) = chat.as_object_mut() {
            chat.insert("model".to_owned(), model.into());
        }
        let translated = from_chat(chat, self.options);
        let translated = translated.map_err(|error| unsupported(&error))?;
        let body = translated.body.to_string().into();
        Ok((body, Form::Chat { include_usage }))
    }

    async fn answered(
        &self,
        mut body: Incoming,
        form: Form,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        match body.kind().await? {
            Some(Kind::Events) if attempt.request.stream => {
                self.streamed(body, form, attempt).await
            }
            Some(Kind::Events) => self.folded(body, form, attempt).await,
            Some(Kind::Json) => self.whole(body, form, attempt).await,
            Some(Kind::Other) => {
                let start = body.chunk().await?.unwrap_or_default();
                Err(failure::unreadable(&start))
            }
            None => Err(failure::cut("the backend's answer ended before it began")),
        }
    }

    async fn whole(
        &self,
        body: Incoming,
        form: Form,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let body = body.read(self.upstream.answer_size_max()).await?;
        // The translation also checks that it is a message.
        let chat =
            chat_of_message(&body, unix_time::seconds()).map_err(|error| bad(&error, &body))?;
        let usage = Usage::deserialize(&chat["usage"]).unwrap_or_default();
        if attempt.request.stream {
            let events = match form {
                Form::Message => events_of_message(&body),
                Form::Chat { .. } => {
                    let chat = chat.to_string();
                    of_answer(Endpoint::Chat, &attempt.request.body, chat.as_bytes())
                }
            };
            let events = events.ok_or_else(|| failure::unreadable(&body))?;
            return Ok(one_chunk::stream(events, usage, attempt));
        }
        let body = match form {
            Form::Message => body,
            Form::Chat { .. } => chat.to_string().into(),
        };
        Ok(whole_answer(body, usage))
    }

    /// Folds a stream that was not requested into one answer.
    async fn folded(
        &self,
        body: Incoming,
        form: Form,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let event_size_max = self.upstream.event_size_max();
        let answer_size_max = self.upstream.answer_size_max();
        let cut = || failure::cut("the backend's stream ended before it was done");
        let (whole, tokens, usage) = match form {
            Form::Message => {
                let framer = MessageFramer::new(event_size_max, None);
                let mut events = Events::new(body, framer, attempt.idle_timeout);
                let mut fold = MessageFold::default();
                let mut size = 0_usize;
                while let Some(more) = events.next().await? {
                    size = size.saturating_add(more.len());
                    if size > answer_size_max {
                        return Err(failure::of_problem(&Problem::TooLarge, false));
                    }
                    fold.add(&more);
                }
                (fold.finish(), events.tokens(), events.usage())
            }
            Form::Chat { .. } => {
                let form = Form::Chat {
                    include_usage: true,
                };
                let framer = MessageFramer::new(event_size_max, form.writer());
                let mut events = Events::new(body, framer, attempt.idle_timeout);
                // A chunk contains the data of an event.
                let chunk_size_max = event_size_max.saturating_mul(2);
                let mut fold = Fold::new(Endpoint::Chat, chunk_size_max, answer_size_max, 1);
                while let Some(chunks) = events.next().await? {
                    if fold.push(chunks) {
                        break;
                    }
                }
                let folded = fold.finish();
                let folded = folded.map_err(|problem| failure::of_problem(&problem, false))?;
                let (whole, tokens, usage) = folded.ok_or_else(cut)?;
                (whole, Some(tokens), usage)
            }
        };
        let mut answer = whole_answer(whole, usage);
        answer.tokens = tokens;
        Ok(answer)
    }

    async fn streamed(
        &self,
        body: Incoming,
        form: Form,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let event_size_max = self.upstream.event_size_max();
        let framer = MessageFramer::new(event_size_max, form.writer());
        let mut source = Events::new(body, framer, attempt.idle_timeout);
        let first = source.head().await?;
        Ok(pump::stream(first, source, attempt.cancelled.clone()))
    }
}

/// The form in which the caller's surface requires the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As the backend sends it.
    Message,
    /// As a chat answer.
    Chat { include_usage: bool },
}

impl Form {
    fn writer(self) -> Option<ChunkWriter> {
        match self {
            Self::Message => None,
            Self::Chat { include_usage } => {
                Some(ChunkWriter::new(include_usage, unix_time::seconds()))
            }
        }
    }
}

/// Creates the failure of a whole answer that cannot be translated.
fn bad(error: &BadAnswer, data: &[u8]) -> Failure {
    match error {
        BadAnswer::Reported(_) => {
            failure::of_problem(&Problem::Error(Bytes::copy_from_slice(data)), false)
        }
        BadAnswer::Incomplete => failure::of_problem(&Problem::Cut, false),
        BadAnswer::TooLarge(_) => failure::of_problem(&Problem::TooLarge, false),
        BadAnswer::NotJson(_) if kebne_wire::json::is_cut(data) => {
            failure::of_problem(&Problem::Cut, false)
        }
        BadAnswer::NotJson(_) | BadAnswer::Lacks(_) | BadAnswer::Contradicts(_) => {
            failure::unreadable(data)
        }
    }
}

/// Creates the failure of a request that the backend cannot carry out.
fn unsupported(error: &InvalidField) -> Failure {
    client(Some(&error.field), &error.to_string())
}

fn client(param: Option<&str>, message: &str) -> Failure {
    let mut failure = Failure::new(Outcome::Client, message).with_status(400);
    let error = json!({
        "message": message, "type": "invalid_request_error", "param": param, "code": null,
    });
    failure.body = Some(json!({"error": error}).to_string().into());
    failure
}

#[cfg(test)]
mod tests;
