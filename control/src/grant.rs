//! The grant: what the controller allows the worker pool to do. It is the only value that the controller passes to the
//! pool.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The state of a lane for callers and operators. `Paused` and `Quota` hide one of the other states, which continues
/// behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// Not called yet, or not for so long that the backend may be asleep.
    #[default]
    Idle,
    /// One call was sent to find out whether the backend serves; the others are held.
    Probe,
    /// The backend is known to load. The next probe is sent later; the other calls are held.
    Cold,
    /// It serves, and the limit still grows fast from its small start.
    Ramp,
    /// It serves at a verified limit.
    Steady,
    /// The breaker is open: so many calls failed in a row that only occasional probes are sent.
    Open,
    /// The backend requested a pause; nothing is sent until its end.
    Paused,
    /// The backend's quota is used up; nothing is sent until it is renewed.
    Quota,
}

impl LaneState {
    /// All states, in the order of the discriminants.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Probe,
        Self::Cold,
        Self::Ramp,
        Self::Steady,
        Self::Open,
        Self::Paused,
        Self::Quota,
    ];

    /// Returns the label used in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Probe => "probe",
            Self::Cold => "cold",
            Self::Ramp => "ramp",
            Self::Steady => "steady",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Quota => "quota",
        }
    }
}

/// How the pool may dispatch now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Permission {
    /// Up to the concurrency limit, within the rate.
    Open,
    /// One call at a time (idle, cold or half-open), not before `not_before`; the others are held.
    SingleFlight {
        /// The earliest time of the next probe.
        not_before: Timestamp,
    },
    /// Nothing until `until`; calls are held.
    Paused {
        /// When dispatching may continue.
        until: Timestamp,
    },
    /// Nothing until `until`; calls whose deadline is earlier are refused at once.
    Closed {
        /// When the quota is renewed.
        until: Timestamp,
    },
}

/// A token bucket that the pool charges at each dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketGrant {
    /// Refill in units per second.
    pub rate: f64,
    /// Capacity in units.
    pub burst: f64,
    /// The highest level at the time of the grant (from a `remaining` header); `None` without such a bound.
    pub level_max: Option<f64>,
}

impl BucketGrant {
    /// Creates a bucket that refills at `rate` per second and holds the amount of one second, at least one unit.
    pub fn per_second(rate: f64) -> Self {
        Self {
            rate,
            burst: rate.max(1.0),
            level_max: None,
        }
    }

    /// Returns the bucket with the lower rate.
    pub(crate) fn tighter(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.rate < a.rate { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// The values that the pool needs to decide about the next dispatch and the next refusal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Calls that may be in flight at once; 0 only while other gateways have all that the backend can do.
    pub concurrency: u32,
    /// Whether and how calls may be dispatched.
    pub permission: Permission,
    /// The bucket for requests; `None` without evidence of a limit.
    pub requests: Option<BucketGrant>,
    /// The bucket for tokens; `None` without evidence of a limit.
    pub tokens: Option<BucketGrant>,
    /// Time that one attempt may take. It grows if a slow tail has been proved.
    pub attempt_timeout: Duration,
    /// Time that the settings allow for one attempt. A longer `attempt_timeout` uses at most half of the time left.
    pub attempt_timeout_base: Duration,
    /// The deadline margin: a call with less time left lets calls with more time go first.
    pub service_time_high: Duration,
    /// The usual time of a call. A call with less time left is sent only while nothing is in flight.
    pub service_time: Duration,
    /// Calls per second that the backend completes, used to predict waits; `None` before the first success.
    pub delivered_rate: Option<f64>,
    /// The time at which the backend is expected to serve; `None` if it serves or the time is unknown.
    pub ready_eta: Option<Timestamp>,
    /// Retries per success that the lane may spend, counting retries and hedges.
    pub retry_ratio: f64,
    /// The number of calls in flight above which a further one tests a higher load; a call of the lowest priority is
    /// used for it.
    pub trial_above: Option<u32>,
    /// The state that led to this grant.
    pub state: LaneState,
}
