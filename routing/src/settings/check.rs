//! What is wrong with the settings of a route in itself. Whether its models exist is checked where they are known.

use std::{collections::BTreeSet, time::Duration};

use kebne_settings::{HumanDuration, SettingsError, Validate, join};

use crate::settings::{
    CanarySettings, DEFAULT_RULE, IntentSettings, RouteRuleSettings, RouteSettings,
    ServiceSettings, ShadowSettings,
};

/// What a model answers that is asked for an intent if none fits; no intent may have this name.
const NO_INTENT: &str = "none";
/// The longest name; it is a label of metrics and a part of a header.
const NAME_MAX: usize = 64;
/// The most rules: each may be looked at for each call.
const RULES_MAX: usize = 64;
/// The most intents of a route.
const INTENTS_MAX: usize = 64;
/// The most examples of one intent, and of all intents of a route: a question is compared with each.
const EXAMPLES_MAX: (usize, usize) = (256, 1000);
/// The longest example; questions are compared by their beginning.
const EXAMPLE_SIZE_MAX: usize = 1000;
/// The shortest and the longest time that a decision may wait for.
const TIMES: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(1);

impl Validate for RouteSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut wrong = |key: &str, message: String| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        if let Some(message) = wrong_name(&self.name) {
            wrong("name", message);
        }
        if self.default.is_empty() {
            wrong(
                "default",
                "the model for calls without a rule is needed".to_owned(),
            );
        }
        for (key, value) in [
            ("intent_threshold", self.intent_threshold),
            ("intent_margin", self.intent_margin),
        ] {
            if !(0.0..=1.0).contains(&value) {
                wrong(key, format!("{value} is not from 0 to 1"));
            }
        }
        for (key, time) in [
            ("intent_timeout", self.intent_timeout),
            ("ask_timeout", self.ask_timeout),
        ] {
            if !TIMES.contains(&time.0) {
                let (least, most) = (HumanDuration(*TIMES.start()), HumanDuration(*TIMES.end()));
                wrong(key, format!("must be from {least} to {most}"));
            }
        }
        if self.rules.len() > RULES_MAX {
            wrong("rules", format!("must be at most {RULES_MAX}"));
        }
        if self.ask_model.is_some() && self.intents.is_empty() {
            wrong("ask_model", "there are no intents to ask for".to_owned());
        }
        errors.extend(self.intent_errors(path));
        errors.extend(self.rule_errors(path));
        errors
    }
}

impl RouteSettings {
    fn intent_errors(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let all = self.intents.iter().map(|intent| intent.examples.len());
        for (key, is_beyond, most) in [
            (
                "intents",
                self.intents.len() > INTENTS_MAX,
                format!("{INTENTS_MAX}"),
            ),
            (
                "intents",
                all.sum::<usize>() > EXAMPLES_MAX.1,
                format!("{} examples together", EXAMPLES_MAX.1),
            ),
        ] {
            if is_beyond {
                let message = format!("must have at most {most}");
                errors.push(SettingsError::new(join(path, key), message));
            }
        }
        let mut names = BTreeSet::new();
        for (index, intent) in self.intents.iter().enumerate() {
            let at = join(path, &format!("intents[{index}]"));
            errors.extend(intent.validate(&at));
            if intent.name.eq_ignore_ascii_case(NO_INTENT) {
                let message = format!("`{}` means that no intent fits", intent.name);
                errors.push(SettingsError::new(join(&at, "name"), message));
            }
            if !names.insert(&intent.name) {
                let message = format!("`{}` is used more than once", intent.name);
                errors.push(SettingsError::new(join(&at, "name"), message));
            }
        }
        errors
    }

    fn rule_errors(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        let known = || self.intents.iter().map(|intent| intent.name.as_str());
        for (index, rule) in self.rules.iter().enumerate() {
            let at = join(path, &format!("rules[{index}]"));
            errors.extend(rule.validate(&at));
            if !names.insert(&rule.name) {
                let message = format!("`{}` is used more than once", rule.name);
                errors.push(SettingsError::new(join(&at, "name"), message));
            }
            let named = rule.when.intents.iter().map(|intent| ("intents", intent));
            let counted = rule.when.counts.keys().map(|intent| ("counts", intent));
            for (key, intent) in named.chain(counted) {
                if !known().any(|name| name == intent) {
                    let message = format!("there is no intent named `{intent}`");
                    let error = SettingsError::new(join(&at, &format!("when.{key}")), message);
                    errors.push(error.with_allowed(known()).suggesting(intent));
                }
            }
        }
        errors
    }
}

/// Returns what is wrong with a name.
fn wrong_name(name: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'"' | b'\\');
    if name.is_empty() {
        Some("must not be empty".to_owned())
    } else if name.len() > NAME_MAX {
        Some(format!("must be at most {NAME_MAX} characters"))
    } else if !name.bytes().all(is_plain) {
        Some(format!(
            "`{name}` must be printable ASCII characters without spaces, `/`, quotes and backslashes"
        ))
    } else {
        None
    }
}

impl Validate for RouteRuleSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.when.validate(&join(path, "when"));
        let mut wrong = |key: &str, message: String| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        if let Some(message) = wrong_name(&self.name) {
            wrong("name", message);
        } else if self.name == DEFAULT_RULE {
            wrong(
                "name",
                "`default` is the name of the case that no rule matches".to_owned(),
            );
        }
        let named = [
            ("target", self.target.as_deref()),
            ("service", self.service.as_ref().map(|_| "a service")),
            ("function", self.function.as_deref()),
            ("agent", self.agent.as_deref()),
        ];
        let mut given = named.iter().filter(|(_, name)| name.is_some());
        match (given.next(), given.next()) {
            (None, _) => {
                let message = "a `target`, a `service`, a `function` or an `agent` is needed";
                wrong("target", message.to_owned());
            }
            (Some((first, _)), Some((second, _))) => {
                wrong(second, format!("there is a `{first}` already"));
            }
            (Some(_), None) => {}
        }
        for (key, name) in named {
            if name == Some("") {
                wrong(key, "must not be empty".to_owned());
            }
        }
        if let Some(service) = &self.service {
            errors.extend(service.validate(&join(path, "service")));
        }
        if let Some(canary) = &self.canary {
            errors.extend(canary.validate(&join(path, "canary")));
        }
        if let Some(shadow) = &self.shadow {
            errors.extend(shadow.validate(&join(path, "shadow")));
        }
        errors
    }
}

impl Validate for IntentSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if let Some(message) = wrong_name(&self.name) {
            errors.push(SettingsError::new(join(path, "name"), message));
        }
        if self.examples.is_empty() {
            let message = "an intent needs at least one example";
            errors.push(SettingsError::new(join(path, "examples"), message));
        }
        if self.examples.len() > EXAMPLES_MAX.0 {
            let message = format!("must be at most {}", EXAMPLES_MAX.0);
            errors.push(SettingsError::new(join(path, "examples"), message));
        }
        for (index, example) in self.examples.iter().enumerate() {
            let at = join(path, &format!("examples[{index}]"));
            if example.trim().is_empty() {
                errors.push(SettingsError::new(&at, "must not be empty"));
            }
            if example.len() > EXAMPLE_SIZE_MAX {
                let message = format!("must be at most {EXAMPLE_SIZE_MAX} bytes");
                errors.push(SettingsError::new(&at, message));
            }
        }
        errors
    }
}

impl Validate for ServiceSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if self.url.is_empty() {
            errors.push(SettingsError::new(join(path, "url"), "must not be empty"));
        }
        if let Some(message) = self.name.as_deref().and_then(wrong_name) {
            errors.push(SettingsError::new(join(path, "name"), message));
        }
        errors
    }
}

impl Validate for CanarySettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        of_share(path, &self.model, self.share)
    }
}

impl Validate for ShadowSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        of_share(path, &self.model, self.share)
    }
}

fn of_share(path: &str, model: &str, share: f64) -> Vec<SettingsError> {
    let mut errors = Vec::new();
    if model.is_empty() {
        errors.push(SettingsError::new(join(path, "model"), "must not be empty"));
    }
    if !(0.0..=1.0).contains(&share) {
        let message = format!("{share} is not from 0 to 1");
        errors.push(SettingsError::new(join(path, "share"), message));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let route: RouteSettings = toml::from_str(text).unwrap();
        let errors = route.validate("routes[0]").into_iter();
        errors.map(|error| error.path).collect()
    }

    #[test]
    fn every_error_names_its_key() {
        assert_eq!(errors("name = \"r\"\ndefault = \"m\""), [""; 0]);
        assert_eq!(errors(""), ["routes[0].name", "routes[0].default"]);
        let none =
            "name = \"r\"\ndefault = \"m\"\n[[intents]]\nname = \"None\"\nexamples = [\"a\"]";
        assert_eq!(errors(none), ["routes[0].intents[0].name"]);
        let wrong = "name = \"a b\"\ndefault = \"m\"\nask_model = \"m\"\nintent_margin = 2\nask_timeout = \"2m\"\n\
            [[rules]]\nname = \"default\"\n[rules.when]\nintents = [\"x\"]\ncounts = {y = 0}\nlanguages = [\"xx\"]\n\
            tokens_min = 5\ntokens_max = 4\nbudget_left_max = 1.5\nheaders = {Authorization = \"*\", \"a b\" = \"x\"}\n\
            [[rules]]\nname = \"a\"\ntarget = \"t\"\n[rules.canary]\nshare = -0.1\n[rules.service]\n";
        let expected = [
            "intent_margin",
            "ask_timeout",
            "name",
            "ask_model",
            "rules[0].name",
            "rules[0].target",
            "rules[0].when.intents",
            "rules[0].when.counts",
            "rules[0].when.counts.y",
            "rules[0].when.languages",
            "rules[0].when.tokens_max",
            "rules[0].when.budget_left_max",
            "rules[0].when.headers.Authorization",
            "rules[0].when.headers.a b",
            "rules[1].service",
            "rules[1].service.url",
            "rules[1].canary.model",
            "rules[1].canary.share",
        ];
        let mut expected: Vec<String> = expected
            .iter()
            .map(|key| format!("routes[0].{key}"))
            .collect();
        let mut found = errors(wrong);
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        let twice = "name = \"r\"\ndefault = \"m\"\n[[intents]]\nname = \"i\"\nexamples = []\n[[intents]]\nname = \"i\"\nexamples = [\" \"]\n";
        let expected = [
            "routes[0].intents[0].examples",
            "routes[0].intents[1].examples[0]",
            "routes[0].intents[1].name",
        ];
        assert_eq!(errors(twice), expected);
    }

    #[test]
    fn a_rule_leads_to_one_thing() {
        let rule = |keys: &str| {
            let text = format!("name = \"r\"\ndefault = \"m\"\n[[rules]]\nname = \"a\"\n{keys}\n");
            errors(&text)
        };
        for (keys, wrong) in [
            ("function = \"f\"", None),
            ("function = \"\"", Some("function")),
            ("function = \"f\"\ntarget = \"t\"", Some("function")),
            (
                "function = \"f\"\nservice = {url = \"u\"}",
                Some("function"),
            ),
            ("target = \"t\"\nservice = {url = \"u\"}", Some("service")),
            ("", Some("target")),
        ] {
            let expected: Vec<String> = wrong
                .iter()
                .map(|key| format!("routes[0].rules[0].{key}"))
                .collect();
            assert_eq!(rule(keys), expected, "{keys}");
        }
    }

    #[test]
    fn times_and_days_are_read_and_written_as_they_are() {
        let text = "name = \"r\"\ndefault = \"m\"\nutc_offset = \"-03:30\"\n[[rules]]\nname = \"night\"\ntarget = \"t\"\n\
            [rules.when]\ndays = [\"sat\", \"sun\"]\nhours = \"22:00-06:00\"\n";
        let route: RouteSettings = toml::from_str(text).unwrap();
        let again: RouteSettings = toml::from_str(&toml::to_string(&route).unwrap()).unwrap();
        assert_eq!(again, route);
        let wrong = toml::from_str::<RouteSettings>("utc_offset = \"CET\"").unwrap_err();
        assert!(
            wrong
                .to_string()
                .contains("`CET` is not a distance from UTC"),
            "{wrong}"
        );
    }
}
