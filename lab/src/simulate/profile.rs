//! The behaviour of a simulated model: all its numbers, and the presets.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::simulate::Fault;

/// The attempt timeout of a caller of the preset `plan`. It belongs to the caller, not to the model, and is defined
/// here because the preset is meant to be used with it.
pub const PLAN_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// A named behaviour, which single settings can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// A small model: a cold start of some seconds, then streams at reading speed.
    #[default]
    Default,
    /// A slow and unreliable model: 300 ms, one call in five at 3 s, one in ten fails.
    Plan,
    /// No cold start, no waiting and no faults, to measure the overhead of the caller.
    Instant,
}

impl Preset {
    /// Returns the name used in settings and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Plan => "plan",
            Self::Instant => "instant",
        }
    }
}

/// The error for an unknown preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the preset `{0}` does not exist; the presets are `default`, `plan` and `instant`")]
pub struct UnknownPreset(String);

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [Self::Default, Self::Plan, Self::Instant];
        let found = all.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| UnknownPreset(name.to_owned()))
    }
}

/// All values of a simulated model's behaviour.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Seed of all randomness; the n-th accepted call has the same result in every run.
    pub seed: u64,
    /// Time to load; zero means that the model is always ready.
    pub cold_start: Duration,
    /// A real load takes `cold_start` times a factor uniform in `1 ± cold_start_spread`.
    pub cold_start_spread: f64,
    /// Reported as `estimated_time`; `None` reports the true remaining time.
    pub cold_estimate: Option<Duration>,
    /// Time without calls after which the model is unloaded; `None` means never.
    pub idle_after: Option<Duration>,
    /// Calls served at full speed right after loading.
    pub capacity_start: u32,
    /// Calls served at full speed once warm.
    pub capacity: u32,
    /// Time from `capacity_start` to `capacity`, linear.
    pub capacity_growth: Duration,
    /// Calls in flight beyond this multiple of the capacity are refused; between the capacity and it, each
    /// call is slower in proportion.
    pub refuse_above: f64,
    /// Requests granted per minute, with bursts of one second's requests; zero means no limit.
    pub requests_per_minute: u32,
    /// Time to the first token.
    pub latency: Duration,
    /// A call takes its latency times a factor uniform in `1 ± latency_spread`.
    pub latency_spread: f64,
    /// Share of calls that take `slow_latency` instead.
    pub slow_share: f64,
    /// Time to the first token of a slow call.
    pub slow_latency: Duration,
    /// Share of calls that end with status 500 when their first token is due.
    pub failure_share: f64,
    /// Share of calls that break after half of their tokens.
    pub break_share: f64,
    /// Time per token after the first.
    pub token_time: Duration,
    /// The number of tokens of an answer, unless the caller requests fewer or the echo of the prompt is longer.
    pub answer_tokens: u32,
    /// The fault of the calls that `fault_share` selects.
    pub fault: Option<Fault>,
    /// The share of calls with `fault`.
    pub fault_share: f64,
}

impl Profile {
    /// Returns the values of a preset.
    pub fn preset(preset: Preset) -> Self {
        match preset {
            Preset::Default => Self::friendly(),
            Preset::Plan => Self::plan(),
            Preset::Instant => Self::instant(),
        }
    }

    /// Returns the number of calls that the warm model serves per second, if none of them is slow or fails.
    pub fn calls_per_second(&self) -> f64 {
        let tokens = self
            .token_time
            .saturating_mul(self.answer_tokens.saturating_sub(1));
        let each = self.latency.saturating_add(tokens).as_secs_f64();
        f64::from(self.capacity) / each.max(1e-6)
    }

    /// A cold start that is short enough to wait for and long enough to notice. It has a few faults, to show in the
    /// first run that faults occur and that callers do not see them.
    fn friendly() -> Self {
        Self {
            seed: 1,
            cold_start: Duration::from_secs(4),
            cold_start_spread: 0.25,
            cold_estimate: None,
            idle_after: Some(Duration::from_mins(5)),
            capacity_start: 1,
            capacity: 8,
            capacity_growth: Duration::from_secs(10),
            refuse_above: 2.0,
            requests_per_minute: 0,
            latency: Duration::from_millis(150),
            latency_spread: 0.3,
            slow_share: 0.05,
            slow_latency: Duration::from_millis(1500),
            failure_share: 0.02,
            break_share: 0.0,
            token_time: Duration::from_millis(25),
            answer_tokens: 48,
            fault: None,
            fault_share: 1.0,
        }
    }

    /// Answers are sent as a whole, so there is no time per token.
    fn plan() -> Self {
        Self {
            idle_after: None,
            latency: Duration::from_millis(300),
            latency_spread: 0.0,
            slow_share: 0.2,
            slow_latency: Duration::from_secs(3),
            failure_share: 0.1,
            token_time: Duration::ZERO,
            answer_tokens: 16,
            ..Self::friendly()
        }
    }

    /// Takes no time and refuses nothing.
    fn instant() -> Self {
        Self {
            cold_start: Duration::ZERO,
            idle_after: None,
            capacity_start: u32::MAX,
            capacity: u32::MAX,
            latency: Duration::ZERO,
            latency_spread: 0.0,
            slow_share: 0.0,
            failure_share: 0.0,
            token_time: Duration::ZERO,
            ..Self::friendly()
        }
    }
}
