//! Backends: the servers that lanes call.

use std::collections::BTreeMap;

use kebne_wire::{NativeApi, inputs::Input, passed_headers::PassedHeaders};
use serde::{Deserialize, Serialize};

#[cfg(feature = "lab")]
use crate::settings::SimulationSettings;
use crate::settings::{
    BaseUrl, ByteCount, ErrorStatus, HumanDuration, LaneSettings, PrewarmOperation,
    PrewarmSettings, SettingsError, Validate, join,
};

/// Time to connect, as in the `OpenAI` SDKs.
const CONNECT_TIMEOUT: HumanDuration = HumanDuration::from_secs(5);

/// The default of `asleep_after`: shorter than the shortest scale-to-zero time of servers, and longer than a restart
/// takes.
const ASLEEP_AFTER: HumanDuration = HumanDuration::from_secs(60);

/// The default of `answer_size_max`; a batch of 2048 embeddings of 1536 numbers in base64 is 17 MiB.
const ANSWER_SIZE_MAX: ByteCount = ByteCount::from_mib(32);

/// The default of `event_size_max`; a generated image in base64 arrives in one event.
const EVENT_SIZE_MAX: ByteCount = ByteCount::from_mib(16);

/// `max_tokens` of a chat call that sets no bound, which Anthropic's API requires; enough for several pages.
const OUTPUT_TOKENS_DEFAULT: u32 = 4096;

/// Headers that describe the body or the connection of one request, which the HTTP client writes itself.
const CLIENT_HEADERS: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The message for one of them.
const OF_THE_CLIENT: &str = "cannot be set: it describes the body or the connection of one request";

/// Returns `true` for the name of a header that the HTTP client writes itself.
fn is_of_the_client(name: &str) -> bool {
    CLIENT_HEADERS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// The protocol of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// A model inside this process, without other requirements. Not available in a build without the feature `lab`.
    #[cfg(feature = "lab")]
    #[default]
    Simulated,
    /// Any server of the `OpenAI` dialect.
    #[cfg_attr(not(feature = "lab"), default)]
    OpenAi,
    /// Ollama: a server of the `OpenAI` dialect that also tells which models it has loaded.
    Ollama,
    /// A text-generation inference server.
    HuggingFace,
    /// Anthropic's Messages API, or a server compatible with it.
    Anthropic,
}

/// An API that some servers of the `OpenAI` dialect have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `POST /responses`: calls of `/v1/responses` are sent to the server unchanged.
    Responses,
    /// `POST /files` and the operations on files.
    Files,
    /// `POST /batches` and the operations on batches, whose calls are in files.
    Batches,
}

/// Settings of one backend and its lane. The keys after `kind` belong to the kinds that call a server over HTTP,
/// except `simulation`, which belongs to `simulated`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackendSettings {
    /// The name of the backend and of its lane. Default `simulated`.
    pub name: String,
    /// The protocol: `simulated`, `openai`, `ollama`, `huggingface` or `anthropic`. Default `simulated`.
    pub kind: BackendKind,
    /// The URL of the server, for example `http://127.0.0.1:8000/v1`; required for kinds that call a server.
    pub base_url: Option<BaseUrl>,
    /// The server's name for the model. Default: the name in the caller's request.
    pub model: Option<String>,
    /// The environment variable with the server's API key. Default: no key is sent.
    pub api_key_env: Option<String>,
    /// The header for the key alone. Default: `Authorization: Bearer`, and for `anthropic` `x-api-key`.
    pub api_key_header: Option<String>,
    /// Additional headers of every request. Default none.
    pub headers: BTreeMap<String, String>,
    /// Additional headers of the one call that wakes a cold backend, for servers that can hold a call while they load.
    /// Default none.
    pub wake_headers: BTreeMap<String, String>,
    /// Time to connect, including TLS; greater than 0. Default `5s`.
    pub connect_timeout: HumanDuration,
    /// After this time without a success, a refused connection or a bare 502 or 503 means that the server is asleep or
    /// loading, not broken. Default `1m`.
    pub asleep_after: HumanDuration,
    /// Further statuses with which this server reports that it is asleep, for example `[404]`; each from 400 to 599.
    /// Default none.
    pub cold_statuses: Vec<ErrorStatus>,
    /// Headers of the server's answers that are passed on to callers. Each is a name, or a prefix followed by `*`, for
    /// example `x-ratelimit-*`. Default none.
    pub pass_headers: Vec<String>,
    /// The inputs besides text that the server accepts: `image`, `audio`, `file`, `video`. It gets no call with other
    /// inputs. Default `["image", "audio", "file", "video"]`.
    pub inputs: Vec<Input>,
    /// Only `openai` and `ollama`: APIs that the server has besides chats, completions and embeddings: `responses`, `files`, `batches`.
    /// Default none.
    pub apis: Vec<Api>,
    /// The largest whole answer that is read; at least `1KiB`. Default `32MiB`.
    pub answer_size_max: ByteCount,
    /// The largest event of a stream that is read; at least `1KiB`. Default `16MiB`.
    pub event_size_max: ByteCount,
    /// Only `huggingface`: requests the server to hold the call that wakes it (`x-wait-for-model`). Default `false`.
    pub wait_for_model: bool,
    /// Only `anthropic`: the output bound for a chat call that sets none, in tokens; at least 1. Default 4096.
    pub output_tokens_default: u32,
    /// Only `huggingface`: a Jinja template that converts `messages` to one text. Default: lines of `role: content`.
    pub chat_template: Option<String>,
    /// The call that wakes the backend before the first caller arrives.
    pub prewarm: PrewarmSettings,
    /// Only `simulated`: the behaviour of the model, with the keys of `[simulation]`.
    #[cfg(feature = "lab")]
    #[serde(skip_serializing_if = "SimulationSettings::is_default")]
    pub simulation: SimulationSettings,
    /// The bounds of the lane.
    pub limits: LaneSettings,
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            name: "simulated".to_owned(),
            kind: BackendKind::default(),
            base_url: None,
            model: None,
            api_key_env: None,
            api_key_header: None,
            headers: BTreeMap::new(),
            wake_headers: BTreeMap::new(),
            connect_timeout: CONNECT_TIMEOUT,
            asleep_after: ASLEEP_AFTER,
            cold_statuses: Vec::new(),
            pass_headers: Vec::new(),
            inputs: Input::ALL.to_vec(),
            apis: Vec::new(),
            answer_size_max: ANSWER_SIZE_MAX,
            event_size_max: EVENT_SIZE_MAX,
            wait_for_model: false,
            output_tokens_default: OUTPUT_TOKENS_DEFAULT,
            chat_template: None,
            prewarm: PrewarmSettings::default(),
            #[cfg(feature = "lab")]
            simulation: SimulationSettings::default(),
            limits: LaneSettings::default(),
        }
    }
}

impl Validate for BackendSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.limits.validate(&join(path, "limits"));
        errors.extend(self.prewarm.validate(&join(path, "prewarm")));
        #[cfg(feature = "lab")]
        errors.extend(self.simulation.validate(&join(path, "simulation")));
        if self.name.is_empty() {
            errors.push(SettingsError::new(join(path, "name"), "must not be empty"));
        }
        errors.extend(self.misplaced(path));
        errors.extend(self.wrong_headers(path));
        errors.extend(self.wrong_values(path));
        errors
    }
}

impl BackendSettings {
    /// Returns `true` if the server has this dialect.
    pub fn speaks(&self, api: NativeApi) -> bool {
        match api {
            NativeApi::Messages => self.kind == BackendKind::Anthropic,
            NativeApi::Responses => self.apis.contains(&Api::Responses),
        }
    }

    /// Returns an error for each key that this kind does not have.
    fn misplaced(&self, path: &str) -> Vec<SettingsError> {
        let over_http = [
            ("base_url", self.base_url.is_some()),
            ("api_key_env", self.api_key_env.is_some()),
            ("api_key_header", self.api_key_header.is_some()),
            ("headers", !self.headers.is_empty()),
            ("wake_headers", !self.wake_headers.is_empty()),
            ("connect_timeout", self.connect_timeout != CONNECT_TIMEOUT),
            ("asleep_after", self.asleep_after != ASLEEP_AFTER),
            ("cold_statuses", !self.cold_statuses.is_empty()),
            ("pass_headers", !self.pass_headers.is_empty()),
            ("answer_size_max", self.answer_size_max != ANSWER_SIZE_MAX),
            ("event_size_max", self.event_size_max != EVENT_SIZE_MAX),
        ];
        let embeds = self.prewarm.operation == PrewarmOperation::Embeddings;
        let generation = [
            ("wait_for_model", self.wait_for_model),
            ("chat_template", self.chat_template.is_some()),
        ];
        let mut misplaced: Vec<(&str, bool)> = Vec::new();
        if !self.kind.calls_a_server() {
            misplaced.extend(over_http);
        }
        #[cfg(feature = "lab")]
        if self.kind.calls_a_server() {
            misplaced.push(("simulation", !self.simulation.is_default()));
        }
        if self.kind != BackendKind::HuggingFace {
            misplaced.extend(generation);
        }
        if !matches!(self.kind, BackendKind::OpenAi | BackendKind::Ollama) {
            misplaced.push(("apis", !self.apis.is_empty()));
        }
        if self.kind != BackendKind::Anthropic {
            let set = self.output_tokens_default != OUTPUT_TOKENS_DEFAULT;
            misplaced.push(("output_tokens_default", set));
        }
        let is_chat_only = matches!(self.kind, BackendKind::HuggingFace | BackendKind::Anthropic);
        let completes = self.prewarm.operation == PrewarmOperation::Completions;
        let is_anthropic = self.kind == BackendKind::Anthropic;
        if (embeds && is_chat_only) || (completes && is_anthropic) {
            misplaced.push(("prewarm.operation", true));
        }
        let set = misplaced.into_iter().filter(|(_, set)| *set);
        let kind = self.kind.name();
        set.map(|(key, _)| {
            let what = if key == "prewarm.operation" {
                "operation"
            } else {
                "key"
            };
            let message = format!("a backend of kind `{kind}` has no such {what}");
            SettingsError::new(join(path, key), message)
        })
        .collect()
    }

    /// Returns an error for each header that is not allowed.
    fn wrong_headers(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse =
            |key: &str, message: String| errors.push(SettingsError::new(join(path, key), message));
        for (key, headers) in [
            ("headers", &self.headers),
            ("wake_headers", &self.wake_headers),
        ] {
            for (name, value) in headers {
                let at = join(key, name);
                if http::HeaderName::try_from(name.as_str()).is_err() {
                    // A whole header may have been written in place of its name.
                    let message =
                        "a key of the table is not a header name; write `name = \"value\"`";
                    refuse(key, message.to_owned());
                } else if http::HeaderValue::try_from(value.as_str()).is_err() {
                    refuse(&at, "is not a valid header value".to_owned());
                } else if is_of_the_client(name) {
                    refuse(&at, OF_THE_CLIENT.to_owned());
                }
            }
        }
        if let Some(name) = &self.api_key_header {
            if http::HeaderName::try_from(name.as_str()).is_err() {
                refuse("api_key_header", "is not a header name".to_owned());
            } else if is_of_the_client(name) {
                refuse("api_key_header", OF_THE_CLIENT.to_owned());
            }
            if self.api_key_env.is_none() {
                refuse("api_key_header", "needs `api_key_env`".to_owned());
            }
        }
        for (index, name) in self.pass_headers.iter().enumerate() {
            if let Err(error) = PassedHeaders::of([name.as_str()]) {
                refuse(&format!("pass_headers[{index}]"), error.to_string());
            }
        }
        errors
    }

    /// Returns an error for each value that is not allowed.
    fn wrong_values(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse =
            |key: &str, message: String| errors.push(SettingsError::new(join(path, key), message));
        let base_url = self.base_url.as_ref();
        match base_url.map(|url| (url, url.expose().parse::<http::Uri>())) {
            None if self.kind.calls_a_server() => {
                refuse(
                    "base_url",
                    format!("a backend of kind `{}` needs it", self.kind.name()),
                );
            }
            Some((_, Err(error))) => refuse("base_url", format!("is not a URL: {error}")),
            Some((shown, Ok(url)))
                if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() =>
            {
                // Without a scheme it may be a key that was written under the wrong name.
                let shown = match url.scheme_str() {
                    Some(_) => format!("`{shown}` is"),
                    None => "is".to_owned(),
                };
                refuse(
                    "base_url",
                    format!("{shown} not an `http://` or `https://` URL with a host"),
                );
            }
            _ => {}
        }
        for (key, size) in [
            ("answer_size_max", self.answer_size_max),
            ("event_size_max", self.event_size_max),
        ] {
            if size.get() < 1024 {
                refuse(key, format!("`{size}` is less than 1KiB"));
            }
        }
        if self.output_tokens_default == 0 {
            refuse("output_tokens_default", "must be at least 1".to_owned());
        }
        if self.connect_timeout.get().is_zero() {
            refuse("connect_timeout", "must be more than 0".to_owned());
        }
        errors
    }
}

impl BackendKind {
    /// Returns `true` if backends of this kind call a server over HTTP.
    pub fn calls_a_server(self) -> bool {
        match self {
            #[cfg(feature = "lab")]
            Self::Simulated => false,
            Self::OpenAi | Self::Ollama | Self::HuggingFace | Self::Anthropic => true,
        }
    }

    /// Returns the name used in settings.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "lab")]
            Self::Simulated => "simulated",
            Self::OpenAi => "openai",
            Self::Ollama => "ollama",
            Self::HuggingFace => "huggingface",
            Self::Anthropic => "anthropic",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let settings: BackendSettings = toml::from_str(text).unwrap();
        settings
            .validate("b")
            .into_iter()
            .map(|error| error.path)
            .collect()
    }

    #[test]
    fn keys_of_another_kind_are_refused_by_name() {
        assert_eq!(
            paths("base_url = 'http://a'\nwait_for_model = true"),
            ["b.base_url", "b.wait_for_model"]
        );
        assert_eq!(
            paths("kind = 'openai'\nbase_url = 'http://a'\nchat_template = ''"),
            ["b.chat_template"]
        );
        let embeddings =
            "kind = 'huggingface'\nbase_url = 'http://a'\n[prewarm]\noperation = 'embeddings'";
        assert_eq!(paths(embeddings), ["b.prewarm.operation"]);
        let simulation = "kind = 'huggingface'\nbase_url = 'http://a'\n[simulation]\nseed = 3";
        assert_eq!(paths(simulation), ["b.simulation"]);
        let limit = "kind = 'openai'\nbase_url = 'http://a'\noutput_tokens_default = 9";
        assert_eq!(paths(limit), ["b.output_tokens_default"]);
        let apis = "kind = 'anthropic'\nbase_url = 'http://a'\napis = ['responses']";
        assert_eq!(paths(apis), ["b.apis"]);
        let anthropic = "kind = 'anthropic'\nbase_url = 'http://a'\noutput_tokens_default = 0\n[prewarm]\noperation = 'completions'";
        assert_eq!(
            paths(anthropic),
            ["b.prewarm.operation", "b.output_tokens_default"]
        );
    }

    #[test]
    fn a_server_needs_an_address_that_is_one() {
        assert_eq!(paths("kind = 'openai'"), ["b.base_url"]);
        for url in ["ftp://a/v1", "/v1", "http://", "http://a b"] {
            assert_eq!(
                paths(&format!("kind = 'openai'\nbase_url = '{url}'")),
                ["b.base_url"],
                "{url}"
            );
        }
        assert!(
            paths("kind = 'openai'\nbase_url = 'https://a.example/v1?api-version=1'").is_empty()
        );
    }

    #[test]
    fn headers_of_the_body_and_the_connection_are_refused() {
        for name in [
            "content-length",
            "Transfer-Encoding",
            "connection",
            "te",
            "content-type",
        ] {
            for table in ["headers", "wake_headers"] {
                let text =
                    format!("kind = 'openai'\nbase_url = 'http://a'\n[{table}]\n{name} = '5'");
                assert_eq!(paths(&text), [format!("b.{table}.{name}")]);
            }
            let text = format!(
                "kind = 'openai'\nbase_url = 'http://a'\napi_key_env = 'K'\napi_key_header = '{name}'"
            );
            assert_eq!(paths(&text), ["b.api_key_header"]);
        }
        let host = "kind = 'openai'\nbase_url = 'http://a'\n[headers]\nhost = 'b.example'";
        assert!(paths(host).is_empty());
    }

    #[test]
    fn headers_are_checked_one_by_one() {
        let text = "kind = 'openai'\nbase_url = 'http://a'\npass_headers = ['x-request-id', 'set-cookie']\napi_key_header = 'api-key'\n[headers]\n'a b' = 'x'\ngood = 'x'";
        assert_eq!(
            paths(text),
            ["b.headers", "b.api_key_header", "b.pass_headers[1]"]
        );
    }
}
