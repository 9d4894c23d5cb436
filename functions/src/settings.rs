//! The settings of a function.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use kebne_settings::{ByteCount, HumanDuration, SettingsError, Validate, join, validate_each};
use serde::{Deserialize, Serialize};

use crate::{schema::InputSchema, subscription::OnSettings};

/// The longest name; it is a label of metrics and a part of a path.
const NAME_MAX: usize = 64;
/// The longest description.
const DESCRIPTION_MAX: usize = 1024;
/// The shortest and the longest time of one attempt.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
/// The highest number of calls at once.
const CONCURRENCY_MAX: u32 = 100_000;
/// The highest number of calls that wait.
const QUEUE_MAX: usize = 1_000_000;
/// The smallest bound of answers.
const ANSWER_SIZE_MIN: u64 = 1024;

/// The form in which a call is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The data alone, as JSON.
    #[default]
    Json,
    /// A `CloudEvents` event in the binary mode: the data is the body, the attributes are headers.
    Cloudevents,
    /// A `CloudEvents` event in the structured JSON mode: the body is the event.
    CloudeventsStructured,
}

/// A function: code of the operator behind a URL, which gets JSON and answers with JSON. It has a lane of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionSettings {
    /// The name in requests, routes, keys and metrics: letters, digits, `-`, `_` and `.`, at most 64; no name of a backend, a model or a
    /// route.
    pub name: String,
    /// What it does, for those who list functions; at most 1024 characters.
    pub description: String,
    /// A JSON Schema, as a text, that the input of direct calls must satisfy. Default none: any JSON.
    pub input_schema: Option<String>,
    /// The URL that calls are posted to, such as `http://127.0.0.1:8081/classify`.
    pub url: String,
    /// The form of calls: `json`, `cloudevents` (binary mode) or `cloudevents_structured`. Default `json`.
    pub format: Format,
    /// The environment variable with the function's API key. Default none: no key is sent.
    pub api_key_env: Option<String>,
    /// The file with the function's API key, which is read again when the settings are. Not with `api_key_env`. Default none: no key is sent.
    pub api_key_file: Option<PathBuf>,
    /// The header for the key alone. Default none: `Authorization: Bearer` is used.
    pub api_key_header: Option<String>,
    /// Additional headers of every call. Default none.
    pub headers: BTreeMap<String, String>,
    /// The environment variable with the secret that signs calls as Standard Webhooks are signed, at least 16 characters. Default none: calls
    /// are not signed.
    pub signing_secret_env: Option<String>,
    /// The file with this secret, which is read again when the settings are. Not with `signing_secret_env`. Default none.
    pub signing_secret_file: Option<PathBuf>,
    /// A file with the certificates of authorities in PEM, which are trusted instead of those of the system. Default none.
    pub ca_file: Option<PathBuf>,
    /// The time of one attempt, from 10 ms to 1 h. Default `30s`.
    pub timeout: HumanDuration,
    /// The time of the one attempt that wakes a function that is scaled to zero, from 10 ms to 1 h; used if it is longer than `timeout`.
    /// Default `2m`.
    pub wake_timeout: HumanDuration,
    /// The longest wait for a function that is away, up to 1 h. Default `5m`.
    pub cold_wait_max: HumanDuration,
    /// `true` if it changes nothing, so that a failed attempt is repeated. Default `false`.
    pub read_only: bool,
    /// `true` if a repeated call with the same id has no further effect, so that a failed attempt is repeated. Default `false`.
    pub idempotent: bool,
    /// The most calls at once; 1 to 100000. Default 16.
    pub concurrency: u32,
    /// The most calls that wait; 0 to 1000000. Default 1000.
    pub queue_max: usize,
    /// The largest answer that is read; at least `1KiB`. Default `4MiB`.
    pub answer_size_max: ByteCount,
    /// Further statuses that mean that it is scaled to zero and did nothing, for example `[404]`; each from 400 to 599. Default none.
    pub cold_statuses: Vec<u16>,
    /// The guards whose checks calls must pass, by their names. Default none.
    pub guards: Vec<String>,
    /// The events that are delivered to it. Default none.
    pub on: Vec<OnSettings>,
}

impl Default for FunctionSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            input_schema: None,
            url: String::new(),
            format: Format::default(),
            api_key_env: None,
            api_key_file: None,
            api_key_header: None,
            headers: BTreeMap::new(),
            signing_secret_env: None,
            signing_secret_file: None,
            ca_file: None,
            timeout: HumanDuration::from_secs(30),
            wake_timeout: HumanDuration::from_secs(120),
            cold_wait_max: HumanDuration::from_secs(300),
            read_only: false,
            idempotent: false,
            concurrency: 16,
            queue_max: 1000,
            answer_size_max: ByteCount::from_mib(4),
            cold_statuses: Vec::new(),
            guards: Vec::new(),
            on: Vec::new(),
        }
    }
}

impl FunctionSettings {
    /// Returns `true` if a failed attempt may be repeated, although the function may have done its work.
    pub fn is_repeatable(&self) -> bool {
        self.read_only || self.idempotent
    }

    fn wrong_times(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        for (key, time) in [
            ("timeout", self.timeout),
            ("wake_timeout", self.wake_timeout),
        ] {
            if !TIMEOUT.contains(&time.get()) {
                let (least, most) = (
                    HumanDuration(*TIMEOUT.start()),
                    HumanDuration(*TIMEOUT.end()),
                );
                wrong.push((key, format!("must be from {least} to {most}")));
            }
        }
        if self.cold_wait_max.get() > *TIMEOUT.end() {
            wrong.push(("cold_wait_max", "must be at most 1h".to_owned()));
        }
        wrong
    }
}

impl Validate for FunctionSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut wrong = self.wrong_times();
        if let Some(message) = wrong_name(&self.name) {
            wrong.push(("name", message));
        }
        if self.description.chars().count() > DESCRIPTION_MAX {
            let message = format!("must be at most {DESCRIPTION_MAX} characters");
            wrong.push(("description", message));
        }
        if let Some(Err(error)) = self.input_schema.as_deref().map(InputSchema::read) {
            wrong.push(("input_schema", error.to_string()));
        }
        if self.signing_secret_env.is_some() && self.signing_secret_file.is_some() {
            let message = "must not be set with `signing_secret_env`: there is one secret";
            wrong.push(("signing_secret_file", message.to_owned()));
        }
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
        if let Some(status) = self
            .cold_statuses
            .iter()
            .find(|status| !(400..=599).contains(*status))
        {
            wrong.push(("cold_statuses", format!("{status} is not from 400 to 599")));
        }
        if self.name.eq_ignore_ascii_case("dead-letters") {
            wrong.push((
                "name",
                "`dead-letters` is the name of a file of events".to_owned(),
            ));
        }
        let wrong = wrong.into_iter();
        let mut errors: Vec<_> = wrong
            .map(|(key, message)| SettingsError::new(join(path, key), message))
            .collect();
        errors.extend(validate_each(&self.on, &join(path, "on")));
        errors
    }
}

/// Returns what is wrong with a name.
fn wrong_name(name: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() {
        Some("must not be empty".to_owned())
    } else if name.len() > NAME_MAX {
        Some(format!("must be at most {NAME_MAX} characters"))
    } else if !name.bytes().all(is_plain) || name.bytes().all(|byte| byte == b'.') {
        Some(format!(
            "`{name}` must be letters, digits, `-`, `_` and `.`"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let function: FunctionSettings = toml::from_str(text).unwrap();
        let errors = function.validate("f").into_iter();
        errors.map(|error| error.path).collect()
    }

    #[test]
    fn every_error_names_its_key() {
        assert_eq!(errors("name = \"a-b_c.d\""), [""; 0]);
        for name in ["", "a b", "ä", "a/b", ".."] {
            assert_eq!(errors(&format!("name = \"{name}\"")), ["f.name"], "{name}");
        }
        let wrong = "name = \"f\"\ninput_schema = '{'\ntimeout = \"1ms\"\nwake_timeout = \"2h\"\ncold_wait_max = \"2h\"\n\
            signing_secret_env = \"A\"\nsigning_secret_file = \"a\"\nconcurrency = 0\nqueue_max = 1000001\n\
            answer_size_max = \"1B\"\ncold_statuses = [200]\n";
        let mut found = errors(wrong);
        found.sort();
        let expected = [
            "answer_size_max",
            "cold_statuses",
            "cold_wait_max",
            "concurrency",
            "input_schema",
            "queue_max",
            "signing_secret_file",
            "timeout",
            "wake_timeout",
        ];
        assert_eq!(found, expected.map(|key| format!("f.{key}")));
    }

    #[test]
    fn a_function_is_repeated_only_if_it_says_so() {
        let is_repeatable = |text: &str| {
            let function: FunctionSettings = toml::from_str(text).unwrap();
            function.is_repeatable()
        };
        assert!(!is_repeatable(""));
        assert!(is_repeatable("read_only = true"));
        assert!(is_repeatable("idempotent = true"));
    }
}
