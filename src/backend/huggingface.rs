//! Hugging Face's text-generation inference: `POST /models/{model}` with `inputs` and `parameters`, offered to
//! callers as chat and completions.
//!
//! The dialect has one input text and one output text. A template converts a chat to a text, and a stream is emulated
//! as one chunk. What the dialect cannot do (tools, several choices, embeddings) is refused with an explanation
//! instead of being left out silently. Other sampling keys that it does not have are ignored.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use kebne_context::prompts::check_bounds;
use kebne_control::Outcome;
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::{error::is_error, one_chunk::of_answer, splice, stream::Problem, surrogates};
use minijinja::{Environment as Templates, context};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    backend::{
        BuildError, failure, one_chunk,
        upstream::{Call, Upstream},
    },
    llm::{Endpoint, ModelRequest, ModelResponse, Usage, whole_answer},
    memory::ByteBudget,
    settings::{BackendSettings, Environment},
    unix_time,
};

/// The default chat template: the form that base models continue best, one line per message.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:";

/// The template's name; there is only one.
const CHAT: &str = "chat_template";

/// A client of one server.
#[derive(Debug)]
pub struct HuggingFaceBackend {
    upstream: Upstream,
    model: Option<String>,
    templates: Templates<'static>,
}

/// The fields of a request that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    messages: Vec<Map<String, Value>>,
    prompt: Value,
    max_tokens: Option<f64>,
    max_completion_tokens: Option<f64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<u64>,
    frequency_penalty: Option<f64>,
    stop: Value,
    n: Option<u64>,
    tools: Option<Vec<Value>>,
}

/// The text of an answer, with its token count and its end.
#[derive(Debug, PartialEq, Eq)]
struct Generated {
    text: String,
    cut: bool,
    tokens: Option<u32>,
}

impl HuggingFaceBackend {
    /// Creates the client of the settings.
    ///
    /// # Errors
    /// Returns an error if the key's variable is not set, the template is invalid, or the value of a setting is not
    /// possible.
    pub fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        let mut templates = Templates::new();
        let template = settings
            .chat_template
            .as_deref()
            .unwrap_or(CHAT_TEMPLATE)
            .to_owned();
        let wrong = |reason: String| BuildError::Setting {
            backend: settings.name.clone(),
            key: "chat_template",
            reason,
        };
        check_bounds(&template).map_err(wrong)?;
        templates
            .add_template_owned(CHAT, template)
            .map_err(|error| wrong(error.to_string()))?;
        let mut upstream = Upstream::build(settings, environment)?;
        if settings.wait_for_model {
            let name = HeaderName::from_static("x-wait-for-model");
            upstream.add_wake_header(name, HeaderValue::from_static("true"));
        }
        Ok(Self {
            upstream,
            model: settings.model.clone(),
            templates,
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
    /// Returns a [`Failure`] with its class.
    pub async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        let asked: Asked = serde_json::from_slice(&request.body)
            .map_err(|error| refused(&format!("the request is not understood: {error}")))?;
        let inputs = self.inputs(request.endpoint, &asked)?;
        let body = json!({"inputs": inputs, "parameters": parameters(&asked)}).to_string();
        let callers_model = splice::model_of(request);
        let model = self.model.as_deref().unwrap_or(&callers_model);
        let call = Call {
            method: http::Method::POST,
            path: &format!("models/{model}"),
            body: Bytes::from(body),
            form: None,
            is_opaque: false,
            request_id: &request.request_id,
            headers: request.headers.as_deref(),
            stream: false,
            wake: attempt.wake,
        };
        let response = self.upstream.send(call).await?;
        let heard = self.upstream.heard(response.headers());
        let generated = match self.upstream.read(response).await {
            Ok(body) => generated(&body, &inputs),
            Err(failure) => Err(failure),
        };
        let generated = match generated {
            Ok(generated) => generated,
            Err(failure) => {
                return Err(self.upstream.failed(failure, heard, &request.request_id));
            }
        };
        let usage = Usage::of_output(generated.tokens);
        let whole = Bytes::from(chat_answer(request, &callers_model, &generated));
        let mut answer = if request.stream {
            let chunks = of_answer(request.endpoint, &request.body, &whole);
            let chunks = chunks
                .ok_or_else(|| Failure::new(Outcome::Fault, "the answer cannot be streamed"))?;
            one_chunk::stream(chunks, usage, &attempt)
        } else {
            whole_answer(whole, usage)
        };
        answer.tokens = generated.tokens;
        Ok(self.upstream.answered(answer, heard))
    }

    /// Creates the input text of the dialect.
    fn inputs(&self, endpoint: Endpoint, asked: &Asked) -> Result<String, Failure> {
        if asked.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
            return Err(refused("`tools` are not known to the text-generation API"));
        }
        if asked.n.is_some_and(|n| n != 1) {
            return Err(refused(
                "`n` other than 1 is not known to the text-generation API",
            ));
        }
        match endpoint {
            Endpoint::Embeddings => Err(refused(
                "this model is served by the text-generation API, which has no embeddings",
            )),
            Endpoint::PassThrough(_) => Err(refused(
                "this model is served by the text-generation API, which has no such operation",
            )),
            Endpoint::Completions => {
                let prompt = asked.prompt.as_str().map(str::to_owned);
                prompt
                    .ok_or_else(|| refused("`prompt` must be one text for the text-generation API"))
            }
            Endpoint::Chat if asked.messages.is_empty() => {
                Err(refused("`messages` must contain at least one message"))
            }
            Endpoint::Chat => {
                let messages: Vec<Value> =
                    asked.messages.iter().map(flat).collect::<Result<_, _>>()?;
                let template = self.templates.get_template(CHAT);
                let rendered = template.and_then(|template| {
                    template.render(context! { messages => minijinja::value::Serde(&messages), add_generation_prompt => true, bos_token => "", eos_token => "" })
                });
                rendered.map_err(|error| {
                    refused(&format!("the chat template refuses the messages: {error}"))
                })
            }
        }
    }
}

/// Returns a message whose content is one text.
fn flat(message: &Map<String, Value>) -> Result<Value, Failure> {
    let mut message = message.clone();
    if let Some(Value::Array(parts)) = message.get("content") {
        let texts: Option<Vec<&str>> = parts.iter().map(|part| part["text"].as_str()).collect();
        let texts =
            texts.ok_or_else(|| refused("only text parts are known to the text-generation API"))?;
        message.insert("content".to_owned(), Value::from(texts.concat()));
    }
    Ok(Value::Object(message))
}

/// Translates the sampling keys.
fn parameters(asked: &Asked) -> Value {
    let mut parameters = Map::new();
    let mut set = |key: &str, value: Value| {
        if !value.is_null() {
            parameters.insert(key.to_owned(), value);
        }
    };
    set("return_full_text", json!(false));
    let limit = asked.max_completion_tokens.or(asked.max_tokens);
    // Servers of the chat API take a negative number as no bound, and a whole one with a fraction of zero.
    let limit = limit.filter(|limit| *limit >= 0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and a larger number is no bound either"
    )]
    let limit = limit.map(|limit| limit as u64);
    set("max_new_tokens", json!(limit));
    // The dialect refuses a temperature of 0, which callers use to disable sampling.
    let sampled = asked.temperature.filter(|temperature| *temperature > 0.0);
    set("temperature", json!(sampled));
    set(
        "do_sample",
        json!(asked.temperature.map(|temperature| temperature > 0.0)),
    );
    // It also refuses a `top_p` of 1, which has the same effect as no value.
    set(
        "top_p",
        json!(asked.top_p.filter(|top_p| *top_p > 0.0 && *top_p < 1.0)),
    );
    set("seed", json!(asked.seed));
    set("frequency_penalty", json!(asked.frequency_penalty));
    let stop = match &asked.stop {
        Value::String(_) => json!([asked.stop]),
        other => other.clone(),
    };
    set("stop", stop);
    Value::Object(parameters)
}

/// Reads the answer of a server in each of the known shapes: a list of one object, one object, a list in a list, a
/// text.
fn generated(body: &Bytes, inputs: &str) -> Result<Generated, Failure> {
    let unreadable = || failure::unreadable(body);
    if kebne_wire::json::is_cut(body) {
        return Err(failure::of_problem(&Problem::Cut, false));
    }
    let mut value: Value = surrogates::read(body).map_err(|_| unreadable())?;
    // No server is known to send more than two levels of lists.
    for _ in 0..2 {
        if let Value::Array(items) = &mut value {
            if items.is_empty() {
                return Err(unreadable());
            }
            value = items.swap_remove(0);
        }
    }
    if is_error(&value) {
        return Err(failure::of_problem(&Problem::Error(body.clone()), false));
    }
    let text = ["generated_text", "text", "summary_text"]
        .iter()
        .find_map(|key| value[*key].as_str());
    let text = text.or_else(|| value.as_str()).ok_or_else(unreadable)?;
    // A server that does not support `return_full_text` begins with the input.
    let text = text.strip_prefix(inputs).unwrap_or(text).to_owned();
    let details = &value["details"];
    let tokens = details["generated_tokens"]
        .as_u64()
        .and_then(|tokens| u32::try_from(tokens).ok());
    Ok(Generated {
        text,
        cut: details["finish_reason"] == "length",
        tokens,
    })
}

/// Writes the answer in the dialect of the caller. It has no usage, because the number of the prompt's tokens is
/// unknown.
fn chat_answer(request: &ModelRequest, model: &str, generated: &Generated) -> String {
    let created = unix_time::seconds();
    let reason = if generated.cut { "length" } else { "stop" };
    let (prefix, object, choice) = if request.endpoint == Endpoint::Chat {
        let message =
            json!({"role": "assistant", "content": generated.text.trim_start(), "refusal": null});
        let choice =
            json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason});
        ("chatcmpl", "chat.completion", choice)
    } else {
        let choice =
            json!({"index": 0, "text": generated.text, "logprobs": null, "finish_reason": reason});
        ("cmpl", "text_completion", choice)
    };
    let id = format!("{prefix}-{}", request.request_id);
    json!({"id": id, "object": object, "created": created, "model": model, "choices": [choice]})
        .to_string()
}

/// Refuses a request that the dialect does not support.
fn refused(message: &str) -> Failure {
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}});
    let mut failure = Failure::new(Outcome::Client, message).with_status(400);
    failure.body = Some(Bytes::from(body.to_string()));
    failure
}

#[cfg(test)]
mod tests;
