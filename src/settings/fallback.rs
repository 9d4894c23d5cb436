//! When the calls of a model go to its next backend.

use std::{fmt, time::Duration};

use kebne_control::{FallbackKind, FallbackRules};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::settings::{HumanDuration, SettingsError, Validate, join};

/// The wait before a call goes to the next backend: a duration, `at_once` or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackAfter(Option<Duration>);

const AT_ONCE: FallbackAfter = FallbackAfter(Some(Duration::ZERO));
const NEVER: FallbackAfter = FallbackAfter(None);

impl FallbackAfter {
    const fn secs(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)))
    }

    /// Returns the wait; `None` for `never`.
    pub fn wait(self) -> Option<Duration> {
        self.0
    }
}

impl fmt::Display for FallbackAfter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => formatter.write_str("never"),
            Some(Duration::ZERO) => formatter.write_str("at_once"),
            Some(wait) => HumanDuration(wait).fmt(formatter),
        }
    }
}

impl Serialize for FallbackAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FallbackAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "never" => Ok(NEVER),
            "at_once" => Ok(AT_ONCE),
            text => {
                let wait: Result<HumanDuration, _> = text.parse();
                wait.map(|wait| Self(Some(wait.0))).map_err(|_| {
                    let message =
                        format!("`{text}` is not `at_once`, `never` or a duration such as `10s`");
                    de::Error::custom(message)
                })
            }
        }
    }
}

/// The reasons for which the calls of a model go to its next backend, and the bounds of this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FallbackSettings {
    /// The backend loads: the longest wait for it. A call does not wait if the backend is known to load for longer.
    /// Default `10s`.
    pub cold: FallbackAfter,
    /// The backend has no free slot or asked for a pause: the longest wait for it. A call does not wait if the wait is
    /// predicted to be longer. Default `10s`.
    pub overload: FallbackAfter,
    /// The backend cannot be reached, or so many calls failed that its breaker is open: the longest wait for it. Default
    /// `at_once`.
    pub unreachable: FallbackAfter,
    /// The quota of the backend is used up: `at_once` or `never`. Default `at_once`.
    pub quota: FallbackAfter,
    /// An attempt failed: `at_once` or `never`, which repeats it at the same backend only. Default `at_once`.
    pub failed: FallbackAfter,
    /// The backend does not accept the gateway's key, path or model: `at_once` or `never`. Default `at_once`.
    pub misconfigured: FallbackAfter,
    /// The prompt is too long for the model: `at_once` or `never`. Backends whose `context_tokens` are known not to be
    /// more are left out. Default `at_once`.
    pub context_length: FallbackAfter,
    /// The backend refused the content of the prompt: `at_once` or `never`. Default `never`.
    pub content_policy: FallbackAfter,
    /// The attempts of a call after which no further backend is asked, those of all backends together, from 1 to 100.
    /// Default 6.
    pub attempts_max: u32,
    /// The time of a call after which no further backend is asked: a duration or `never`. Default `never`.
    pub time_max: FallbackAfter,
}

impl Default for FallbackSettings {
    fn default() -> Self {
        Self {
            cold: FallbackAfter::secs(10),
            overload: FallbackAfter::secs(10),
            unreachable: AT_ONCE,
            quota: AT_ONCE,
            failed: AT_ONCE,
            misconfigured: AT_ONCE,
            context_length: AT_ONCE,
            content_policy: NEVER,
            attempts_max: 6,
            time_max: NEVER,
        }
    }
}

impl FallbackSettings {
    /// Returns the kinds with their settings.
    pub fn kinds(&self) -> [(FallbackKind, FallbackAfter); 8] {
        [
            (FallbackKind::Cold, self.cold),
            (FallbackKind::Overload, self.overload),
            (FallbackKind::Unreachable, self.unreachable),
            (FallbackKind::Quota, self.quota),
            (FallbackKind::Failed, self.failed),
            (FallbackKind::Misconfigured, self.misconfigured),
            (FallbackKind::ContextLength, self.context_length),
            (FallbackKind::ContentPolicy, self.content_policy),
        ]
    }

    /// Returns the rules by which calls leave backends.
    pub fn rules(&self) -> FallbackRules {
        let kinds = self.kinds().into_iter();
        kinds.fold(FallbackRules::default(), |rules, (kind, after)| {
            rules.with(kind, after.wait())
        })
    }
}

impl Validate for FallbackSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let waits = [
            FallbackKind::Cold,
            FallbackKind::Overload,
            FallbackKind::Unreachable,
        ];
        let kinds = self.kinds().into_iter();
        let decided = kinds.filter(|(kind, _)| !waits.contains(kind));
        let wrong = decided.filter(|(_, after)| after.wait().is_some_and(|wait| !wait.is_zero()));
        let mut errors: Vec<_> = wrong
            .map(|(kind, _)| {
                let message = "must be `at_once` or `never`: waiting changes nothing";
                SettingsError::new(join(path, kind.label()), message)
            })
            .collect();
        if !(1..=100).contains(&self.attempts_max) {
            let at = join(path, "attempts_max");
            errors.push(SettingsError::new(at, "must be from 1 to 100"));
        }
        if self.time_max.wait().is_some_and(|time| time.is_zero()) {
            let at = join(path, "time_max");
            errors.push(SettingsError::new(at, "must be more than 0, or `never`"));
        }
        errors
    }
}
