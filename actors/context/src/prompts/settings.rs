//! Named prompt templates, and where versions and outcomes are kept.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use kebne_settings::{HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

/// One named template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptSettings {
    /// The name by which calls and sessions choose it: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The template, in Jinja's syntax, over `session`, `request` and `input`.
    pub template: String,
    /// Other templates, which a share of the calls gets in place of `template`. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<PromptVariant>,
}

/// A template that a share of the calls gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptVariant {
    /// The template. Default none, which is an error.
    pub template: String,
    /// The share, 0 to 1. The shares of all variants are together at most 1; the rest gets the prompt's `template`. Default 0.1.
    pub share: f64,
}

impl Default for PromptVariant {
    fn default() -> Self {
        Self {
            template: String::new(),
            share: 0.1,
        }
    }
}

/// Settings of the store of prompts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptStoreSettings {
    /// The file, created with the first version or the first call with a prompt. Default `kebne-data/prompts.sqlite`, relative to the
    /// working directory. It is encrypted with the key of sessions (`context.key_env`).
    pub path: PathBuf,
    /// The maximum number of outcomes of each tenant; 1 to 10000000. Default 100000.
    pub outcomes_max: u64,
    /// The maximum number of calls whose versions are remembered, so that outcomes can be reported; 1 to 10000000. The oldest are
    /// forgotten first. Default 100000.
    pub calls_max: u64,
    /// The time after which outcomes and calls are removed; at least 1h. Default 30 days.
    pub keep: HumanDuration,
}

impl Default for PromptStoreSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("kebne-data/prompts.sqlite"),
            outcomes_max: 100_000,
            calls_max: 100_000,
            keep: HumanDuration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Validate for PromptStoreSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        require(self.path.file_name().is_some(), "path", "must name a file");
        for (key, count) in [
            ("outcomes_max", self.outcomes_max),
            ("calls_max", self.calls_max),
        ] {
            let fits = (1..=10_000_000).contains(&count);
            require(fits, key, "must be 1 to 10000000");
        }
        let hour = Duration::from_hours(1);
        require(self.keep.0 >= hour, "keep", "must be at least 1h");
        errors
    }
}

/// Checks the name of a prompt.
///
/// # Errors
/// Returns the error message.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
        return Err(
            "a prompt needs a name of letters, digits, `-`, `_` and `.`, at most 128 of them",
        );
    }
    // Clients take these out of a path.
    if matches!(name, "." | "..") {
        return Err("a prompt cannot be named `.` or `..`");
    }
    Ok(())
}

impl Validate for PromptSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut wrong = |key: &str, message: String| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        if let Err(message) = check_name(&self.name) {
            wrong("name", message.to_owned());
        }
        let templates = self.variants.iter().enumerate().map(|(index, variant)| {
            let key = format!("variants[{index}].template");
            (key, &variant.template)
        });
        let own = std::iter::once(("template".to_owned(), &self.template));
        let mut seen = BTreeSet::new();
        for (key, template) in own.chain(templates) {
            if template.is_empty() {
                let message = "a prompt needs a template, such as `{{ input }}`";
                wrong(&key, message.to_owned());
            } else if !seen.insert(template) {
                wrong(&key, "is the same as another template".to_owned());
            }
            if let Err(message) = super::check(template) {
                wrong(&key, message);
            }
        }
        let shares = self.variants.iter().map(|variant| variant.share);
        for (index, share) in shares.clone().enumerate() {
            if !(0.0..=1.0).contains(&share) {
                let message = format!("`{share}` is not a share from 0 to 1");
                wrong(&format!("variants[{index}].share"), message);
            }
        }
        if shares.sum::<f64>() > 1.0 + 1e-9 {
            wrong("variants", "the shares are together more than 1".to_owned());
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(settings: &PromptSettings) -> Vec<String> {
        let errors = settings.validate("p");
        errors.into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn each_wrong_key_of_a_prompt_is_named() {
        let variant = |template: &str, share| PromptVariant {
            template: template.to_owned(),
            share,
        };
        let fine = PromptSettings {
            name: "guide".to_owned(),
            template: "a".to_owned(),
            variants: vec![variant("b", 0.5), variant("c", 0.5)],
        };
        assert_eq!(keys(&fine), [""; 0]);
        let wrong = PromptSettings {
            name: "gu@ide".to_owned(),
            template: String::new(),
            variants: vec![variant("{{", 0.7), variant("b", -0.1), variant("b", 0.7)],
        };
        let expected = [
            "p.name",
            "p.template",
            "p.variants[0].template",
            "p.variants[2].template",
            "p.variants[1].share",
            "p.variants",
        ];
        assert_eq!(keys(&wrong), expected);
    }

    #[test]
    fn each_wrong_key_of_the_store_is_named() {
        assert!(PromptStoreSettings::default().validate("s").is_empty());
        let wrong = PromptStoreSettings {
            path: PathBuf::new(),
            outcomes_max: 0,
            calls_max: 0,
            keep: HumanDuration::from_secs(1),
        };
        assert_eq!(wrong.validate("s").len(), 4);
    }
}
