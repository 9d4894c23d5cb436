//! The grant: what the controller allows the worker pool to do. It is the only value passed from one to the other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The state of a lane as callers and operators see it. `Paused` and `Quota` lie over one of the others, which goes on
/// behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// Nothing is known: not called yet, or not for so long that it may have gone to sleep.
    #[default]
    Idle,
    /// One call is on its way to learn whether the backend serves; the others are held.
    Probe,
    /// Known to load; the next probe is due later, the others are held.
    Cold,
    /// Serves; the limit still grows fast from its small start.
    Ramp,
    /// Serves at a verified limit.
    Steady,
    /// The breaker is open: so many calls failed in a row that only a probe is sent now and then.
    Open,
    /// The backend asked for a pause; nothing is sent until its end.
    Paused,
    /// The backend's quota is used up; nothing is sent until it is renewed.
    Quota,
}

impl LaneState {
    /// Every state, in the order of the discriminants.
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

/// How the pool may dispatch right now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Permission {
    /// Up to the concurrency limit, within the rate.
    Open,
    /// One call at a time (idle, cold or half-open), not before `not_before`; the rest is held.
    SingleFlight {
        /// The earliest time of the next probe.
        not_before: Timestamp,
    },
    /// Nothing until `until`; the rest is held.
    Paused {
        /// When dispatching may go on.
        until: Timestamp,
    },
    /// Nothing until `until`; callers who cannot wait that long are to be refused at once.
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
    /// The level may not be above this at the time of the grant (from a `remaining` header).
    pub level_max: Option<f64>,
}

impl BucketGrant {
    /// Makes a bucket that refills at `rate` per second and holds a second's worth, at least one unit.
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

/// Everything the pool needs to know to decide on the next dispatch and the next refusal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Calls that may be in flight at once; at least 1.
    pub concurrency: u32,
    /// Whether, and how, to dispatch.
    pub permission: Permission,
    /// The bucket that counts requests, once there is evidence of one.
    pub requests: Option<BucketGrant>,
    /// The bucket that counts tokens, once there is evidence of one.
    pub tokens: Option<BucketGrant>,
    /// Time one attempt may take; grows when a slow tail has been proved.
    pub attempt_timeout: Duration,
    /// Time that the operator allows one attempt. A longer `attempt_timeout` takes at most half of the time left.
    pub attempt_timeout_base: Duration,
    /// The deadline margin: a call with less time left than this lets those with more go first.
    pub service_time_high: Duration,
    /// The usual time of a call: with less time left than this a call is not sent at all.
    pub service_time: Duration,
    /// Calls per second that the backend completes, for predicting waits; none before the first success.
    pub delivered_rate: Option<f64>,
    /// When the backend is expected to serve, while it does not.
    pub ready_eta: Option<Timestamp>,
    /// Retries per success that the lane may spend (a ratio over retries, hedges and fallbacks).
    pub retry_ratio: f64,
    /// Calls in flight from which on a further one is a trial of more load: a call of the lowest priority makes it.
    pub trial_above: Option<u32>,
    /// The state behind all this.
    pub state: LaneState,
}
