//! A scenario as its TOML file describes it: callers, backend and faults.
//!
//! All times are in seconds from the start of the run; all curves are lists of `[time, value]`. Unknown keys are
//! errors.

use serde::{Deserialize, Serialize};

mod mix;
pub(crate) use mix::{Mix, Stalls};

/// A curve: points in time and their values.
pub(crate) type Curve = Vec<(f64, f64)>;

/// The unit of useful work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Value {
    /// The service time of a call. Counting calls would reward dropping long ones.
    #[default]
    Work,
    /// One per call.
    Calls,
    /// The tokens of a call.
    Tokens,
    /// The share of the deadline that is left when a call ends: the sooner a job is done, the more it is worth.
    Soon,
}

/// A scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) title: String,
    /// The time in seconds during which calls arrive; the run continues for one more deadline.
    pub(crate) duration: f64,
    /// The deadline of a call, in seconds.
    pub(crate) deadline: f64,
    /// The timeout of an attempt, in seconds.
    pub(crate) timeout: f64,
    /// The start of the reaction time.
    #[serde(default)]
    pub(crate) event: Option<f64>,
    #[serde(default)]
    pub(crate) value: Value,
    pub(crate) tenants: Vec<Tenant>,
    /// The time at which each gateway joins.
    #[serde(default = "one_gateway")]
    pub(crate) gateways: Vec<f64>,
    /// The times at which each gateway's controller restarts with what it had learned.
    #[serde(default)]
    pub(crate) restarts: Vec<f64>,
    #[serde(default)]
    pub(crate) work: Work,
    #[serde(default)]
    pub(crate) mix: Mix,
    pub(crate) backend: Backend,
}

fn one_gateway() -> Vec<f64> {
    vec![0.0]
}

/// One stream of calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    /// Calls per second; linear between points. A step is two points at the same time.
    pub(crate) rate: Curve,
    /// The priority; 0 is served first.
    #[serde(default)]
    pub(crate) priority: u8,
    /// The number of closed-loop callers, which call again one think time after each answer; replaces `rate`.
    #[serde(default)]
    pub(crate) closed: u32,
    /// The mean think time of the closed loop, in seconds.
    #[serde(default)]
    pub(crate) think: f64,
    /// Calls that arrive together, besides `rate`: the time, and their number.
    #[serde(default)]
    pub(crate) jobs: Vec<(f64, u32)>,
    /// The number of calls of one arrival.
    #[serde(default = "one")]
    pub(crate) burst: u32,
}

fn one() -> u32 {
    1
}

/// The work and the cost of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Work {
    /// The mean service time in seconds; tokens on a batch server.
    pub(crate) mean: f64,
    /// The standard deviation of the logarithm.
    pub(crate) sigma: f64,
    /// The share of long calls.
    pub(crate) long_share: f64,
    /// The factor by which long calls are longer.
    pub(crate) long_factor: f64,
    /// Output tokens per second of service that the answer reports; zero for none.
    pub(crate) tokens_told: f64,
    /// The mean quota cost in tokens; zero for none.
    pub(crate) cost_mean: f64,
    /// The standard deviation of the logarithm of the quota cost.
    pub(crate) cost_sigma: f64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            mean: 0.8,
            sigma: 0.35,
            long_share: 0.0,
            long_factor: 20.0,
            tokens_told: 0.0,
            cost_mean: 0.0,
            cost_sigma: 0.7,
        }
    }
}

/// The backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backend {
    /// The number of calls served at once; a step function of time.
    pub(crate) slots: Curve,
    /// The number of calls that wait before further ones are refused. Without it, the backend queues without bound and
    /// never refuses.
    #[serde(default)]
    pub(crate) line: Option<u32>,
    /// The time of a refusal, in seconds.
    #[serde(default = "refusal_time")]
    pub(crate) refusal_time: f64,
    /// `true` if work continues after the client has disconnected.
    #[serde(default)]
    pub(crate) ignores_cancel: bool,
    #[serde(default)]
    pub(crate) batch: Option<Batch>,
    #[serde(default)]
    pub(crate) thrash: Option<Thrash>,
    #[serde(default)]
    pub(crate) cold: Option<Cold>,
    #[serde(default)]
    pub(crate) scaler: Option<Scaler>,
    #[serde(default)]
    pub(crate) quota: Option<Quota>,
    #[serde(default)]
    pub(crate) faults: Faults,
    /// Windows in which all work is slower.
    #[serde(default)]
    pub(crate) brownouts: Vec<Brownout>,
    /// Windows in which no call is answered at all.
    #[serde(default)]
    pub(crate) outages: Vec<Outage>,
}

fn refusal_time() -> f64 {
    0.05
}

/// A server that works on all calls at once: `t0 + t1 n` seconds per token with `n` calls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    pub(crate) t0: f64,
    pub(crate) t1: f64,
    /// Tokens of work before the first token is sent.
    pub(crate) prefill: f64,
    /// `true` if the answer streams, so that its first part is observed.
    pub(crate) streams: bool,
}

/// Slows down beyond `knee`: speed times `max(floor, 1 - slope (n / knee - 1))`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Thrash {
    pub(crate) knee: f64,
    pub(crate) slope: f64,
    pub(crate) floor: f64,
}

/// The answer of a sleeping backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dialect {
    /// 503 with the true remaining load time.
    Honest,
    /// 503 with an estimate of 20 s that never changes.
    Constant,
    /// 503 "loading" without an estimate.
    Silent,
    /// The connection is held until the model has loaded.
    Holding,
    /// 502 from a proxy in front of the backend.
    Proxy,
}

/// Scale to zero.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cold {
    pub(crate) dialect: Dialect,
    /// The mean load time, in seconds.
    pub(crate) boot: f64,
    /// The standard deviation of the logarithm of the load time.
    #[serde(default)]
    pub(crate) sigma: f64,
    /// `true` if it is asleep at the start.
    pub(crate) asleep: bool,
    /// The idle time in seconds after which the backend falls asleep; zero for never.
    #[serde(default)]
    pub(crate) sleep_after: f64,
    /// The share of the slots that is available right after loading.
    #[serde(default = "full")]
    pub(crate) warm_from: f64,
    /// The time in seconds until all slots are available.
    #[serde(default)]
    pub(crate) warm_time: f64,
}

fn full() -> f64 {
    1.0
}

/// An autoscaler that adds replicas of `slots` each while they are busy.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scaler {
    pub(crate) busy_share: f64,
    pub(crate) busy_time: f64,
    pub(crate) boot: f64,
    pub(crate) max: u32,
}

/// The details of a quota refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Telling {
    /// 429 without details.
    Nothing,
    /// 429 with a `Retry-After` in whole seconds.
    RetryAfter,
    /// Retry-After, and the quota headers on every answer.
    Headers,
}

/// A rate quota.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    /// Units per minute.
    pub(crate) per_minute: f64,
    pub(crate) burst: f64,
    pub(crate) telling: Telling,
    /// `true` if units are tokens instead of calls.
    #[serde(default)]
    pub(crate) tokens: bool,
    /// A refused call costs one unit too; the bucket does not go below minus this value.
    #[serde(default)]
    pub(crate) debt: f64,
    /// The share of the quota that another client uses in every second `foreign_period`.
    #[serde(default)]
    pub(crate) foreign_share: f64,
    #[serde(default)]
    pub(crate) foreign_period: f64,
    /// The number of calls after which a second, long quota is used up; zero for none.
    #[serde(default)]
    pub(crate) spent_after: f64,
    /// The time at which the long quota is available again.
    #[serde(default)]
    pub(crate) spent_until: f64,
    /// The share of `per_minute` with which the quota starts; it grows by half in each period up to `per_minute`.
    #[serde(default)]
    pub(crate) ramp_from: f64,
    #[serde(default)]
    pub(crate) ramp_period: f64,
    /// The length of a window, at the start of which all its units become available; zero for a bucket that refills
    /// continuously.
    #[serde(default)]
    pub(crate) window: f64,
    /// The time after a refusal in which nothing is accepted.
    #[serde(default)]
    pub(crate) penalty: f64,
}

/// Failures that load does not explain.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    /// The share of attempts that end in a 500.
    pub(crate) share: f64,
    /// The share during a burst of `burst_time` in each `burst_period`.
    pub(crate) burst_share: f64,
    pub(crate) burst_time: f64,
    pub(crate) burst_period: f64,
    /// The part of the work that is done before the fault.
    pub(crate) after: f64,
    /// The share of attempts that take `slow_factor` times as long.
    pub(crate) slow_share: f64,
    pub(crate) slow_factor: f64,
    /// The share of attempts that are refused at random, independent of the load.
    pub(crate) refused_share: f64,
    /// The share of the attempts that reach a replica which is still loading, until `loading_until`.
    pub(crate) loading_share: f64,
    /// The time until which a replica is loading.
    pub(crate) loading_until: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            share: 0.0,
            burst_share: 0.0,
            burst_time: 0.0,
            burst_period: 0.0,
            after: 1.0,
            slow_share: 0.0,
            slow_factor: 10.0,
            refused_share: 0.0,
            loading_share: 0.0,
            loading_until: 0.0,
        }
    }
}

/// A window in which calls that start take `factor` times as long.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Brownout {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) factor: f64,
}

/// A window in which nothing is answered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// `true` if connections are refused at once instead of hanging.
    #[serde(default)]
    pub(crate) refused: bool,
}

/// Returns the value of a curve, linear between its points and constant outside.
pub(crate) fn linear(curve: &[(f64, f64)], time: f64) -> f64 {
    let mut before: Option<(f64, f64)> = None;
    for &(at, value) in curve {
        if at > time {
            return match before {
                Some((from, old)) => old + (value - old) * (time - from) / (at - from),
                None => value,
            };
        }
        before = Some((at, value));
    }
    before.map_or(0.0, |point| point.1)
}

/// Returns the value of a step function: that of the last point not after `time`.
pub(crate) fn stair(curve: &[(f64, f64)], time: f64) -> f64 {
    let passed = curve.iter().take_while(|point| point.0 <= time).last();
    passed.or(curve.first()).map_or(0.0, |point| point.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_two_points_at_one_time() {
        let curve = [(0.0, 5.0), (60.0, 5.0), (60.0, 40.0), (100.0, 40.0)];
        assert!((linear(&curve, 59.9) - 5.0).abs() < 1e-9);
        assert!((linear(&curve, 60.0) - 40.0).abs() < 1e-9);
        assert!((linear(&[(0.0, 2.0), (60.0, 24.0)], 30.0) - 13.0).abs() < 1e-9);
        assert!((stair(&[(0.0, 24.0), (120.0, 8.0)], 119.0) - 24.0).abs() < 1e-9);
    }
}
