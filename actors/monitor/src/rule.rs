//! The rules: their names, their severity, and what an operator reads about them.

pub(crate) mod text;

use serde::{Deserialize, Serialize};

use crate::Access;
use text::Text;

/// A rule. Its alerts are of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The backend's server does not answer.
    BackendDown,
    /// The backend refuses the gateway's key or its requests as such.
    Misconfigured,
    /// The quota of a backend is used up.
    QuotaUsedUp,
    /// A lane is closed.
    LaneClosed,
    /// So many calls fail that the monthly error budget is gone within two days.
    BurnRateFast,
    /// So many calls fail that the monthly error budget is gone within five days.
    BurnRateSlow,
    /// So many calls of a model fail that its monthly error budget is gone within two days.
    ModelBurnRateFast,
    /// So many calls of a model fail that its monthly error budget is gone within five days.
    ModelBurnRateSlow,
    /// The store of sessions does not answer.
    StoreDown,
    /// An actor has messages and handles none.
    StuckActor,
    /// An actor fails and is restarted again and again.
    ActorRestarts,
    /// The breaker opens again and again.
    Flapping,
    /// A load takes longer than loads used to.
    ColdStartLong,
    /// Calls are refused for minutes.
    RefusalsSustained,
    /// A lane is slower than it was.
    Slower,
    /// The times to come back that refused callers get are wrong.
    RetryAfterWrong,
    /// Calls use more tokens than they did.
    TokensUnusual,
    /// Calls cost more than they did.
    CostUnusual,
    /// Nearly all of a budget is used.
    BudgetNearlyUsed,
    /// The store of keys and budgets does not work.
    AccountStoreDown,
    /// The certificate of the service expires soon.
    CertificateExpires,
    /// A server that this process starts does not become healthy.
    ServerFails,
    /// Lines of the log are lost.
    LogLinesDropped,
    /// A store of prompts, collections or kept answers does not work.
    ContentStoreDown,
}

/// How soon somebody must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Now: calls fail or will fail.
    Critical,
    /// Today: the service works worse than it should.
    Warning,
}

impl Rule {
    /// Every rule, in the order in which they are explained.
    pub const ALL: [Self; 24] = [
        Self::BackendDown,
        Self::Misconfigured,
        Self::QuotaUsedUp,
        Self::LaneClosed,
        Self::BurnRateFast,
        Self::BurnRateSlow,
        Self::ModelBurnRateFast,
        Self::ModelBurnRateSlow,
        Self::StoreDown,
        Self::StuckActor,
        Self::ActorRestarts,
        Self::Flapping,
        Self::ColdStartLong,
        Self::RefusalsSustained,
        Self::Slower,
        Self::RetryAfterWrong,
        Self::TokensUnusual,
        Self::CostUnusual,
        Self::BudgetNearlyUsed,
        Self::AccountStoreDown,
        Self::CertificateExpires,
        Self::ServerFails,
        Self::LogLinesDropped,
        Self::ContentStoreDown,
    ];

    /// Returns the name in answers, logs and metrics.
    pub fn name(self) -> &'static str {
        self.text().name
    }

    /// Returns how soon somebody must act.
    pub fn severity(self) -> Severity {
        self.text().severity
    }

    /// Returns the action for a subject, unless what was found asks for another one.
    pub fn action(self, subject: &str, access: &Access) -> String {
        access.fill(self.text().action, subject)
    }

    pub(crate) fn text(self) -> &'static Text {
        match self {
            Self::BackendDown => &text::BACKEND_DOWN,
            Self::Misconfigured => &text::MISCONFIGURED,
            Self::QuotaUsedUp => &text::QUOTA_USED_UP,
            Self::LaneClosed => &text::LANE_CLOSED,
            Self::BurnRateFast => &text::BURN_RATE_FAST,
            Self::BurnRateSlow => &text::BURN_RATE_SLOW,
            Self::ModelBurnRateFast => &text::MODEL_BURN_RATE_FAST,
            Self::ModelBurnRateSlow => &text::MODEL_BURN_RATE_SLOW,
            Self::StoreDown => &text::STORE_DOWN,
            Self::StuckActor => &text::STUCK_ACTOR,
            Self::ActorRestarts => &text::ACTOR_RESTARTS,
            Self::Flapping => &text::FLAPPING,
            Self::ColdStartLong => &text::COLD_START_LONG,
            Self::RefusalsSustained => &text::REFUSALS_SUSTAINED,
            Self::Slower => &text::SLOWER,
            Self::RetryAfterWrong => &text::RETRY_AFTER_WRONG,
            Self::TokensUnusual => &text::TOKENS_UNUSUAL,
            Self::CostUnusual => &text::COST_UNUSUAL,
            Self::BudgetNearlyUsed => &text::BUDGET_NEARLY_USED,
            Self::AccountStoreDown => &text::ACCOUNT_STORE_DOWN,
            Self::CertificateExpires => &text::CERTIFICATE_EXPIRES,
            Self::ServerFails => &text::SERVER_FAILS,
            Self::LogLinesDropped => &text::LOG_LINES_DROPPED,
            Self::ContentStoreDown => &text::CONTENT_STORE_DOWN,
        }
    }
}

impl Severity {
    /// Returns the name in answers, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_place_and_an_action_that_names_no_placeholder() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(*rule as usize, index, "{}", rule.name());
            let action = rule.action("gpu-1", &Access::default());
            assert!(!action.contains(['{', '}']), "{action}");
            assert!(action.ends_with('.') || action.ends_with("`."), "{action}");
        }
    }

    #[test]
    fn the_name_in_json_is_the_name() {
        for rule in Rule::ALL {
            let debug = format!("{rule:?}").to_lowercase();
            assert_eq!(rule.name().replace('_', ""), debug);
        }
    }
}
