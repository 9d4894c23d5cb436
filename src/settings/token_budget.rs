//! How the tokens of a model's context window are divided, under `[token_budget]`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::settings::{SettingsError, Validate, join};

/// The least and the largest context window.
pub const WINDOW: std::ops::RangeInclusive<u64> = 256..=100_000_000;

/// A bound: tokens, or a share of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Bound {
    /// A number of tokens.
    Tokens(u64),
    /// A share of the window in percent, 0 to 100. It bounds nothing while the window is not known.
    Percent(u8),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither a number of tokens nor a share such as `50%`");
        let Some(percent) = text.trim().strip_suffix('%') else {
            return text.trim().parse().map(Self::Tokens).map_err(|_| wrong());
        };
        let percent: u8 = percent.trim_end().parse().map_err(|_| wrong())?;
        (percent <= 100)
            .then_some(Self::Percent(percent))
            .ok_or_else(wrong)
    }
}

impl TryFrom<String> for Bound {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens(tokens) => write!(formatter, "{tokens}"),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

impl From<Bound> for String {
    fn from(bound: Bound) -> Self {
        bound.to_string()
    }
}

/// The rules by which the parts of a call share a model's window. System prompt and new messages have no bound: they are sent as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenBudgetSettings {
    /// The context window of models without a `context_window` of their own, in tokens, 256 to 100000000. Default none: it is not known,
    /// and only bounds in tokens count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// The tokens that are kept for the answer, unless the call allows a longer one. Default 1024.
    pub answer: u64,
    /// What is kept for what was found before other parts get more than their own least. Default `0`.
    pub retrieval_min: Bound,
    /// The most of what was found. Default `50%`.
    pub retrieval_max: Bound,
    /// What is kept for the history before other parts get more than their own least. Default `25%`.
    pub history_min: Bound,
    /// The most of the history. Default `100%`.
    pub history_max: Bound,
}

impl Default for TokenBudgetSettings {
    fn default() -> Self {
        Self {
            window: None,
            answer: 1024,
            retrieval_min: Bound::Tokens(0),
            retrieval_max: Bound::Percent(50),
            history_min: Bound::Percent(25),
            history_max: Bound::Percent(100),
        }
    }
}

impl Validate for TokenBudgetSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let fits = self.window.is_none_or(|window| WINDOW.contains(&window));
        require(fits, "window", "must be 256 to 100000000");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_read_as_it_is_written() {
        for (text, bound) in [
            ("2000", Bound::Tokens(2000)),
            ("50%", Bound::Percent(50)),
            ("0%", Bound::Percent(0)),
        ] {
            assert_eq!(text.parse(), Ok(bound));
            assert_eq!(bound.to_string(), text);
        }
        for wrong in ["", "%", "101%", "-1", "1.5", "half"] {
            let error = wrong.parse::<Bound>().unwrap_err();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }

    #[test]
    fn the_defaults_are_valid_and_the_window_has_bounds() {
        assert!(TokenBudgetSettings::default().validate("t").is_empty());
        let wrong = TokenBudgetSettings {
            window: Some(1),
            ..TokenBudgetSettings::default()
        };
        let errors = wrong.validate("t");
        let keys: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(keys, ["t.window"]);
    }
}
