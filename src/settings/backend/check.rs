//! The checks of a backend's settings.

use kebne_wire::passed_headers::PassedHeaders;

use super::{
    ANSWER_SIZE_MAX, ASLEEP_AFTER, BackendKind, BackendSettings, CONNECT_TIMEOUT, EVENT_SIZE_MAX,
    NO_PROXY, OUTPUT_TOKENS_DEFAULT,
};
use crate::settings::{BaseUrl, PrewarmOperation, SettingsError, discovery::DiscoveryKind, join};

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

impl BackendSettings {
    /// Returns an error for each key that this kind does not have.
    pub(super) fn misplaced(&self, path: &str) -> Vec<SettingsError> {
        let over_http = [
            ("base_url", self.base_url.is_some()),
            ("api_key_env", self.api_key_env.is_some()),
            ("api_key_file", self.api_key_file.is_some()),
            ("headers_file", !self.headers_file.is_empty()),
            ("api_key_header", self.api_key_header.is_some()),
            ("headers", !self.headers.is_empty()),
            ("wake_headers", !self.wake_headers.is_empty()),
            ("ca_file", self.ca_file.is_some()),
            ("client_cert_file", self.client_cert_file.is_some()),
            ("client_key_file", self.client_key_file.is_some()),
            ("proxy", self.proxy.is_some()),
            ("connect_timeout", self.connect_timeout != CONNECT_TIMEOUT),
            ("asleep_after", self.asleep_after != ASLEEP_AFTER),
            ("cold_statuses", !self.cold_statuses.is_empty()),
            ("pass_headers", !self.pass_headers.is_empty()),
            ("answer_size_max", self.answer_size_max != ANSWER_SIZE_MAX),
            ("event_size_max", self.event_size_max != EVENT_SIZE_MAX),
            ("discovery", self.discovery.is_on()),
            ("health", self.health.path.is_some()),
            ("process", self.process.is_some()),
            ("hooks", self.hooks.is_some()),
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
        let is_chat_only = matches!(
            self.kind,
            BackendKind::HuggingFace | BackendKind::Anthropic | BackendKind::Agent
        );
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
    pub(super) fn wrong_headers(&self, path: &str) -> Vec<SettingsError> {
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
        if self.api_key_env.is_some() && self.api_key_file.is_some() {
            let message = "must not be set with `api_key_env`: there is one key";
            refuse("api_key_file", message.to_owned());
        }
        for name in self.headers_file.keys() {
            let at = join("headers_file", name);
            if http::HeaderName::try_from(name.as_str()).is_err() {
                let message = "a key of the table is not a header name; write `name = \"file\"`";
                refuse("headers_file", message.to_owned());
            } else if is_of_the_client(name) {
                refuse(&at, OF_THE_CLIENT.to_owned());
            } else if self
                .headers
                .keys()
                .any(|other| other.eq_ignore_ascii_case(name))
            {
                refuse(&at, "is set in `headers` too".to_owned());
            }
        }
        if let Some(name) = &self.api_key_header {
            if http::HeaderName::try_from(name.as_str()).is_err() {
                refuse("api_key_header", "is not a header name".to_owned());
            } else if is_of_the_client(name) {
                refuse("api_key_header", OF_THE_CLIENT.to_owned());
            }
            if self.api_key_env.is_none() && self.api_key_file.is_none() {
                let message = "needs `api_key_env` or `api_key_file`";
                refuse("api_key_header", message.to_owned());
            }
        }
        for (index, name) in self.pass_headers.iter().enumerate() {
            if let Err(error) = PassedHeaders::of([name.as_str()]) {
                refuse(&format!("pass_headers[{index}]"), error.to_string());
            }
        }
        errors
    }

    /// Returns an error for each file of TLS and for the proxy if it cannot be used with the rest.
    pub(super) fn wrong_ways(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse =
            |key: &str, message: &str| errors.push(SettingsError::new(join(path, key), message));
        let files = [
            ("ca_file", &self.ca_file),
            ("client_cert_file", &self.client_cert_file),
            ("client_key_file", &self.client_key_file),
        ];
        for (key, file) in files {
            if file
                .as_ref()
                .is_some_and(|file| file.as_os_str().is_empty())
            {
                refuse(key, "must not be empty");
            }
        }
        if self.client_key_file.is_some() && self.client_cert_file.is_none() {
            refuse("client_key_file", "needs `client_cert_file`");
        }
        let is_proxy = |proxy: &BaseUrl| {
            let url = proxy.expose().parse::<http::Uri>();
            let schemes = ["http", "https", "socks5", "socks5h"];
            url.is_ok_and(|url| {
                url.scheme_str()
                    .is_some_and(|scheme| schemes.contains(&scheme))
                    && url.host().is_some()
            })
        };
        let proxy = self.proxy.as_ref();
        if proxy.is_some_and(|proxy| proxy.expose() != NO_PROXY && !is_proxy(proxy)) {
            let message = "is not an `http://`, `https://`, `socks5://` or `socks5h://` URL with a host, and not `none`";
            refuse("proxy", message);
        }
        errors
    }

    /// Returns an error for each value that is not allowed.
    pub(super) fn wrong_values(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse =
            |key: &str, message: String| errors.push(SettingsError::new(join(path, key), message));
        let base_url = self.base_url.as_ref();
        match base_url.map(|url| (url, url.expose().parse::<http::Uri>())) {
            Some(_) if self.discovery.names_urls() => {
                let message = "must not be set: the replicas have URLs of their own";
                refuse("base_url", message.to_owned());
            }
            None if self.discovery.names_urls() || self.process.is_some() || self.mcp.is_some() => {
            }
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
            Some((_, Ok(url)))
                if self.discovery.by == DiscoveryKind::Dns && url.scheme_str() == Some("https") =>
            {
                let message = "`dns` needs an `http://` URL: a certificate is made for a name, not for addresses";
                refuse("discovery.by", message.to_owned());
            }
            _ => {}
        }
        if self.process.is_some() && self.hooks.is_some() {
            let message = "a backend has either a process or hooks of another system";
            refuse("hooks", message.to_owned());
        }
        if (self.process.is_some() || self.hooks.is_some()) && self.discovery.is_on() {
            let message =
                "a backend with a process or hooks is one server, not several that are discovered";
            refuse("discovery", message.to_owned());
        }
        for (key, size) in [
            ("answer_size_max", self.answer_size_max),
            ("event_size_max", self.event_size_max),
        ] {
            if size.get() < 1024 {
                refuse(key, format!("`{size}` is less than 1KiB"));
            }
        }
        if self.context_tokens == Some(0) {
            refuse("context_tokens", "must be at least 1".to_owned());
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
