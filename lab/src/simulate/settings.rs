//! Settings of the simulated model: a preset, and changes to it.

use std::time::Duration;

use kebne_settings::{HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

use crate::simulate::{Fault, Preset, Profile};

/// Settings of a simulated model. A key that is not set keeps the preset's value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulationSettings {
    /// The preset: `default`, `plan` or `instant`. Default `default`.
    pub preset: Preset,
    /// Seed of all randomness.
    pub seed: Option<u64>,
    /// Time to load; `0s` for a model that is always ready.
    pub cold_start: Option<HumanDuration>,
    /// A real load takes `cold_start` times 1 ± this value; 0 to 1.
    pub cold_start_spread: Option<f64>,
    /// The time reported as `estimated_time`. Default: the true remaining time.
    pub cold_estimate: Option<HumanDuration>,
    /// Time without calls after which the model is unloaded; `0s` for never.
    pub idle_after: Option<HumanDuration>,
    /// Calls served at full speed right after loading; at least 1.
    pub capacity_start: Option<u32>,
    /// Calls served at full speed once warm; at least 1.
    pub capacity: Option<u32>,
    /// Time from `capacity_start` to `capacity`.
    pub capacity_growth: Option<HumanDuration>,
    /// Calls in flight beyond this multiple of the capacity are refused; at least 1.
    pub refuse_above: Option<f64>,
    /// Requests granted per minute; 0 for no limit.
    pub requests_per_minute: Option<u32>,
    /// Time to the first token.
    pub latency: Option<HumanDuration>,
    /// A call takes its latency times 1 ± this value; 0 to 1.
    pub latency_spread: Option<f64>,
    /// Share of slow calls; 0 to 1.
    pub slow_share: Option<f64>,
    /// Time to the first token of a slow call.
    pub slow_latency: Option<HumanDuration>,
    /// Share of calls answered with status 500; 0 to 1.
    pub failure_share: Option<f64>,
    /// Share of calls that break after half of their tokens; 0 to 1.
    pub break_share: Option<f64>,
    /// Time per token after the first.
    pub token_time: Option<HumanDuration>,
    /// Tokens of an answer, unless the caller requests fewer.
    pub answer_tokens: Option<u32>,
    /// The fault of the calls that `fault_share` selects, for tests.
    pub fault: Option<Fault>,
    /// The share of calls with `fault`; 0 to 1.
    pub fault_share: Option<f64>,
}

impl SimulationSettings {
    /// Creates the settings of a preset without changes.
    pub fn preset(preset: Preset) -> Self {
        Self {
            preset,
            ..Self::default()
        }
    }

    /// Returns `true` if nothing was set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns all values of the behaviour: those of the preset, with the changes of the settings.
    pub fn profile(&self) -> Profile {
        let base = Profile::preset(self.preset);
        let time =
            |set: Option<HumanDuration>, preset: Duration| set.map_or(preset, HumanDuration::get);
        Profile {
            seed: self.seed.unwrap_or(base.seed),
            cold_start: time(self.cold_start, base.cold_start),
            cold_start_spread: self.cold_start_spread.unwrap_or(base.cold_start_spread),
            cold_estimate: self
                .cold_estimate
                .map(HumanDuration::get)
                .or(base.cold_estimate),
            idle_after: match self.idle_after {
                Some(idle) if idle.get().is_zero() => None,
                Some(idle) => Some(idle.get()),
                None => base.idle_after,
            },
            capacity_start: self.capacity_start.unwrap_or(base.capacity_start),
            capacity: self.capacity.unwrap_or(base.capacity),
            capacity_growth: time(self.capacity_growth, base.capacity_growth),
            refuse_above: self.refuse_above.unwrap_or(base.refuse_above),
            requests_per_minute: self.requests_per_minute.unwrap_or(base.requests_per_minute),
            latency: time(self.latency, base.latency),
            latency_spread: self.latency_spread.unwrap_or(base.latency_spread),
            slow_share: self.slow_share.unwrap_or(base.slow_share),
            slow_latency: time(self.slow_latency, base.slow_latency),
            failure_share: self.failure_share.unwrap_or(base.failure_share),
            break_share: self.break_share.unwrap_or(base.break_share),
            token_time: time(self.token_time, base.token_time),
            answer_tokens: self.answer_tokens.unwrap_or(base.answer_tokens),
            fault: self.fault.or(base.fault),
            fault_share: self.fault_share.unwrap_or(base.fault_share),
        }
    }
}

impl Validate for SimulationSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse =
            |key: &str, message: String| errors.push(SettingsError::new(join(path, key), message));
        let shares = [
            ("cold_start_spread", self.cold_start_spread),
            ("latency_spread", self.latency_spread),
            ("slow_share", self.slow_share),
            ("failure_share", self.failure_share),
            ("break_share", self.break_share),
            ("fault_share", self.fault_share),
        ];
        for (key, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                refuse(key, format!("`{share}` is not between 0 and 1"));
            }
        }
        for (key, count) in [
            ("capacity_start", self.capacity_start),
            ("capacity", self.capacity),
        ] {
            if count == Some(0) {
                refuse(key, "`0` calls are too few; the least is 1".to_owned());
            }
        }
        if let Some(multiple) = self
            .refuse_above
            .filter(|multiple| !(1.0..=1e6).contains(multiple))
        {
            refuse(
                "refuse_above",
                format!("`{multiple}` is not between 1 and 1000000"),
            );
        }
        let profile = self.profile();
        if profile.capacity_start > profile.capacity {
            let (start, full) = (profile.capacity_start, profile.capacity);
            refuse(
                "capacity_start",
                format!("`{start}` is more than the capacity of `{full}`"),
            );
        }
        if profile.failure_share + profile.break_share > 1.0 {
            refuse(
                "break_share",
                "together with `failure_share` it is more than 1".to_owned(),
            );
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_set_wins_over_the_preset_and_nothing_else_changes() {
        let settings: SimulationSettings =
            toml::from_str("preset = 'plan'\nlatency = '1s'\nidle_after = '0s'").unwrap();
        let expected = Profile {
            latency: Duration::from_secs(1),
            ..Profile::preset(Preset::Plan)
        };
        assert_eq!(settings.profile(), expected);
    }

    #[test]
    fn what_cannot_be_is_refused_by_key() {
        let settings: SimulationSettings =
            toml::from_str("slow_share = 1.5\ncapacity = 0\nrefuse_above = 0.5\nfailure_share = 0.9\nbreak_share = 0.2").unwrap();
        let errors = settings.validate("simulation");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        let keys = [
            "slow_share",
            "capacity",
            "refuse_above",
            "capacity_start",
            "break_share",
        ];
        assert_eq!(paths, keys.map(|key| format!("simulation.{key}")));
    }
}
