//! Hooks: how a server that another system runs is woken and put to sleep.

use std::{collections::BTreeMap, time::Duration};

use kebne_servers::{CommandSettings, StaySettings};
use serde::{Deserialize, Serialize};

use crate::settings::{BaseUrl, HumanDuration, SettingsError, Validate, join};

/// The longest `sleep_timeout`: the stop of the service waits for it.
const SLEEP_TIMEOUT_MAX: Duration = Duration::from_mins(5);

/// The hooks of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HooksSettings {
    /// What wakes the server, before the first call is sent to it. Required.
    pub wake: HookSettings,
    /// What puts it to sleep, after `idle_timeout` and when the gateway stops. Default none: it falls asleep by itself.
    pub sleep: Option<HookSettings>,
    /// The path that is asked with GET, after the wake hook, until it answers with 2xx; only then calls are sent. Default none:
    /// the calls find out.
    pub health: Option<String>,
    /// The time from the wake hook until the server must serve; more than 0. Default `10m`.
    pub start_timeout: HumanDuration,
    /// The time within which the sleep hook must end; more than 0, at most 5 min. Calls, and the stop of the gateway, wait for it.
    /// Default `30s`.
    pub sleep_timeout: HumanDuration,
    /// The time without a call after which the sleep hook is run; `0s` for never. Default `15m`.
    pub idle_timeout: HumanDuration,
    /// `true` to wake it with the service and to keep it awake without calls. Default `false`.
    pub keep_warm: bool,
}

/// One hook: a request, or a command of this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HookSettings {
    /// The address that is requested; any 2xx status is a success. Either it or `command` is required.
    pub url: Option<BaseUrl>,
    /// The method of the request. Default `POST`.
    pub method: String,
    /// Headers of the request. Default none.
    pub headers: BTreeMap<String, String>,
    /// The environment variable whose value is sent as `Authorization: Bearer`. Default: no key is sent.
    pub key_env: Option<String>,
    /// `true` to make the request as those to the backend are made: with its `ca_file`, its client certificate and its proxy.
    /// Default `false`: the authorities of the system, no certificate, no proxy.
    pub as_backend: bool,
    /// The body of the request. Default none.
    pub body: Option<String>,
    /// A program: a path, or a name that is looked up in `PATH`. No shell is used; the exit code 0 is a success.
    pub command: Option<String>,
    /// Its arguments. Default none.
    pub args: Vec<String>,
    /// The variables of this program's environment that are passed on to it; all others are not. Default `["PATH", "HOME",
    /// "LANG", "TMPDIR"]`.
    pub pass_env: Vec<String>,
}

impl Default for HooksSettings {
    fn default() -> Self {
        Self {
            wake: HookSettings::default(),
            sleep: None,
            health: None,
            start_timeout: HumanDuration::from_secs(600),
            sleep_timeout: HumanDuration::from_secs(30),
            idle_timeout: HumanDuration::from_secs(900),
            keep_warm: false,
        }
    }
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            url: None,
            method: "POST".to_owned(),
            headers: BTreeMap::new(),
            key_env: None,
            as_backend: false,
            body: None,
            command: None,
            args: Vec::new(),
            pass_env: CommandSettings::default().pass_env,
        }
    }
}

impl HooksSettings {
    /// Returns when the server stays awake.
    pub fn stay(&self) -> StaySettings {
        let idle_timeout = self.idle_timeout.get();
        StaySettings {
            keep_warm: self.keep_warm,
            idle_timeout: (!idle_timeout.is_zero()).then_some(idle_timeout),
            min_loaded: Duration::ZERO,
            wait_max: Duration::ZERO,
        }
    }
}

impl Validate for HooksSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.wake.validate(&join(path, "wake"));
        let sleep = self.sleep.as_ref();
        errors.extend(sleep.map_or_else(Vec::new, |sleep| sleep.validate(&join(path, "sleep"))));
        let is_path = |path: &String| path.starts_with('/') && path.parse::<http::Uri>().is_ok();
        if !self.health.as_ref().is_none_or(is_path) {
            let message = "must be a path that begins with `/`";
            errors.push(SettingsError::new(join(path, "health"), message));
        }
        if self.start_timeout.get().is_zero() {
            let message = "must be more than 0";
            errors.push(SettingsError::new(join(path, "start_timeout"), message));
        }
        if !(Duration::from_nanos(1)..=SLEEP_TIMEOUT_MAX).contains(&self.sleep_timeout.get()) {
            let message = "must be more than 0 and at most 5m";
            errors.push(SettingsError::new(join(path, "sleep_timeout"), message));
        }
        errors
    }
}

impl Validate for HookSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse = |key: &str, message: &str| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        if self.url.is_some() == self.command.is_some() {
            refuse("url", "either it or `command` is required, and not both");
        }
        let is_address = |url: &BaseUrl| {
            let url = reqwest::Url::parse(url.expose());
            url.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
        };
        if !self.url.as_ref().is_none_or(is_address) {
            refuse(
                "url",
                "must be an address such as `https://api.example/wake`",
            );
        }
        if self.as_backend && self.url.is_none() {
            refuse("as_backend", "needs `url`");
        }
        if http::Method::from_bytes(self.method.as_bytes()).is_err() {
            refuse("method", "is not a method of HTTP");
        }
        for (name, value) in &self.headers {
            let is_name = http::HeaderName::try_from(name.as_str()).is_ok();
            if !is_name || http::HeaderValue::try_from(value.as_str()).is_err() {
                refuse("headers", "must have names and values of headers");
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let settings: HooksSettings = toml::from_str(text).unwrap();
        let errors = settings.validate("h").into_iter();
        errors.map(|error| error.path).collect()
    }

    #[test]
    fn a_hook_is_a_request_or_a_command() {
        assert_eq!(paths(""), ["h.wake.url"]);
        assert_eq!(
            paths("[wake]\nurl = 'http://a'\ncommand = 'b'"),
            ["h.wake.url"]
        );
        assert_eq!(paths("[wake]\nurl = 'ftp://a'"), ["h.wake.url"]);
        assert_eq!(paths("[wake]\ncommand = 'a'\n[sleep]"), ["h.sleep.url"]);
        assert!(paths("[wake]\nurl = 'http://a'\n[sleep]\ncommand = 'b'").is_empty());
        assert_eq!(
            paths("[wake]\ncommand = 'a'\nas_backend = true"),
            ["h.wake.as_backend"]
        );
        let wrong = "health = 'x'\nstart_timeout = '0s'\nsleep_timeout = '301s'\n[wake]\ncommand = 'a'\nmethod = 'A B'\n[wake.headers]\n'a b' = ''";
        assert_eq!(
            paths(wrong),
            [
                "h.wake.method",
                "h.wake.headers",
                "h.health",
                "h.start_timeout",
                "h.sleep_timeout"
            ]
        );
    }
}
