//! The settings of servers of the Model Context Protocol, and the backends that they become.

mod oauth;
mod tool_loop;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use kebne_settings::validate_each;
use serde::{Deserialize, Serialize};

use crate::settings::{
    BackendKind, BackendSettings, BaseUrl, ByteCount, HumanDuration, LaneSettings, Settings,
    SettingsError, Validate, join, repeated,
};

pub use oauth::McpOauthSettings;
pub use tool_loop::{ModelToolsSettings, ToolLoopSettings};

/// The reason why a build cannot use MCP.
pub(crate) const NOT_BUILT: &str = "this build has no MCP: it was made without the feature `mcp`";

/// The longest name of a server; with a name of a tool it makes one that models accept.
const NAME_MAX: usize = 32;
/// What stands between the names of a server and of a tool.
const SEPARATOR: &str = "__";
/// The longest time of any of the keys.
const TIME_MAX: Duration = Duration::from_hours(24);
/// The shortest time of any of the keys.
const TIME_MIN: Duration = Duration::from_millis(10);
/// The shortest time between two lists of tools.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// The highest number of calls at once.
const CONCURRENCY_MAX: u32 = 100_000;
/// The highest number of calls that wait.
const QUEUE_MAX: usize = 1_000_000;
/// The smallest bound of answers.
const ANSWER_SIZE_MIN: u64 = 1024;
/// The highest number of tools that are listed.
const LISTED_MAX: usize = 10_000;
/// The most patterns of tools, arguments, and variables of a server.
const LIST_MAX: usize = 256;

/// The version of the protocol that is spoken with a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum McpProtocol {
    /// The newest one that the server has.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// The era of sessions.
    #[serde(rename = "2025-11-25")]
    Sessions,
    /// The era without sessions.
    #[serde(rename = "2026-07-28")]
    Stateless,
}

/// Which tools wait for an approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum McpHold {
    /// None.
    Nothing,
    /// Those that have changed.
    #[default]
    Changes,
    /// Those that have changed or are new.
    All,
}

/// What holds for all servers of the Model Context Protocol, and for the endpoint `/mcp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct McpSettings {
    /// The file with the digests of the tools that were approved. Default `kebne-data/mcp-tools.json`.
    pub path: PathBuf,
    /// `true` if the gateway's own tools are offered at `/mcp`: search, sessions, jobs, routes and state. Default `true`.
    pub own_tools: bool,
    /// The most tools of servers that are listed at `/mcp`; of more, a client gets two tools by which it finds and calls them; 0 to 10000.
    /// Default 200.
    pub list_max: usize,
    /// What models read about the endpoint `/mcp`. Default none.
    pub instructions: String,
    /// The bounds of calls for which the gateway calls tools.
    pub tool_loop: ToolLoopSettings,
}

/// A server of the Model Context Protocol, whose tools are offered at `/mcp`. It has a lane of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct McpServerSettings {
    /// The name in keys, metrics and the names of its tools: letters, digits, `-` and single `_`, at most 32; no name of a backend, a model, a
    /// function, a route or an agent, and not `kebne`.
    pub name: String,
    /// The URL of its endpoint (Streamable HTTP), such as `http://127.0.0.1:3000/mcp`; either this or `command`.
    pub url: Option<String>,
    /// The program that is started and spoken with by its standard input and output; either this or `url`.
    pub command: Option<String>,
    /// Only with `command`: the arguments. Default none.
    pub args: Vec<String>,
    /// Only with `command`: variables of its environment. Default none.
    pub env: BTreeMap<String, String>,
    /// Only with `command`: variables whose values are in files, which are read again when the settings are. Default none.
    pub env_file: BTreeMap<String, PathBuf>,
    /// Only with `command`: variables of the gateway's environment that it gets too. Default `["PATH", "HOME", "LANG", "TMPDIR"]`.
    pub pass_env: Vec<String>,
    /// Only with `command`: the working directory. Default: that of the gateway.
    pub cwd: Option<PathBuf>,
    /// Only with `command`: the time between the request to end and the end by force; 10ms to 24h. Default `5s`.
    pub stop_grace: HumanDuration,
    /// Only with `url`: the environment variable with the server's API key. Default none: no key is sent.
    pub api_key_env: Option<String>,
    /// Only with `url`: the file with the server's API key, which is read again when the settings are. Not with `api_key_env`. Default none.
    pub api_key_file: Option<PathBuf>,
    /// Only with `url`: the header for the key alone. Default none: `Authorization: Bearer` is used.
    pub api_key_header: Option<String>,
    /// Only with `url`: additional headers of every request. Default none.
    pub headers: BTreeMap<String, String>,
    /// Only with `url`: additional headers whose values are in files. Default none.
    pub headers_file: BTreeMap<String, PathBuf>,
    /// Only with `url`: a file with the certificates of authorities in PEM, which are trusted instead of those of the system. Default none.
    pub ca_file: Option<PathBuf>,
    /// Only with `url`: how tokens are fetched, if the server asks for OAuth. Not with `api_key_env` and `api_key_file`. Default: none are.
    pub oauth: Option<McpOauthSettings>,
    /// The version of the protocol: `auto`, `2025-11-25` or `2026-07-28`. Default `auto`.
    pub protocol: McpProtocol,
    /// What leads the names of its tools at `/mcp`; it may be empty. Default none: the name and `__`.
    pub prefix: Option<String>,
    /// The tools that are offered, by name or with `*`, such as `["read_*"]`. Default none: all of them.
    pub tools: Vec<String>,
    /// The tools that wait until an operator approves them: `changes` (those whose definition is not the one that was seen first), `all` (new
    /// ones, too) or `nothing`. Default `changes`.
    pub hold: McpHold,
    /// The time of one call, 10ms to 24h. Default `30s`.
    pub timeout: HumanDuration,
    /// The time to start it or to connect, up to its first list of tools, 10ms to 24h. Default `1m`.
    pub start_timeout: HumanDuration,
    /// The longest wait of a call for a server that is away, up to 24h. Default `5m`.
    pub cold_wait_max: HumanDuration,
    /// The time after which its list of tools is read again, 1s to 24h. Default `5m`.
    pub refresh: HumanDuration,
    /// The most calls at once; 1 to 100000. Default 16.
    pub concurrency: u32,
    /// The most calls that wait; 0 to 1000000. Default 1000.
    pub queue_max: usize,
    /// The largest answer that is read; at least `1KiB`. Default `4MiB`.
    pub answer_size_max: ByteCount,
    /// The guards whose checks calls must pass, by their names. Default none.
    pub guards: Vec<String>,
}

impl Default for McpSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("kebne-data/mcp-tools.json"),
            own_tools: true,
            list_max: 200,
            instructions: String::new(),
            tool_loop: ToolLoopSettings::default(),
        }
    }
}

impl Default for McpServerSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: None,
            command: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            env_file: BTreeMap::new(),
            pass_env: ["PATH", "HOME", "LANG", "TMPDIR"]
                .map(str::to_owned)
                .to_vec(),
            cwd: None,
            stop_grace: HumanDuration::from_secs(5),
            api_key_env: None,
            api_key_file: None,
            api_key_header: None,
            headers: BTreeMap::new(),
            headers_file: BTreeMap::new(),
            ca_file: None,
            oauth: None,
            protocol: McpProtocol::default(),
            prefix: None,
            tools: Vec::new(),
            hold: McpHold::default(),
            timeout: HumanDuration::from_secs(30),
            start_timeout: HumanDuration::from_secs(60),
            cold_wait_max: HumanDuration::from_secs(300),
            refresh: HumanDuration::from_secs(300),
            concurrency: 16,
            queue_max: 1000,
            answer_size_max: ByteCount::from_mib(4),
            guards: Vec::new(),
        }
    }
}

impl Validate for McpSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if self.path.as_os_str().is_empty() {
            errors.push(SettingsError::new(join(path, "path"), "must not be empty"));
        }
        if self.list_max > LISTED_MAX {
            let message = format!("must be 0 to {LISTED_MAX}");
            errors.push(SettingsError::new(join(path, "list_max"), message));
        }
        errors.extend(self.tool_loop.validate(&join(path, "tool_loop")));
        errors
    }
}

impl McpServerSettings {
    /// Returns what leads the names of its tools.
    pub fn prefix(&self) -> String {
        let own = || format!("{}{SEPARATOR}", self.name);
        self.prefix.clone().unwrap_or_else(own)
    }

    /// Returns the keys that the way to the server does not have.
    fn misplaced(&self) -> Vec<(&'static str, String)> {
        let defaults = Self::default();
        let of_process = [
            ("args", !self.args.is_empty()),
            ("env", !self.env.is_empty()),
            ("env_file", !self.env_file.is_empty()),
            ("pass_env", self.pass_env != defaults.pass_env),
            ("cwd", self.cwd.is_some()),
            ("stop_grace", self.stop_grace != defaults.stop_grace),
        ];
        let of_url = [
            ("api_key_env", self.api_key_env.is_some()),
            ("api_key_file", self.api_key_file.is_some()),
            ("api_key_header", self.api_key_header.is_some()),
            ("headers", !self.headers.is_empty()),
            ("headers_file", !self.headers_file.is_empty()),
            ("ca_file", self.ca_file.is_some()),
            ("oauth", self.oauth.is_some()),
        ];
        let (keys, other) = match (&self.url, &self.command) {
            (Some(_), None) => (&of_process[..], "command"),
            (None, Some(_)) => (&of_url[..], "url"),
            (Some(_), Some(_)) => {
                let message = "must not be set with `url`: a server is reached by one of them";
                return vec![("command", message.to_owned())];
            }
            (None, None) => {
                let message = "must be set, or `command`: the server is reached by one of them";
                return vec![("url", message.to_owned())];
            }
        };
        let set = keys.iter().filter(|(_, is_set)| *is_set);
        set.map(|(key, _)| (*key, format!("belongs to servers with `{other}`")))
            .collect()
    }

    fn wrong_times(&self) -> Vec<(&'static str, String)> {
        let (least, most) = (HumanDuration(TIME_MIN), HumanDuration(TIME_MAX));
        let times = [
            ("timeout", self.timeout),
            ("start_timeout", self.start_timeout),
            ("stop_grace", self.stop_grace),
        ];
        let wrong = times
            .into_iter()
            .filter(|(_, time)| !(TIME_MIN..=TIME_MAX).contains(&time.get()));
        let mut wrong: Vec<_> = wrong
            .map(|(key, _)| (key, format!("must be from {least} to {most}")))
            .collect();
        if self.cold_wait_max.get() > TIME_MAX {
            wrong.push(("cold_wait_max", format!("must be at most {most}")));
        }
        if !(REFRESH_MIN..=TIME_MAX).contains(&self.refresh.get()) {
            wrong.push(("refresh", format!("must be from 1s to {most}")));
        }
        wrong
    }

    fn wrong_texts(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if let Some(message) = wrong_name(&self.name) {
            wrong.push(("name", message));
        }
        let prefix = self.prefix.as_deref().unwrap_or_default();
        if prefix.len() > NAME_MAX + SEPARATOR.len() || !prefix.bytes().all(is_plain) {
            let message = "must be at most 34 letters, digits, `-` and `_`";
            wrong.push(("prefix", message.to_owned()));
        }
        let is_pattern = |text: &String| {
            (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if let Some(pattern) = self.tools.iter().find(|text| !is_pattern(text)) {
            let message =
                format!("`{pattern}` must be 1 to 128 printable ASCII characters without spaces");
            wrong.push(("tools", message));
        }
        let is_variable =
            |name: &String| !name.is_empty() && !name.contains('=') && !name.contains('\0');
        for (key, mut names) in [
            ("env", self.env.keys().collect::<Vec<_>>()),
            ("env_file", self.env_file.keys().collect()),
            ("pass_env", self.pass_env.iter().collect()),
        ] {
            if names.len() > LIST_MAX {
                wrong.push((key, format!("must be at most {LIST_MAX}")));
            }
            names.retain(|name| !is_variable(name));
            if let Some(name) = names.first() {
                wrong.push((key, format!("`{name}` is not the name of a variable")));
            }
        }
        for (key, list) in [("args", &self.args), ("tools", &self.tools)] {
            if list.len() > LIST_MAX {
                wrong.push((key, format!("must be at most {LIST_MAX}")));
            }
        }
        if self.command.as_deref().is_some_and(str::is_empty) {
            wrong.push(("command", "must not be empty".to_owned()));
        }
        wrong
    }
}

impl Validate for McpServerSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut wrong = self.misplaced();
        wrong.extend(self.wrong_texts());
        wrong.extend(self.wrong_times());
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            wrong.push(("concurrency", format!("must be 1 to {CONCURRENCY_MAX}")));
        }
        if self.queue_max > QUEUE_MAX {
            wrong.push(("queue_max", format!("must be 0 to {QUEUE_MAX}")));
        }
        if self.answer_size_max.get() < ANSWER_SIZE_MIN {
            let message = format!("`{}` is less than 1KiB", self.answer_size_max);
            wrong.push(("answer_size_max", message));
        }
        if self.oauth.is_some() && (self.api_key_env.is_some() || self.api_key_file.is_some()) {
            let message = "must not be set with an API key: both are sent in one header";
            wrong.push(("oauth", message.to_owned()));
        }
        let wrong = wrong.into_iter();
        let mut errors: Vec<_> = wrong
            .map(|(key, message)| SettingsError::new(join(path, key), message))
            .collect();
        if let Some(oauth) = &self.oauth {
            errors.extend(oauth.validate(&join(path, "oauth")));
        }
        errors
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Returns what is wrong with a name.
fn wrong_name(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("must not be empty".to_owned())
    } else if name.len() > NAME_MAX {
        Some(format!("must be at most {NAME_MAX} characters"))
    } else if !name.bytes().all(is_plain) || name.contains(SEPARATOR) || name.ends_with('_') {
        Some(format!(
            "`{name}` must be letters, digits, `-` and single `_`, and not end with `_`"
        ))
    } else if name == "kebne" {
        Some("`kebne` is the name of the gateway's own tools".to_owned())
    } else {
        None
    }
}

/// Returns the place in the settings of the server that became a backend.
pub(crate) fn place_of(settings: &Settings, backend: &BackendSettings) -> Option<String> {
    let server = backend.mcp.as_ref()?;
    let mut servers = settings.mcp_servers.iter();
    let index = servers.position(|one| one.name == server.name)?;
    Some(format!("mcp_servers[{index}]"))
}

/// Returns the backend of a server.
pub(super) fn backend(server: &McpServerSettings) -> BackendSettings {
    let limits = LaneSettings::default();
    let wake = server.start_timeout.get().max(server.timeout.get());
    BackendSettings {
        name: server.name.clone(),
        kind: BackendKind::Mcp,
        base_url: server.url.as_deref().map(BaseUrl::new),
        model: Some(server.name.clone()),
        api_key_env: server.api_key_env.clone(),
        api_key_file: server.api_key_file.clone(),
        api_key_header: server.api_key_header.clone(),
        headers: server.headers.clone(),
        headers_file: server.headers_file.clone(),
        ca_file: server.ca_file.clone(),
        answer_size_max: server.answer_size_max,
        limits: LaneSettings {
            limit_initial: limits.limit_initial.min(server.concurrency),
            limit_max: server.concurrency,
            queue_max: server.queue_max,
            attempt_timeout: server.timeout,
            first_token_timeout: server.timeout,
            wake_timeout: HumanDuration(wake),
            cold_wait_max: server.cold_wait_max,
            ..limits
        },
        mcp: Some(Arc::new(server.clone())),
        ..BackendSettings::default()
    }
}

/// Returns the errors of the servers: in themselves, in their backends, and in what they name.
pub(super) fn contradictions(
    settings: &Settings,
    path: &str,
    taken: &BTreeSet<String>,
) -> Vec<SettingsError> {
    let all = join(path, "mcp_servers");
    let servers = &settings.mcp_servers;
    if !servers.is_empty() && !cfg!(feature = "mcp") {
        return vec![SettingsError::new(all, NOT_BUILT)];
    }
    let mut errors = validate_each(servers, &all);
    errors.extend(tool_loop::unknown_servers(settings, path));
    let names: Vec<&str> = servers.iter().map(|one| one.name.as_str()).collect();
    errors.extend(repeated(&names, &all, "name"));
    let prefixes: Vec<String> = servers.iter().map(McpServerSettings::prefix).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    errors.extend(repeated(&prefixes, &all, "prefix"));
    let functions = settings.functions.iter().map(|one| one.name.as_str());
    let agents = settings.agents.iter().map(|one| one.name.as_str());
    let others: BTreeSet<&str> = functions.chain(agents).collect();
    let guards = || settings.guards.iter().map(|guard| guard.name.as_str());
    for (index, server) in servers.iter().enumerate() {
        let at = format!("{all}[{index}]");
        if taken.contains(&server.name) || others.contains(server.name.as_str()) {
            let message = format!(
                "`{}` is the name of a backend, a model, a function, a route or an agent, too",
                server.name
            );
            errors.push(SettingsError::new(join(&at, "name"), message));
        }
        let unknown = server.guards.iter();
        for name in unknown.filter(|name| !guards().any(|one| one == *name)) {
            let message = format!("there is no guard named `{name}`");
            let error = SettingsError::new(join(&at, "guards"), message);
            errors.push(error.with_allowed(guards()).suggesting(name));
        }
        let own: BTreeSet<String> = errors.iter().map(|error| error.path.clone()).collect();
        let bounds = join(&at, "limits");
        let made = backend(server).validate("").into_iter().map(|mut error| {
            error.path = join(&at, super::functions::key_of_function(&error.path));
            error
        });
        // What a server and its backend both check is reported once, and the bounds of lanes are those of the server.
        errors.extend(
            made.filter(|error| !own.contains(&error.path) && !error.path.starts_with(&bounds)),
        );
    }
    errors
}

#[cfg(test)]
#[cfg(feature = "mcp")]
mod tests;
