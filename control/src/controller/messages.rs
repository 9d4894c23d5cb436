//! What the controller is told, what it answers, and what of it is kept and shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load_time::LoadTimes;
use crate::{Grant, Kind, LaneState, Outcome, QuotaHints, Timestamp, Verdict};

/// Names one attempt; unique within a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub u64);

/// A stretch of time, noted where it happened: a lane's own backlog is no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When the call was sent.
    pub sent: Timestamp,
    /// When what is told of it happened.
    pub at: Timestamp,
}

impl Span {
    /// Makes the stretch that ends at `at` and began when the call was dispatched.
    pub fn until(at: Timestamp) -> Self {
        let sent = Timestamp::ZERO;
        Self { sent, at }
    }
}

/// What the controller is told.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// An attempt was sent.
    Dispatched {
        /// Which.
        attempt: AttemptId,
        /// In flight, this one included.
        in_flight: u32,
        /// Expected cost in tokens; zero when unknown.
        tokens: u32,
        /// Sent as a probe under a single-flight grant.
        probe: bool,
        /// What its time can be compared with.
        kind: Kind,
    },
    /// The first part of an answer arrived.
    FirstPart {
        /// Which.
        attempt: AttemptId,
        /// When it was sent, and when the part arrived.
        span: Span,
    },
    /// An attempt ended.
    Ended {
        /// Which.
        attempt: AttemptId,
        /// When it was sent, and when it ended.
        span: Span,
        /// How.
        outcome: Outcome,
        /// What its headers said of quotas.
        quota: QuotaHints,
    },
    /// How many calls wait now.
    Demand {
        /// Calls waiting.
        queued: u32,
    },
    /// Traffic is expected soon: a wake call is wanted, unless the backend serves or a call is on its way to it.
    Prewarm,
    /// The time asked for by `next_wakeup` has come.
    Wakeup,
}

/// What the controller wants done or known.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// The pool's new grant.
    Grant(Grant),
    /// The lane's state changed.
    State {
        /// Before.
        from: LaneState,
        /// After.
        to: LaneState,
    },
    /// A limit decided something.
    Verdict(Verdict),
    /// A wake call of the lane's own is wanted.
    Prewarm,
}

/// What was learned and survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// The limit last in force, in calls.
    pub limit: Option<f64>,
    /// How long the backend takes to load.
    pub load_times: LoadTimes,
    /// The learned request rate, per second.
    pub request_rate: Option<f64>,
    /// The highest rate that the provider's request to slow down allows, per second.
    pub rate_ceiling: Option<f64>,
    /// Share of attempts that fail for reasons other than load.
    pub fault_rate: f64,
    /// What is true for a moment only; never written down, so that the next process does not believe it.
    #[serde(skip)]
    pub momentary: Option<Momentary>,
}

/// What a controller that is restarted in the midst of traffic goes on with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Momentary {
    /// When an attempt was sent or ended last.
    pub at: Timestamp,
    /// The end of the pause that the backend asked for; in the past without one.
    pub paused_until: Timestamp,
    /// When the used-up quota is renewed; in the past without one.
    pub quota_until: Timestamp,
    /// `true` if the backend said when the quota is renewed.
    pub quota_is_dated: bool,
    /// The limit then, in calls, if the backend served; none is kept while it still ramps.
    pub level: Option<f64>,
    /// Mean and variance of the logarithm of the latency, once there was an answer.
    pub latency: Option<(f64, f64)>,
}

/// The controller as `/state` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ControllerReport {
    /// The state.
    pub state: LaneState,
    /// The state that goes on behind a pause or a used-up quota; without one, the state itself.
    pub behind: LaneState,
    /// The limit before rounding.
    pub limit: f64,
    /// The grant in force.
    pub grant: Grant,
    /// Median load time.
    pub load_time_p50: Option<Duration>,
    /// Ninetieth percentile of the load time.
    pub load_time_p90: Option<Duration>,
    /// Share of attempts that fail for reasons other than load.
    pub fault_rate: f64,
    /// Attempts in flight, as the controller knows.
    pub in_flight: usize,
}
