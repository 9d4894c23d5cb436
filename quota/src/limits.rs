//! The limits of one account, as settings and the administration of keys give them.

use kebne_settings::{SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

use crate::{Amount, Kind, Money, Period, units::whole};

/// The largest number of calls per minute, and of calls at once.
const REQUESTS_MAX: u32 = 1_000_000;
/// The largest number of tokens; sums of many such numbers do not saturate.
const TOKENS_MAX: u64 = 1_000_000_000_000;
/// The number of budgets of one account.
const BUDGETS_MAX: usize = 4;

/// The limits of an account. Without any, it is only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls per minute; 1 to 1000000. A minute's calls may come at once. Default: no limit.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute; 1 to 1000000000000. Default: no limit.
    pub tokens_per_minute: Option<u64>,
    /// Calls that have not ended; 1 to 1000000. Default: no limit.
    pub requests_at_once: Option<u32>,
    /// Budgets, at most 4. All of them hold. Default none.
    pub budgets: Vec<Budget>,
}

/// What may be used in a day or month, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Tokens of input and output; 1 to 1000000000000. Default: no limit.
    pub tokens: Option<u64>,
    /// Money, in units of `cost.currency`; up to 1000000. Default: no limit.
    pub money: Option<Money>,
    /// `day` or `month`. Default `month`.
    pub per: Period,
}

impl Limits {
    /// Returns `true` if a limit depends on tokens or their cost, so that these must be known.
    pub fn need_tokens(&self) -> bool {
        self.tokens_per_minute.is_some() || !self.budgets.is_empty()
    }

    /// Returns what budgets have left of tokens or money after this was used; more than anybody can use if they do not bound it.
    pub(crate) fn left_of_budgets(&self, kind: Kind, today: Amount, month: Amount) -> i64 {
        let left = self.budgets.iter().filter_map(|budget| {
            let used = match budget.per {
                Period::Day => today,
                Period::Month => month,
            };
            match kind {
                Kind::Tokens => Some(whole(budget.tokens?).saturating_sub(whole(used.tokens))),
                Kind::Money => {
                    let (limit, used) = (budget.money?.nano(), used.money.nano());
                    Some(whole(limit).saturating_sub(whole(used)))
                }
                _ => None,
            }
        });
        left.min().unwrap_or(i64::MAX)
    }
}

impl Validate for Limits {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let calls = |number: Option<u32>| number.is_none_or(|n| (1..=REQUESTS_MAX).contains(&n));
        let tokens = |number: Option<u64>| number.is_none_or(|n| (1..=TOKENS_MAX).contains(&n));
        let (few, many) = ("must be 1 to 1000000", "must be 1 to 1000000000000");
        require(calls(self.requests_per_minute), "requests_per_minute", few);
        require(tokens(self.tokens_per_minute), "tokens_per_minute", many);
        require(calls(self.requests_at_once), "requests_at_once", few);
        let message = "must be at most 4 budgets";
        require(self.budgets.len() <= BUDGETS_MAX, "budgets", message);
        for (index, budget) in self.budgets.iter().enumerate() {
            let at = format!("budgets[{index}]");
            let is_set = budget.tokens.is_some() || budget.money.is_some();
            require(is_set, &at, "needs `tokens` or `money`");
            require(tokens(budget.tokens), &join(&at, "tokens"), many);
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_out_of_range_and_empty_budgets_are_errors_that_name_the_key() {
        let budget = Budget {
            tokens: Some(0),
            ..Budget::default()
        };
        let limits = Limits {
            requests_per_minute: Some(0),
            tokens_per_minute: Some(u64::MAX),
            requests_at_once: Some(1_000_001),
            budgets: vec![Budget::default(), budget],
        };
        let errors = limits.validate("limits");
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "limits.requests_per_minute",
                "limits.tokens_per_minute",
                "limits.requests_at_once",
                "limits.budgets[0]",
                "limits.budgets[1].tokens"
            ]
        );
        assert_eq!(Limits::default().validate("limits"), []);
    }
}
