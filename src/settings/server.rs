//! The HTTP service: its address, its keys, and its bounds.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use kebne_quota::Limits;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    api_key,
    settings::{
        ByteCount, ClientHeader, HumanDuration, Network, SettingsError, Validate, join,
        tls::TlsSettings,
    },
};

/// Settings of the HTTP service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Address and port to listen on; other than loopback only with `keys`. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// TLS towards callers. Default none.
    pub tls: TlsSettings,
    /// API keys; if there are none, callers need no key. Default none.
    pub keys: Vec<KeySettings>,
    /// Host names by which callers without keys reach the gateway, besides loopback addresses and `localhost`: those
    /// of a proxy in front of it. Default none.
    pub hosts: Vec<String>,
    /// Origins of web pages that may read answers (CORS), such as `https://app.example`; `*` for all, only with
    /// `keys`. Default none.
    pub cors_origins: Vec<String>,
    /// The proxies in front of the service, such as `10.0.0.0/8`: only they may name the client in `trusted_header`. Default
    /// none.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they name the client: `x-forwarded-for` (with `x-forwarded-proto`) or `forwarded`. The other one
    /// is ignored. Default `x-forwarded-for`.
    pub trusted_header: ClientHeader,
    /// Threads that serve HTTP; 1 to 256. Default 2.
    pub workers: usize,
    /// Connections that each of these threads may hold; 1 to 1000000. Default 4096.
    pub connections_max: usize,
    /// The largest request body that is read. Default `16MiB`.
    pub body_size_max: ByteCount,
    /// Bytes of all request bodies together; at least twice `body_size_max` and `1MiB`, at most `1TiB`. Default
    /// `256MiB`.
    pub bodies_size_max: ByteCount,
    /// Bytes of the whole answers and the events of streams of all backends together, not counting those of at most
    /// 64 KiB; `1MiB` to `1TiB`. Default `256MiB`.
    pub answers_size_max: ByteCount,
    /// Time for a caller to send its headers, and again for its body; greater than 0. Default `15s`.
    pub request_timeout: HumanDuration,
    /// Time for which an idle connection is kept; greater than 0. Default `75s`.
    pub keep_alive: HumanDuration,
    /// Time for which a caller may take nothing of an answer that waits for it before its connection is closed (on
    /// Linux); `1s` to `1h`. Default `30s`.
    pub write_timeout: HumanDuration,
    /// Time for a call if the caller does not set one; greater than 0 and at most `deadline_max`. Default `2m`.
    pub deadline_default: HumanDuration,
    /// The longest time that a caller may set; greater than 0. Default `10m`.
    pub deadline_max: HumanDuration,
    /// Time for which a stream waits for its first token before the answer begins without it, so that no proxy closes
    /// the silent connection. Errors before it still have their own status. Default `20s`.
    pub stream_opens_after: HumanDuration,
    /// Time between the comments that keep a waiting stream alive. Default `10s`.
    pub keep_alive_comment: HumanDuration,
    /// Time after the stop signal in which calls are still served while `/readyz` answers 503, so that load balancers
    /// send no more calls before calls are refused; `0s` to `1h`. Default `5s`.
    pub lame_duck: HumanDuration,
    /// Time for admitted calls to end once new calls are refused. Default `30s`.
    pub drain_deadline: HumanDuration,
    /// The file for what lanes learn (limits, load times), which the next start reads; empty for none. Default
    /// `kebne-data/learned.json`, relative to the working directory.
    pub learned_path: PathBuf,
    /// The file for what operators decide about backends (drained, disabled), which the next start does again; empty for none.
    /// Default `kebne-data/decisions.sqlite`, relative to the working directory.
    pub decisions_path: PathBuf,
}

/// The longest time in which a stopping service still accepts calls; a longer one is likely a mistake.
const LAME_DUCK_MAX: Duration = Duration::from_hours(1);
/// The shortest and the longest time for which a caller may take nothing. The kernel looks no more often than a few times
/// in a second.
const WRITE_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// The lowest priority of a call.
pub const PRIORITY_MAX: u8 = 9;
/// A quarter of the budget of all bodies is for small ones, so a budget of twice the largest body always has room for
/// one of these.
const BODIES_PER_BODY: u64 = 2;
/// The smallest budget of all bodies: enough for a few connections that receive large ones.
const BODIES_MIN: u64 = 1 << 20;
/// The largest budget of all bodies.
const BODIES_MAX: u64 = 1 << 40;
/// The largest body, so that the largest budget has room for it.
const BODY_MAX: u64 = BODIES_MAX / BODIES_PER_BODY;
/// The smallest and the largest weight of a tenant.
pub(crate) const WEIGHTS: (f64, f64) = (0.01, 100.0);

/// One API key, identified by its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// The name of the key's owner in the log; each name can be used once.
    pub name: String,
    /// The key's SHA-256 in lowercase hexadecimal, as `kebne key` prints it.
    pub hash: String,
    /// The tenant of the key's calls. Keys of one tenant share its queue and its sessions. Default: the name of the
    /// key.
    pub tenant: Option<String>,
    /// The highest priority that the key's calls may use, and the default of its calls; 0 (served first) to 9 (served
    /// last). Default 0.
    #[serde(deserialize_with = "priority")]
    pub priority: u8,
    /// The tenant's share relative to others of the same priority; 0.01 to 100. Default 1.
    pub weight: f64,
    /// Whether the key's calls may name their own tenants (`x-kebne-tenant`), each with this share. Default `false`.
    pub names_tenants: bool,
    /// The permissions of the key. Default `["call"]`.
    pub scopes: Vec<Scope>,
    /// The models that the key may call, by their own names, and the routes that it may use. Default: all.
    pub models: Option<Vec<String>>,
    /// The group of `accounts.groups` in which its calls count too. Default none.
    pub group: Option<String>,
    /// The guards whose checks its calls must pass, by their names. Default none.
    pub guards: Vec<String>,
    /// The limits of the key.
    pub limits: Limits,
}

/// A permission of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Call models, and manage its own sessions.
    Call,
    /// Read `/state`, `/metrics`, `/live` and `/v1/alerts`.
    ReadState,
    /// Change how the gateway runs, such as waking, closing and reopening backends.
    Admin,
}

impl Scope {
    /// Returns the scope with this name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Call, Self::ReadState, Self::Admin];
        all.into_iter().find(|scope| scope.name() == name)
    }

    /// Returns the name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::ReadState => "read_state",
            Self::Admin => "admin",
        }
    }
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            hash: String::new(),
            tenant: None,
            priority: 0,
            weight: 1.0,
            names_tenants: false,
            scopes: vec![Scope::Call],
            models: None,
            group: None,
            guards: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl KeySettings {
    /// Returns the tenant of the key's calls and sessions; by default the key's name.
    pub fn tenant(&self) -> &str {
        self.tenant.as_ref().unwrap_or(&self.name)
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        let seconds = |seconds| HumanDuration(Duration::from_secs(seconds));
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls: TlsSettings::default(),
            keys: Vec::new(),
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            trusted_header: ClientHeader::default(),
            workers: 2,
            connections_max: 4096,
            body_size_max: ByteCount(16 << 20),
            bodies_size_max: ByteCount(256 << 20),
            answers_size_max: ByteCount(256 << 20),
            request_timeout: seconds(15),
            keep_alive: seconds(75),
            write_timeout: seconds(30),
            deadline_default: seconds(120),
            deadline_max: seconds(600),
            stream_opens_after: seconds(20),
            keep_alive_comment: seconds(10),
            lame_duck: seconds(5),
            drain_deadline: seconds(30),
            learned_path: PathBuf::from("kebne-data/learned.json"),
            decisions_path: PathBuf::from("kebne-data/decisions.sqlite"),
        }
    }
}

impl Validate for ServerSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        require(
            !self.keys.is_empty() || self.listen.ip().is_loopback(),
            "listen",
            "without `keys` only a loopback address is allowed, such as 127.0.0.1:8080",
        );
        require(
            !self.keys.is_empty() || self.cors_origins.iter().all(|origin| origin != "*"),
            "cors_origins",
            "`*` is only allowed with `keys`: any web page could use the gateway",
        );
        for (index, host) in self.hosts.iter().enumerate() {
            require(
                is_host(host),
                &format!("hosts[{index}]"),
                "must be a host name or an IP address without scheme, port and path, such as `kebne.internal`",
            );
        }
        require(
            self.cors_origins.iter().all(|origin| is_origin(origin)),
            "cors_origins",
            "must be origins without a path, such as `https://app.example`",
        );
        require(
            (1..=256).contains(&self.workers),
            "workers",
            "must be 1 to 256",
        );
        require(
            (1..=1_000_000).contains(&self.connections_max),
            "connections_max",
            "must be 1 to 1000000",
        );
        let body_size = (1..=BODY_MAX).contains(&self.body_size_max.0);
        require(body_size, "body_size_max", "must be 1B to 512GiB");
        require(
            (BODIES_MIN..=BODIES_MAX).contains(&self.answers_size_max.0),
            "answers_size_max",
            "must be 1MiB to 1TiB",
        );
        let lame_duck = self.lame_duck.0 <= LAME_DUCK_MAX;
        require(lame_duck, "lame_duck", "must be at most 1h");
        let write_timeout = WRITE_TIMEOUTS.contains(&self.write_timeout.0);
        require(write_timeout, "write_timeout", "must be 1s to 1h");
        let durations = [
            ("request_timeout", self.request_timeout),
            ("deadline_default", self.deadline_default),
            ("deadline_max", self.deadline_max),
            ("stream_opens_after", self.stream_opens_after),
            ("keep_alive_comment", self.keep_alive_comment),
        ];
        for (key, value) in durations {
            require(!value.0.is_zero(), key, "must be more than 0");
        }
        errors.extend(self.tls.validate(&join(path, "tls")));
        errors.extend(self.contradictions(path));
        errors.extend(self.wrong_keys(path));
        for (index, key) in self.keys.iter().enumerate() {
            let at = join(path, &format!("keys[{index}].limits"));
            errors.extend(key.limits.validate(&at));
        }
        errors
    }
}

impl ServerSettings {
    /// Finds values that do not fit together. A value that is wrong on its own is reported on its own.
    fn contradictions(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let least = self.body_size_max.0.saturating_mul(BODIES_PER_BODY);
        let least = least.max(BODIES_MIN);
        if self.body_size_max.0 <= BODY_MAX
            && !(least..=BODIES_MAX).contains(&self.bodies_size_max.0)
        {
            let message = "must be at least twice `body_size_max` and 1MiB, and at most 1TiB";
            let error = SettingsError::new(join(path, "bodies_size_max"), message);
            errors.push(error.against(join(path, "body_size_max")));
        }
        if !self.deadline_max.0.is_zero() && self.deadline_default.0 > self.deadline_max.0 {
            let at = join(path, "deadline_default");
            let error = SettingsError::new(at, "must be at most `deadline_max`");
            errors.push(error.against(join(path, "deadline_max")));
        }
        errors
    }

    /// Returns the errors of the keys.
    fn wrong_keys(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        for (index, key) in self.keys.iter().enumerate() {
            let at = |field: &str| format!("keys[{index}].{field}");
            require(!key.name.is_empty(), &at("name"), "a key needs a name");
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            require(
                key.hash.len() == 64 && key.hash.bytes().all(hex),
                &at("hash"),
                "must be 64 lowercase hexadecimal digits, as `kebne key` prints them",
            );
            require(
                key.hash != api_key::hash(""),
                &at("hash"),
                "is the hash of an empty key; `kebne key` creates a key and prints its hash",
            );
            require(
                key.tenant.as_ref().is_none_or(|tenant| !tenant.is_empty()),
                &at("tenant"),
                "must not be empty; without it the key's name is the tenant",
            );
            require(
                key.priority <= PRIORITY_MAX,
                &at("priority"),
                "must be 0 to 9",
            );
            require(
                (WEIGHTS.0..=WEIGHTS.1).contains(&key.weight),
                &at("weight"),
                "must be 0.01 to 100",
            );
            let again = self
                .keys
                .iter()
                .take(index)
                .any(|other| other.name == key.name);
            require(!again, &at("name"), "is used more than once");
            let mut before = self.keys.iter().take(index);
            let twin = before.find(|other| other.hash == key.hash && !key.hash.is_empty());
            if let Some(twin) = twin {
                let message = format!("is also the hash of the key `{}`", twin.name);
                require(false, &at("hash"), &message);
            }
            require(
                !key.scopes.is_empty(),
                &at("scopes"),
                "must not be empty; without it a key may `call`",
            );
            require(
                key.models.as_ref().is_none_or(|models| !models.is_empty()),
                &at("models"),
                "must not be empty; without it the key may call all models",
            );
        }
        errors
    }
}

/// Returns `true` for what a `Host` header holds besides the port.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!text.is_empty() && text.bytes().all(plain)) || text.parse::<IpAddr>().is_ok()
}

/// Reads a priority; the type alone would describe a wrong one by its own range.
fn priority<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let number = i64::deserialize(deserializer)?;
    u8::try_from(number).map_err(|_| D::Error::custom("must be 0 to 9"))
}

/// Returns `true` for `*`, or for a scheme and a host with or without a port.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let plain = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    text == "*" || host.is_some_and(plain)
}
