//! A function: code of the operator behind a URL, which gets JSON and answers with JSON.
//!
//! A direct call is sent as it came. A chat call becomes the data of an event (messages, variables of the session, route, tenant), and the
//! answer becomes the answer of a chat, as a whole or as a stream of one piece. The lane in front of it decides what is repeated; each
//! attempt of a call has the same id, so that a function can tell.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use kebne_control::Outcome;
use kebne_functions::{
    Answer as FunctionAnswer, CHAT_CALL, ChatAnswer, ChatCall, DIRECT_CALL, Envelope, Event,
    FunctionSettings, InputSchema, chat_data,
};
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::{
    Endpoint, PassThrough,
    error::is_error,
    json::is_cut,
    one_chunk::of_answer,
    splice,
    stream::Problem,
    usage::Usage,
    whole::{self, Whole},
};
use serde_json::{Value, json};

use crate::{
    backend::{
        BuildError, failure, one_chunk,
        reason::UNREADABLE,
        upstream::{Call, Upstream},
    },
    llm::{ModelRequest, ModelResponse, whole_answer},
    memory::ByteBudget,
    settings::{BackendSettings, Environment, secret_file},
    unix_time,
    webhook_signature::Signer,
};

/// What is asked for: JSON, alone or in an event. Anything is read.
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/json, application/cloudevents+json, */*;q=0.5");
/// The attribute `source` of calls.
const SOURCE: &str = "/kebne";
/// The shortest secret that signs: half the length that a random one should have.
const SECRET_MIN: usize = 16;

/// A function as calls need it.
#[derive(Debug)]
pub struct Function {
    /// Its settings.
    pub settings: FunctionSettings,
    /// What the input of direct calls must satisfy.
    pub schema: Option<InputSchema>,
}

/// A client of one function.
pub struct FunctionBackend {
    upstream: Upstream,
    function: Arc<Function>,
    signer: Option<Signer>,
}

impl std::fmt::Debug for FunctionBackend {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FunctionBackend")
            .field("function", &self.function)
            .field("is_signed", &self.signer.is_some())
            .finish_non_exhaustive()
    }
}

impl FunctionBackend {
    /// Creates the client of the settings.
    ///
    /// # Errors
    /// Returns an error if a secret cannot be read, or the value of a setting is not possible.
    pub fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        let wrong = |key, reason: String| BuildError::Setting {
            backend: settings.name.clone(),
            key,
            reason,
        };
        let Some(function) = &settings.function else {
            return Err(wrong(
                "kind",
                "a function is set in `[[functions]]`".to_owned(),
            ));
        };
        let schema = function.input_schema.as_deref().map(InputSchema::read);
        let schema = schema.transpose();
        let schema = schema.map_err(|error| wrong("input_schema", error.to_string()))?;
        let secret = secret(function, environment).map_err(|(key, reason)| wrong(key, reason))?;
        Ok(Self {
            upstream: Upstream::build(settings, environment)?,
            function: Arc::new(Function {
                settings: FunctionSettings::clone(function),
                schema,
            }),
            signer: secret.map(|secret| Signer::new(&secret)),
        })
    }

    /// Returns the function.
    pub(crate) fn function(&self) -> &Arc<Function> {
        &self.function
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
    /// Returns a [`Failure`] with its class.
    pub async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        let sent = self.envelope(request)?;
        let headers = self.headers(request, &sent);
        let call = Call {
            method: Method::POST,
            path: "",
            body: Bytes::from(sent.body),
            form: Some(sent.content_type),
            is_opaque: false,
            request_id: &request.request_id,
            headers: Some(&headers),
            stream: false,
            wake: attempt.wake,
        };
        let response = self.upstream.send(call).await;
        let response = response.map_err(|failure| explained(self.weighed(failure)))?;
        let heard = self.upstream.heard(response.headers());
        if is_event(request) {
            // A success says that the function has it.
            let answer = whole_answer(Bytes::from_static(b"null"), Usage::default());
            return Ok(self.upstream.answered(answer, heard));
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let answered = match self.upstream.read(response).await {
            Ok(body) => answered(body, content_type.as_ref(), &attempt),
            Err(failure) => Err(failure),
        };
        match answered {
            Ok(answer) => Ok(self.upstream.answered(answer, heard)),
            Err(failure) => Err(self.upstream.failed(failure, heard, &request.request_id)),
        }
    }

    /// Returns a failure as what it is for this function. A proxy answers with 502 or 504 also if the function has died at its work, which is no
    /// refusal of a function that must not be called again.
    fn weighed(&self, mut failure: Failure) -> Failure {
        let settings = &self.function.settings;
        let is_of_proxy =
            |status: &u16| matches!(status, 502 | 504) && !settings.cold_statuses.contains(status);
        let is_doubtful = failure.status.as_ref().is_some_and(is_of_proxy);
        if is_doubtful && failure.outcome.is_refusal() && !settings.is_repeatable() {
            failure.outcome = Outcome::Fault;
        }
        failure
    }

    /// Puts a call into the form of the function.
    fn envelope(&self, request: &ModelRequest) -> Result<Envelope, Failure> {
        let settings = &self.function.settings;
        if is_event(request) {
            return Ok(Envelope::of_event(settings.format, &request.body));
        }
        let (kind, data) = match request.endpoint {
            Endpoint::PassThrough(PassThrough::Function) => (DIRECT_CALL, request.body.clone()),
            Endpoint::Chat => (CHAT_CALL, Bytes::from(chat(request)?)),
            _ => {
                let message = "a function answers chat calls and calls of `/v1/functions`, and has no other operation";
                return Err(refused(message));
            }
        };
        let event = Event {
            id: &request.request_id,
            source: SOURCE,
            kind,
            subject: Some(&settings.name),
        };
        Ok(Envelope::new(settings.format, &event, &data))
    }

    /// Returns the headers of a call: those of the caller that go along, those of the event, and the signature.
    fn headers(&self, request: &ModelRequest, sent: &Envelope) -> HeaderMap {
        let mut headers = request.headers.as_deref().cloned().unwrap_or_default();
        headers.insert(ACCEPT, ACCEPTED);
        let mut set = |name: &str, value: &str| {
            let name = HeaderName::try_from(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        };
        for (name, value) in &sent.headers {
            set(name, value);
        }
        let now = unix_time::seconds();
        let body = str::from_utf8(&sent.body).unwrap_or_default();
        let signature = self.signer.as_ref();
        let signature = signature.and_then(|signer| signer.sign(&request.request_id, now, body));
        if let Some(signature) = signature {
            set("webhook-id", &request.request_id);
            set("webhook-timestamp", &now.to_string());
            set("webhook-signature", &signature);
        }
        headers
    }
}

/// Reads the secret that signs calls; an error names its key.
fn secret(
    function: &FunctionSettings,
    environment: &dyn Environment,
) -> Result<Option<String>, (&'static str, String)> {
    let (key, secret) = match (&function.signing_secret_env, &function.signing_secret_file) {
        (None, None) => return Ok(None),
        (Some(variable), _) => {
            let key = "signing_secret_env";
            let value = environment
                .get(variable)
                .map_err(|error| (key, error.to_string()))?;
            let value = value.map(|value| value.trim().to_owned());
            let value = value.filter(|value| !value.is_empty());
            let missing = || {
                (
                    key,
                    format!("the environment variable `{variable}` is not set or empty"),
                )
            };
            (key, value.ok_or_else(missing)?)
        }
        (None, Some(path)) => {
            let key = "signing_secret_file";
            (
                key,
                secret_file::read(path).map_err(|error| (key, error.to_string()))?,
            )
        }
    };
    if secret.len() < SECRET_MIN {
        return Err((
            key,
            format!(
                "the secret is shorter than {SECRET_MIN} characters; `openssl rand -hex 32` prints a good one"
            ),
        ));
    }
    Ok(Some(secret))
}

/// Returns `true` if an event is delivered.
fn is_event(request: &ModelRequest) -> bool {
    request.about.as_ref().is_some_and(|about| about.is_event)
}

/// Returns the data of a chat call.
fn chat(request: &ModelRequest) -> Result<Vec<u8>, Failure> {
    let about = request.about.as_deref();
    let text = |text: fn(&kebne_wire::about::About) -> &str| {
        about.map(text).filter(|text| !text.is_empty())
    };
    let route = about.and_then(|about| about.route.as_ref());
    let session = about.and_then(|about| about.session.as_ref());
    let call = ChatCall {
        request_id: &request.request_id,
        tenant: text(|about| &about.tenant),
        key: text(|about| &about.key),
        route: route.map(|(route, rule)| (route.as_str(), rule.as_str())),
        session: session.map(|(id, turns)| (id.as_str(), *turns)),
        variables: about.map(|about| &about.variables),
    };
    chat_data(&request.body, &call)
        .map_err(|error| refused(&format!("the request is not understood: {error}")))
}

/// Reads the answer of a function.
fn answered(
    body: Bytes,
    content_type: Option<&HeaderValue>,
    attempt: &Attempt<ModelRequest>,
) -> Result<Answer<ModelResponse>, Failure> {
    let label = content_type.and_then(|label| label.to_str().ok());
    let answer = FunctionAnswer::read(label, &body).map_err(|error| {
        if is_cut(&body) {
            failure::of_problem(&Problem::Cut, false)
        } else {
            unusable(&error, &body)
        }
    })?;
    if attempt.request.endpoint != Endpoint::Chat {
        let body = if answer.is_unwrapped {
            Bytes::from(answer.data.to_string())
        } else {
            body
        };
        return Ok(whole_answer(body, Usage::default()));
    }
    if is_error(&answer.data) {
        let body = Bytes::from(answer.data.to_string());
        return Err(failure::of_problem(&Problem::Error(body), false));
    }
    let chat = answer
        .into_chat()
        .map_err(|error| unusable(&error, &body))?;
    chat_answered(chat, &body, attempt)
}

/// Makes the answer of a chat of the answer of a function.
fn chat_answered(
    chat: ChatAnswer,
    body: &Bytes,
    attempt: &Attempt<ModelRequest>,
) -> Result<Answer<ModelResponse>, Failure> {
    let request = &attempt.request;
    let variables = chat.variables().clone();
    if let Some(misfit) = chat.misfit() {
        let request_id = &*request.request_id;
        tracing::warn!(
            request_id,
            misfit,
            "the variables that a function sets are not kept"
        );
    }
    let model = splice::model_of(request);
    let completion = chat.into_completion(&request.request_id, unix_time::seconds(), &model);
    let completion = Bytes::from(completion.to_string());
    let checked = whole::check(request.endpoint, completion, &request.request_id);
    let Whole {
        body: answer,
        usage,
    } = checked.map_err(|problem| failure::of_problem(&problem, false))?;
    let answer = if request.stream {
        let chunks = of_answer(request.endpoint, &request.body, &answer);
        let chunks = chunks.ok_or_else(|| failure::unreadable(body))?;
        one_chunk::stream(chunks, usage, attempt)
    } else {
        whole_answer(answer, usage)
    };
    if let Some(about) = &request.about {
        about.set_variables(|| variables);
    }
    Ok(answer)
}

/// Creates the failure of an answer that cannot be used. Another attempt would get the same.
fn unusable(error: &kebne_functions::UnusableAnswer, body: &[u8]) -> Failure {
    let message = format!("{error}; it begins: {}", failure::error_text(body));
    Failure::new(Outcome::Unusable, message).because(UNREADABLE)
}

/// Puts what a function says of its caller's fault into the form of an error, in which it reaches the caller.
fn explained(mut failure: Failure) -> Failure {
    let said = failure
        .body
        .as_deref()
        .filter(|_| failure.outcome == Outcome::Client);
    let Some(said) = said else {
        return failure;
    };
    let said = match serde_json::from_slice::<Value>(said) {
        Ok(said) => said,
        Err(_) if said.trim_ascii().is_empty() => Value::Null,
        Err(_) => failure::error_text(said).into(),
    };
    if said["error"]["message"].is_string() {
        return failure;
    }
    let text = said["message"]
        .as_str()
        .unwrap_or("the function refuses its input");
    let error = json!({"message": text, "type": "invalid_request_error", "param": null, "code": null, "details": said});
    failure.body = Some(Bytes::from(json!({"error": error}).to_string()));
    failure
}

/// Refuses a request that functions do not support.
fn refused(message: &str) -> Failure {
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}});
    let mut failure = Failure::new(Outcome::Client, message).with_status(400);
    failure.body = Some(Bytes::from(body.to_string()));
    failure
}
