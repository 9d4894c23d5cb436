//! Backends: the servers that lanes call.

mod check;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use kebne_functions::FunctionSettings;
use kebne_quota::Price;
use kebne_servers::ProcessSettings;
use kebne_wire::{NativeApi, inputs::Input};
use serde::{Deserialize, Serialize};

#[cfg(feature = "lab")]
use crate::settings::SimulationSettings;
use crate::settings::{
    BaseUrl, ByteCount, DiscoverySettings, ErrorStatus, HealthSettings, HooksSettings,
    HumanDuration, LaneSettings, McpServerSettings, PrewarmSettings, SettingsError, Validate, join,
};

/// Time to connect, as in the `OpenAI` SDKs.
const CONNECT_TIMEOUT: HumanDuration = HumanDuration::from_secs(5);

/// The value of `proxy` for a server that is reached directly.
pub(crate) const NO_PROXY: &str = "none";

/// The default of `asleep_after`: shorter than the shortest scale-to-zero time of servers, and longer than a restart
/// takes.
const ASLEEP_AFTER: HumanDuration = HumanDuration::from_secs(60);

/// The default of `answer_size_max`; a batch of 2048 embeddings of 1536 numbers in base64 is 17 MiB.
const ANSWER_SIZE_MAX: ByteCount = ByteCount::from_mib(32);

/// The default of `event_size_max`; a generated image in base64 arrives in one event.
const EVENT_SIZE_MAX: ByteCount = ByteCount::from_mib(16);

/// `max_tokens` of a chat call that sets no bound, which Anthropic's API requires; enough for several pages.
const OUTPUT_TOKENS_DEFAULT: u32 = 4096;

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
    /// A function of `[[functions]]`, which becomes a backend.
    #[serde(skip)]
    Function,
    /// A server of `[[mcp_servers]]`, which becomes a backend.
    #[serde(skip)]
    Mcp,
    /// The agent of `[[agents]]` with the name of the backend. The program makes such a backend for each agent that has none.
    Agent,
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
    /// The protocol: `simulated`, `openai`, `ollama`, `huggingface` or `anthropic`; or `agent` for an agent of this name. Default `simulated`.
    pub kind: BackendKind,
    /// The URL of the server, for example `http://127.0.0.1:8000/v1`; required for kinds that call a server, unless it is a
    /// process of the gateway: then the default is `http://127.0.0.1/v1`, and the port is that of the process.
    pub base_url: Option<BaseUrl>,
    /// The server's name for the model. Default: the name in the caller's request.
    pub model: Option<String>,
    /// The environment variable with the server's API key. Default: no key is sent.
    pub api_key_env: Option<String>,
    /// The file with the server's API key, as container engines mount it; it is read again when the settings are. Not with
    /// `api_key_env`. Default: no key is sent.
    pub api_key_file: Option<PathBuf>,
    /// The header for the key alone. Default: `Authorization: Bearer`, and for `anthropic` `x-api-key`.
    pub api_key_header: Option<String>,
    /// Additional headers of every request. Default none.
    pub headers: BTreeMap<String, String>,
    /// Additional headers of every request whose values are in files: a table from header to file. Default none.
    pub headers_file: BTreeMap<String, PathBuf>,
    /// Additional headers of the one call that wakes a cold backend, for servers that can hold a call while they load.
    /// Default none.
    pub wake_headers: BTreeMap<String, String>,
    /// A file with the certificates of authorities in PEM, which are trusted instead of those of the system. Default none.
    pub ca_file: Option<PathBuf>,
    /// A file with the certificate in PEM that is shown to a server that asks for one. Default none.
    pub client_cert_file: Option<PathBuf>,
    /// The file with the private key of `client_cert_file`. Default: `client_cert_file` has it too.
    pub client_key_file: Option<PathBuf>,
    /// The proxy through which the server is reached: an `http://`, `https://`, `socks5://` or `socks5h://` URL, or `none`.
    /// Default: what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name, and none for servers on this machine.
    pub proxy: Option<BaseUrl>,
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
    /// The context of the model in tokens, prompt and output; at least 1. A call that is too long for another backend of its
    /// model goes only to one with a longer context, or whose context is not set. Default: not known.
    pub context_tokens: Option<u32>,
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
    /// How the replicas of this backend are found, if it is more than one server.
    pub discovery: DiscoverySettings,
    /// A request that asks the server now and then whether it is there.
    pub health: HealthSettings,
    /// The call that wakes the backend before the first caller arrives.
    pub prewarm: PrewarmSettings,
    /// The process that is the server of this backend, if the gateway starts and stops it. Default: the server is not the
    /// gateway's.
    pub process: Option<ProcessSettings>,
    /// How a server that another system runs is woken and put to sleep. Default: it is not.
    pub hooks: Option<HooksSettings>,
    /// Only `simulated`: the behaviour of the model, with the keys of `[simulation]`.
    #[cfg(feature = "lab")]
    #[serde(skip_serializing_if = "SimulationSettings::is_default")]
    pub simulation: SimulationSettings,
    /// The price of the tokens of all models at this backend. Default: that of the model.
    pub price: Option<Price>,
    /// The bounds of the lane.
    pub limits: LaneSettings,
    /// The function that this backend is. It is not written.
    #[serde(skip)]
    pub function: Option<Arc<FunctionSettings>>,
    /// The MCP server that this backend is. It is not written.
    #[serde(skip)]
    pub mcp: Option<Arc<McpServerSettings>>,
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            name: "simulated".to_owned(),
            kind: BackendKind::default(),
            base_url: None,
            model: None,
            api_key_env: None,
            api_key_file: None,
            api_key_header: None,
            headers: BTreeMap::new(),
            headers_file: BTreeMap::new(),
            wake_headers: BTreeMap::new(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            proxy: None,
            connect_timeout: CONNECT_TIMEOUT,
            asleep_after: ASLEEP_AFTER,
            cold_statuses: Vec::new(),
            pass_headers: Vec::new(),
            inputs: Input::ALL.to_vec(),
            context_tokens: None,
            apis: Vec::new(),
            answer_size_max: ANSWER_SIZE_MAX,
            event_size_max: EVENT_SIZE_MAX,
            wait_for_model: false,
            output_tokens_default: OUTPUT_TOKENS_DEFAULT,
            chat_template: None,
            discovery: DiscoverySettings::default(),
            health: HealthSettings::default(),
            prewarm: PrewarmSettings::default(),
            process: None,
            hooks: None,
            #[cfg(feature = "lab")]
            simulation: SimulationSettings::default(),
            price: None,
            limits: LaneSettings::default(),
            function: None,
            mcp: None,
        }
    }
}

impl Validate for BackendSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.limits.validate(&join(path, "limits"));
        errors.extend(self.prewarm.validate(&join(path, "prewarm")));
        errors.extend(self.discovery.validate(&join(path, "discovery")));
        errors.extend(self.health.validate(&join(path, "health")));
        #[cfg(feature = "lab")]
        errors.extend(self.simulation.validate(&join(path, "simulation")));
        let price = self.price.as_ref();
        errors.extend(price.map_or_else(Vec::new, |price| price.validate(&join(path, "price"))));
        if let Some(process) = &self.process {
            errors.extend(process.validate(&join(path, "process")));
        }
        if let Some(hooks) = &self.hooks {
            errors.extend(hooks.validate(&join(path, "hooks")));
        }
        if self.name.is_empty() {
            errors.push(SettingsError::new(join(path, "name"), "must not be empty"));
        }
        errors.extend(self.misplaced(path));
        errors.extend(self.wrong_headers(path));
        if self.kind.calls_a_server() {
            errors.extend(self.wrong_ways(path));
        }
        errors.extend(self.wrong_values(path));
        errors
    }
}

impl BackendSettings {
    /// Returns `true` if it was made of a function or an MCP server.
    pub fn is_made(&self) -> bool {
        self.function.is_some() || self.mcp.is_some()
    }

    /// Returns `true` if the server has this dialect.
    pub fn speaks(&self, api: NativeApi) -> bool {
        match api {
            NativeApi::Messages => self.kind == BackendKind::Anthropic,
            NativeApi::Responses => self.apis.contains(&Api::Responses),
        }
    }
}

impl BackendKind {
    /// Returns `true` if backends of this kind call a server over HTTP.
    pub fn calls_a_server(self) -> bool {
        match self {
            #[cfg(feature = "lab")]
            Self::Simulated => false,
            Self::Agent => false,
            Self::OpenAi
            | Self::Ollama
            | Self::HuggingFace
            | Self::Anthropic
            | Self::Function
            | Self::Mcp => true,
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
            Self::Function => "function",
            Self::Mcp => "mcp",
            Self::Agent => "agent",
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
    fn files_for_tls_and_proxies_are_checked() {
        let server = "kind = 'openai'\nbase_url = 'https://a'\n";
        for (text, wrong) in [
            ("ca_file = 'ca.pem'\nclient_cert_file = 'c.pem'", vec![]),
            ("client_key_file = 'k.pem'", vec!["b.client_key_file"]),
            ("ca_file = ''", vec!["b.ca_file"]),
            ("proxy = 'none'", vec![]),
            ("proxy = 'http://ann:secret@p:3128'", vec![]),
            ("proxy = 'socks5h://p:1080'", vec![]),
            ("proxy = 'p:3128'", vec!["b.proxy"]),
            ("proxy = 'ftp://p'", vec!["b.proxy"]),
            ("proxy = ''", vec!["b.proxy"]),
        ] {
            assert_eq!(paths(&format!("{server}{text}")), wrong, "{text}");
        }
        assert_eq!(paths("proxy = 'none'"), ["b.proxy"]);
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
