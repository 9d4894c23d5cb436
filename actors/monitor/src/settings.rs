//! The thresholds of the rules.

use std::time::Duration;

use kebne_settings::{HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

/// Thresholds of the rules; those that a service may want to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSettings {
    /// The success objective: the share of admitted calls that must succeed; 0.95 to 0.99999. Default 0.99.
    pub objective: f64,
    /// Failed calls within the short window below which the burn rate raises nothing; 1 to 1000000. Default 10.
    pub failures_min: u64,
    /// Time for which a backend must be unreachable or its breaker open before it counts as down; `1s` to `1h`. Default
    /// `30s`.
    pub down_after: HumanDuration,
    /// Time for which an actor with waiting messages must handle none before it counts as stuck; `1s` to `1h`. Default
    /// `30s`.
    pub stuck_after: HumanDuration,
    /// Time for which at least one in ten calls must be refused before refusals are reported; `1s` to `1h`. Default `1m`.
    pub refusals_for: HumanDuration,
    /// The factor between the latency, or the tokens of a call, and its own history from which a lane is reported; 1.2
    /// to 100. Default 3.
    pub anomaly_factor: f64,
    /// Time for which a lane must be slower, or its calls longer, before it is reported; `1s` to `1h`. Default `1m`.
    pub anomaly_for: HumanDuration,
    /// Time for which a lane must have served before its history is compared with; `1s` to `30days`. Default `10m`.
    pub history_min: HumanDuration,
    /// Wrong times to come back, among the last 20 that were checked, from which a lane is reported; 1 to 20. Default 5.
    pub promises_min: usize,
    /// Time that a load may take while no load time is known; `1s` to `1day`. Default `10m`.
    pub cold_start_max: HumanDuration,
    /// The number of closed alerts that are kept; 1 to 10000. Default 100.
    pub recent_max: usize,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            objective: 0.99,
            failures_min: 10,
            down_after: HumanDuration::from_secs(30),
            stuck_after: HumanDuration::from_secs(30),
            refusals_for: HumanDuration::from_secs(60),
            anomaly_factor: 3.0,
            anomaly_for: HumanDuration::from_secs(60),
            history_min: HumanDuration::from_secs(600),
            promises_min: 5,
            cold_start_max: HumanDuration::from_secs(600),
            recent_max: 100,
        }
    }
}

impl Validate for RuleSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        // Below 0.95 the fast burn rate could not be reached: 14.4 times the budget would be more than all calls.
        let objective = (0.95..=0.99999).contains(&self.objective);
        require(objective, "objective", "must be 0.95 to 0.99999");
        let failures = (1..=1_000_000).contains(&self.failures_min);
        require(failures, "failures_min", "must be 1 to 1000000");
        let factor = (1.2..=100.0).contains(&self.anomaly_factor);
        require(factor, "anomaly_factor", "must be 1.2 to 100");
        let recent = (1..=10_000).contains(&self.recent_max);
        require(recent, "recent_max", "must be 1 to 10000");
        let promises = (1..=20).contains(&self.promises_min);
        require(promises, "promises_min", "must be 1 to 20");
        let second = Duration::from_secs(1);
        let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
        for (key, value, most, message) in [
            ("down_after", self.down_after, hour, "must be 1s to 1h"),
            ("stuck_after", self.stuck_after, hour, "must be 1s to 1h"),
            ("refusals_for", self.refusals_for, hour, "must be 1s to 1h"),
            ("anomaly_for", self.anomaly_for, hour, "must be 1s to 1h"),
            (
                "history_min",
                self.history_min,
                day * 30,
                "must be 1s to 30days",
            ),
            (
                "cold_start_max",
                self.cold_start_max,
                day,
                "must be 1s to 1day",
            ),
        ] {
            require((second..=most).contains(&value.0), key, message);
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_out_of_range_are_named() {
        assert_eq!(RuleSettings::default().validate("r"), []);
        let wrong = RuleSettings {
            objective: 0.5,
            failures_min: 0,
            down_after: HumanDuration::from_secs(0),
            stuck_after: HumanDuration::from_secs(7200),
            refusals_for: HumanDuration::from_secs(0),
            anomaly_factor: f64::NAN,
            anomaly_for: HumanDuration::from_millis(1),
            history_min: HumanDuration::from_millis(1),
            promises_min: 0,
            cold_start_max: HumanDuration::from_millis(1),
            recent_max: 0,
        };
        let errors = wrong.validate("r");
        assert_eq!(errors.len(), 11, "{errors:?}");
        assert!(errors.iter().all(|error| error.path.starts_with("r.")));
    }
}
