//! The settings of a guard.

use std::time::Duration;

use kebne_settings::{HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

use crate::{expression::Expression, pattern::Pattern};

/// The longest name of a guard or a rule, which is a label of a metric.
const NAME_MAX: usize = 64;
/// The most rules of a guard: each is searched for in each text.
const RULES_MAX: usize = 64;
/// The longest regular expression.
const REGEX_MAX: usize = 1000;
/// The longest text in the place of a match.
const REPLACEMENT_MAX: usize = 64;
/// The shortest and the longest window: a card number fits into the first, and the second is held back for each stream.
const WINDOW: std::ops::RangeInclusive<usize> = 32..=4096;
/// The shortest and the longest time for an answer of the service that checks.
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_mins(1);
/// The shortest and the longest part of a stream that is checked at once.
const STEPS: std::ops::RangeInclusive<usize> = 64..=65_536;

/// A named set of checks. Keys, groups and models refer to it by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSettings {
    /// The name by which keys, groups and models refer to it; each name can be used once.
    pub name: String,
    /// The longest match of a rule in bytes, which is also the most that is held back of a streamed text; 32 to 4096.
    /// Default 256.
    pub window: usize,
    /// `true` to let calls pass whose prompt or input is given as the numbers of its tokens, which cannot be checked.
    /// Default `false`: such a call is refused.
    pub allows_token_ids: bool,
    /// The rules. Default none.
    pub rules: Vec<GuardRuleSettings>,
    /// The largest sizes of a call.
    pub sizes: SizeSettings,
    /// The service or model that checks texts.
    pub check: CheckSettings,
}

/// One rule: what is looked for, and what happens to a match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardRuleSettings {
    /// The name in logs, metrics and headers. Default: the name of the pattern; required with `regex`.
    pub name: Option<String>,
    /// A known pattern: `email`, `phone`, `iban`, `card`, `ipv4`, `ipv6`, `ssn`, `nino`, `personnummer` or `api_key`.
    /// Either it or `regex` is required.
    pub pattern: Option<Pattern>,
    /// A regular expression in the syntax of Rust's `regex`, at most 1000 bytes.
    pub regex: Option<String>,
    /// What happens to a match: `mask`, `refuse` or `tag`. Default `mask`.
    pub action: Action,
    /// The sides that are checked: `input`, `output`. Default: both.
    pub sides: Option<Vec<Side>>,
    /// The text in the place of a match that is masked, at most 64 bytes. Default: the name in capital letters, in
    /// brackets.
    pub replacement: Option<String>,
}

/// The largest sizes of a call. A larger one is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SizeSettings {
    /// The most characters of all texts together. Default: no bound.
    pub characters_max: Option<u64>,
    /// The most messages or items, those of the session's history included. Default: no bound.
    pub messages_max: Option<u64>,
    /// The most tokens of the input, as estimated. Default: no bound.
    pub tokens_max: Option<u64>,
    /// The most images. Default: no bound.
    pub images_max: Option<u64>,
}

/// The service or model that checks texts, under `check`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSettings {
    /// The address to which texts are posted. Default none.
    pub url: Option<String>,
    /// The environment variable with the token that is sent as `Authorization: Bearer`. Default none.
    pub token_env: Option<String>,
    /// A model of this gateway that is asked through `/v1/moderations`, in the place of `url`. Default none.
    pub model: Option<String>,
    /// The sides that are checked: `input`, `output`. Default `["input"]`.
    pub sides: Vec<Side>,
    /// What happens to a flagged text of a moderation model: `refuse` or `tag`. A service at `url` decides for itself. Default
    /// `refuse`.
    pub action: Action,
    /// The time for an answer; `10ms` to `1m`. Default `2s`.
    pub timeout: HumanDuration,
    /// What happens if there is no answer in time: `open` lets the text pass, `closed` refuses it. Default `closed`.
    pub when_gone: WhenGone,
    /// The characters of a streamed answer that are gathered and checked together; 64 to 65536. Default 1000.
    pub step: usize,
}

/// What happens to a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Another text takes its place.
    #[default]
    Mask,
    /// The call is refused, or its answer ends with an error.
    Refuse,
    /// It is only reported.
    Tag,
}

/// A side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What the model is asked.
    Input,
    /// What it answers.
    Output,
}

/// What happens to a text that cannot be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenGone {
    /// It passes.
    Open,
    /// It is refused.
    #[default]
    Closed,
}

impl Action {
    /// Returns the name in settings, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mask => "mask",
            Self::Refuse => "refuse",
            Self::Tag => "tag",
        }
    }
}

impl Side {
    /// Returns the name in settings, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            window: 256,
            allows_token_ids: false,
            rules: Vec::new(),
            sizes: SizeSettings::default(),
            check: CheckSettings::default(),
        }
    }
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self {
            url: None,
            token_env: None,
            model: None,
            sides: vec![Side::Input],
            action: Action::Refuse,
            timeout: HumanDuration::from_secs(2),
            when_gone: WhenGone::Closed,
            step: 1000,
        }
    }
}

impl CheckSettings {
    /// Returns `true` if texts of a side are checked.
    pub fn covers(&self, side: Side) -> bool {
        (self.url.is_some() || self.model.is_some()) && self.sides.contains(&side)
    }
}

impl GuardRuleSettings {
    /// Returns the name; empty if a rule with a regular expression has none.
    pub fn name(&self) -> &str {
        let of_pattern = || self.pattern.map_or("", Pattern::name);
        self.name.as_deref().unwrap_or_else(of_pattern)
    }

    /// Returns `true` if a side is checked.
    pub fn covers(&self, side: Side) -> bool {
        self.sides
            .as_ref()
            .is_none_or(|sides| sides.contains(&side))
    }

    /// Returns the text in the place of a match.
    pub fn replacement(&self) -> String {
        let usual = || format!("[{}]", self.name().to_uppercase());
        self.replacement.clone().unwrap_or_else(usual)
    }
}

/// Returns `true` for a name that can be a label and a part of a header.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(plain)
}

impl Validate for GuardSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let named = is_name(&self.name);
        let name = "must be 1 to 64 letters, digits, `-`, `_` or `.`";
        require(named, "name", name);
        require(
            WINDOW.contains(&self.window),
            "window",
            "must be 32 to 4096",
        );
        let few = self.rules.len() <= RULES_MAX;
        require(few, "rules", "must be at most 64 rules");
        for (index, rule) in self.rules.iter().enumerate() {
            let at = join(path, &format!("rules[{index}]"));
            errors.extend(rule.errors(&at, self));
            let mut before = self.rules.iter().take(index);
            if before.any(|other| other.name() == rule.name()) {
                errors.push(SettingsError::new(
                    join(&at, "name"),
                    "is used more than once",
                ));
            }
        }
        errors.extend(self.check.validate(&join(path, "check")));
        errors
    }
}

impl GuardRuleSettings {
    fn errors(&self, path: &str, guard: &GuardSettings) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let one = self.pattern.is_some() != self.regex.is_some();
        require(one, "regex", "either `pattern` or `regex` is required");
        let name = "must be 1 to 64 letters, digits, `-`, `_` or `.`; it is required with `regex`";
        require(is_name(self.name()), "name", name);
        let sides = self.sides.as_ref().is_none_or(|sides| !sides.is_empty());
        let message = "must not be empty; without it both sides are checked";
        require(sides, "sides", message);
        let replacement = self.replacement.as_ref();
        let short = replacement.is_none_or(|text| text.len() <= REPLACEMENT_MAX);
        require(short, "replacement", "must be at most 64 bytes");
        let masks = self.action == Action::Mask || replacement.is_none();
        let message = "is only used with the action `mask`";
        require(masks, "replacement", message);
        let regex = self.regex.as_ref();
        let bounded = regex.is_none_or(|regex| regex.len() <= REGEX_MAX);
        require(bounded, "regex", "must be at most 1000 bytes");
        if one
            && bounded
            && WINDOW.contains(&guard.window)
            && let Err(error) =
                Expression::new(regex.map(String::as_str), self.pattern, guard.window)
        {
            require(false, "regex", &error.to_string());
        }
        errors
    }
}

impl Validate for CheckSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let one = self.url.is_none() || self.model.is_none();
        require(one, "model", "only one of `url` and `model` is possible");
        let url = self.url.as_ref().is_none_or(|url| {
            let rest = url.strip_prefix("https://");
            let rest = rest.or_else(|| url.strip_prefix("http://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        let example = "must be an address such as `http://127.0.0.1:9000/check`";
        require(url, "url", example);
        let token = self.token_env.is_none() || self.url.is_some();
        require(token, "token_env", "is only used with `url`");
        let sides = "must not be empty";
        require(!self.sides.is_empty(), "sides", sides);
        let action = "must be `refuse` or `tag`: a check does not say what to mask";
        require(self.action != Action::Mask, "action", action);
        let timeout = TIMEOUTS.contains(&self.timeout.0);
        require(timeout, "timeout", "must be 10ms to 1m");
        let step = STEPS.contains(&self.step);
        require(step, "step", "must be 64 to 65536");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(regex: &str) -> GuardSettings {
        GuardSettings {
            name: "g".to_owned(),
            rules: vec![GuardRuleSettings {
                name: Some("r".to_owned()),
                regex: Some(regex.to_owned()),
                ..GuardRuleSettings::default()
            }],
            ..GuardSettings::default()
        }
    }

    #[test]
    fn a_regex_that_is_wrong_or_would_need_much_memory_is_refused() {
        assert_eq!(rule(r"\bproject [a-z]{3,20}\b").validate("guards[0]"), []);
        for (regex, part) in [
            ("(", "unclosed group"),
            (r"a(?:\p{L}{0,300}){0,300}", "too large"),
            (r"(?=x)", "look-around"),
            ("x*", "empty"),
            (&"x".repeat(300), "never match"),
            (&"x".repeat(1001), "1000 bytes"),
        ] {
            let errors = rule(regex).validate("guards[0]");
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!(errors[0].path, "guards[0].rules[0].regex");
            let error = errors[0].to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let mut guard = rule("x");
        guard.rules.push(GuardRuleSettings {
            pattern: Some(Pattern::Email),
            regex: Some("y".to_owned()),
            action: Action::Tag,
            sides: Some(Vec::new()),
            replacement: Some("z".to_owned()),
            ..GuardRuleSettings::default()
        });
        guard.rules.push(guard.rules[0].clone());
        guard.name = "a b".to_owned();
        guard.window = 5000;
        guard.check.url = Some("hooks".to_owned());
        guard.check.model = Some("m".to_owned());
        guard.check.action = Action::Mask;
        guard.check.sides = Vec::new();
        guard.check.timeout = HumanDuration::from_secs(61);
        guard.check.step = 1;
        let errors = guard.validate("g");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "g.name",
                "g.window",
                "g.rules[1].regex",
                "g.rules[1].sides",
                "g.rules[1].replacement",
                "g.rules[2].name",
                "g.check.model",
                "g.check.url",
                "g.check.sides",
                "g.check.action",
                "g.check.timeout",
                "g.check.step",
            ]
        );
    }
}
