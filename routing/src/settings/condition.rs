//! What is wrong with the conditions of a rule.

use kebne_settings::{SettingsError, Validate, join};

use crate::{language::LANGUAGES, settings::ConditionSettings};

/// Headers that carry keys, which are neither to be written into settings nor shown in explanations.
const SECRET: [&str; 5] = [
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "proxy-authorization",
];

impl Validate for ConditionSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.header_errors(path);
        let mut wrong = |key: &str, message: String| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        for (keys, least, most) in [
            (
                ["tokens_min", "tokens_max"],
                self.tokens_min,
                self.tokens_max,
            ),
            (["turns_min", "turns_max"], self.turns_min, self.turns_max),
        ] {
            if let (Some(least), Some(most)) = (least, most)
                && least > most
            {
                wrong(keys[1], format!("{most} is less than `{}`", keys[0]));
            }
        }
        let budgets = [
            ("budget_left_min", self.budget_left_min),
            ("budget_left_max", self.budget_left_max),
        ];
        for (key, share) in budgets {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                wrong(key, format!("{share} is not from 0 to 1"));
            }
        }
        if let (Some(least), Some(most)) = (self.budget_left_min, self.budget_left_max)
            && least > most
        {
            wrong(
                "budget_left_max",
                format!("{most} is less than `budget_left_min`"),
            );
        }
        for (intent, count) in &self.counts {
            if *count == 0 {
                wrong(&format!("counts.{intent}"), "must be at least 1".to_owned());
            }
        }
        for code in &self.languages {
            if !LANGUAGES.contains(&code.as_str()) {
                let message = format!("`{code}` is not a language that is told apart");
                let error = SettingsError::new(join(path, "languages"), message);
                errors.push(error.with_allowed(LANGUAGES));
            }
        }
        errors
    }
}

impl ConditionSettings {
    fn header_errors(&self, path: &str) -> Vec<SettingsError> {
        let path = join(path, "headers");
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let wrong = self.headers.keys().filter_map(|name| {
            let message = if SECRET.contains(&name.to_ascii_lowercase().as_str()) {
                "carries a key; use `keys` to tell keys apart"
            } else if name.is_empty() || !name.bytes().all(is_plain) {
                "is not the name of a header"
            } else {
                return None;
            };
            let message = format!("`{name}` {message}");
            Some(SettingsError::new(join(&path, name), message))
        });
        wrong.collect()
    }
}
