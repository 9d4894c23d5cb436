//! What a model server is, by its answers to a few small requests.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::InitError;
use crate::{
    backend::upstream::{Answered, NotReached, Obstacle, Place, Upstream},
    settings::{BackendKind, BackendSettings, BaseUrl, Environment},
};

/// Time for the answer to one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The bytes of an answer that are read.
const ANSWER_MAX: usize = 4 << 20;

/// A server that was identified.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identified {
    /// Its address as it was given, without secrets.
    pub(super) shown: String,
    /// The base URL for the settings.
    pub(super) base_url: String,
    pub(super) server: Server,
    /// The variable with its key, if it needs one.
    pub(super) key_env: Option<String>,
    pub(super) models: Vec<String>,
    /// `true` if it was loading its model, so that it did not say which one it has.
    pub(super) is_loading: bool,
    /// The context of its models in tokens, if it is known and the same for all.
    pub(super) context: Option<u64>,
}

/// The program behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Ollama,
    LlamaCpp,
    Vllm,
    Tgi,
    Anthropic,
    OpenAi,
}

impl Server {
    /// Returns the name of the program.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Ollama => "Ollama",
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vLLM",
            Self::Tgi => "Text Generation Inference",
            Self::Anthropic => "an API of Anthropic's kind",
            Self::OpenAi => "an API of OpenAI's kind",
        }
    }

    /// Returns the name of a backend of this kind.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llama-cpp",
            Self::Vllm => "vllm",
            Self::Tgi => "tgi",
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    /// Returns the kind of its backend.
    pub(super) fn kind(self) -> BackendKind {
        match self {
            Self::Ollama => BackendKind::Ollama,
            Self::Anthropic => BackendKind::Anthropic,
            Self::LlamaCpp | Self::Vllm | Self::Tgi | Self::OpenAi => BackendKind::OpenAi,
        }
    }
}

impl Identified {
    /// Returns what it is, for the terminal.
    pub(super) fn sentence(&self) -> String {
        let models = match self.models.as_slice() {
            [] if self.is_loading => "a model that is still loading".to_owned(),
            [] => "no models".to_owned(),
            [one] => format!("the model `{one}`"),
            [one, ..] => format!("{} models such as `{one}`", self.models.len()),
        };
        format!("{} with {models}", self.server.title())
    }

    /// Returns what is missing and what to do about it; `None` if nothing is.
    pub(super) fn missing(&self) -> Option<String> {
        if !self.models.is_empty() {
            return None;
        }
        Some(match self.server {
            _ if self.is_loading => {
                "the name of its model is not known while it loads; `kebne init --force` finds it later".to_owned()
            }
            Server::Ollama => {
                "it has no models: pull one (`ollama pull NAME`), then name it in the file or use `kebne init --force`".to_owned()
            }
            _ => "it lists no models: load one there, then name it in the file or use `kebne init --force`".to_owned(),
        })
    }
}

/// Asks the server at an address what it is.
///
/// # Errors
/// Returns an error if it does not answer, needs a key that is not given, or is not a model server.
pub(super) async fn identify(
    url: &str,
    key_env: Option<&str>,
    environment: &dyn Environment,
) -> Result<Identified, InitError> {
    let identified = identify_at(url, key_env, environment).await;
    identified.map_err(|reason| InitError::Server {
        url: BaseUrl::new(url).to_string(),
        reason,
    })
}

async fn identify_at(
    url: &str,
    key_env: Option<&str>,
    environment: &dyn Environment,
) -> Result<Identified, String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("is not an `http://` or `https://` URL".to_owned());
    }
    let root = url.trim_end_matches('/');
    let root = root.strip_suffix("/v1").unwrap_or(root);
    let base_url = BaseUrl::new(format!("{root}/v1"));
    let without_key = BackendSettings {
        name: "server".to_owned(),
        kind: BackendKind::OpenAi,
        base_url: Some(base_url.clone()),
        ..BackendSettings::default()
    };
    let upstream = build(&without_key, environment)?;
    let mut identified = Identified {
        shown: BaseUrl::new(root).to_string(),
        base_url: base_url.expose().to_owned(),
        server: Server::OpenAi,
        key_env: None,
        models: Vec::new(),
        is_loading: false,
        context: None,
    };
    // Whether it can be reached is known after the first request.
    let tags = get(&upstream, Place::Root("/api/tags")).await;
    let tags = tags.map_err(|error| not_reached(&error))?;
    if let Some(models) = tags.and_then(|tags| names(&tags, "models", "name")) {
        identified.server = Server::Ollama;
        identified.models = models;
        return Ok(identified);
    }
    let info = get(&upstream, Place::Root("/info")).await.ok().flatten();
    let props = get(&upstream, Place::Root("/props")).await.ok().flatten();
    let listed = ask(&upstream, Place::Api("models"), None).await;
    let mut listed = listed.map_err(|error| not_reached(&error))?;
    if is_refused(&listed) {
        listed = list_with_key(&mut identified, &listed, without_key, key_env, environment).await?;
    }
    classify(&mut identified, &listed, info.as_ref(), props.as_ref())?;
    Ok(identified)
}

/// Asks a server that needs a key for its models, and notes the variable of the key.
async fn list_with_key(
    identified: &mut Identified,
    refusal: &Answered,
    backend: BackendSettings,
    key_env: Option<&str>,
    environment: &dyn Environment,
) -> Result<Answered, String> {
    let Some(variable) = key_env else {
        return Err(
            "asks for a key: name the environment variable that holds it with `--key-env`"
                .to_owned(),
        );
    };
    let is_anthropic = is_anthropic(&refusal.body);
    let mut backend = backend;
    backend.api_key_env = Some(variable.to_owned());
    if is_anthropic {
        backend.kind = BackendKind::Anthropic;
        identified.server = Server::Anthropic;
    }
    let upstream = build(&backend, environment)?;
    let version = (
        HeaderName::from_static("anthropic-version"),
        HeaderValue::from_static("2023-06-01"),
    );
    let header = is_anthropic.then_some(version);
    let listed = ask(&upstream, Place::Api("models"), header).await;
    let listed = listed.map_err(|error| not_reached(&error))?;
    if is_refused(&listed) {
        return Err(format!("refuses the key in `{variable}`"));
    }
    identified.key_env = Some(variable.to_owned());
    Ok(listed)
}

fn build(backend: &BackendSettings, environment: &dyn Environment) -> Result<Upstream, String> {
    Upstream::build(backend, environment).map_err(|error| error.reason())
}

fn is_refused(answer: &Answered) -> bool {
    matches!(answer.status, 401 | 403)
}

/// Completes what is known of a server by its list of models and its answers under other paths.
fn classify(
    identified: &mut Identified,
    listed: &Answered,
    info: Option<&Value>,
    props: Option<&Value>,
) -> Result<(), String> {
    if let Some(model) = info.and_then(|info| info.get("model_id")?.as_str()) {
        identified.server = Server::Tgi;
        identified.models = vec![model.to_owned()];
        let total = info.and_then(|info| info.get("max_total_tokens")?.as_u64());
        identified.context = total;
        return Ok(());
    }
    let list = body(listed);
    let data = list.as_ref().and_then(|list| list.get("data")?.as_array());
    if data.is_none() && listed.status == 503 {
        // The text is that of llama.cpp; others that load a model answer so too, or do not listen yet.
        let says_llama = memchr::memmem::find(&listed.body, b"Loading model").is_some();
        identified.server = if says_llama {
            Server::LlamaCpp
        } else {
            Server::OpenAi
        };
        identified.is_loading = true;
        return Ok(());
    }
    let Some(data) = data else {
        let status = listed.status;
        return Err(format!(
            "is not a model server that is known: `/v1/models` answers {status} without a list of models"
        ));
    };
    let ids = data.iter().filter_map(|model| model.get("id")?.as_str());
    identified.models = ids.map(str::to_owned).collect();
    let owner = data
        .iter()
        .find_map(|model| model.get("owned_by")?.as_str());
    let settings = props.and_then(|props| props.get("default_generation_settings"));
    if owner == Some("llamacpp") || settings.is_some() {
        identified.server = Server::LlamaCpp;
        identified.context = settings.and_then(|settings| settings.get("n_ctx")?.as_u64());
    } else if owner == Some("vllm") {
        identified.server = Server::Vllm;
    }
    if identified.context.is_none() {
        let mut lengths = data
            .iter()
            .map(|model| model.get("max_model_len")?.as_u64());
        let first = lengths.next().flatten();
        identified.context = first.filter(|_| lengths.all(|length| length == first));
    }
    Ok(())
}

/// Returns the JSON of a successful answer.
fn body(answer: &Answered) -> Option<Value> {
    if !(200..300).contains(&answer.status) {
        return None;
    }
    serde_json::from_slice(&answer.body).ok()
}

/// Returns the texts of a field of the elements of a list; `None` if there is no such list.
fn names(value: &Value, list: &str, field: &str) -> Option<Vec<String>> {
    let list = value.get(list)?.as_array()?.iter();
    let names = list.map(|element| element.get(field)?.as_str().map(str::to_owned));
    names.collect()
}

/// Returns `true` for an error in the shape of Anthropic's API.
fn is_anthropic(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<Value>(body);
    error.is_ok_and(|error| error.get("type").is_some_and(|kind| kind == "error"))
}

async fn get(upstream: &Upstream, place: Place<'_>) -> Result<Option<Value>, NotReached> {
    Ok(body(&ask(upstream, place, None).await?))
}

async fn ask(
    upstream: &Upstream,
    place: Place<'_>,
    header: Option<(HeaderName, HeaderValue)>,
) -> Result<Answered, NotReached> {
    let asked = upstream.ask(place, header, ANSWER_MAX);
    tokio::time::timeout(TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| {
            Err(NotReached {
                obstacle: Obstacle::Slow,
                message: String::new(),
            })
        })
}

fn not_reached(error: &NotReached) -> String {
    match error.obstacle {
        Obstacle::Name => "its host has no address; correct the URL".to_owned(),
        Obstacle::Refused => {
            "nothing listens there; start the server, or correct the URL".to_owned()
        }
        Obstacle::Tls => format!("has no TLS connection that is trusted ({})", error.message),
        Obstacle::Slow => format!("does not answer within {} s", TIMEOUT.as_secs()),
        Obstacle::Other => format!("does not answer ({})", error.message),
    }
}
