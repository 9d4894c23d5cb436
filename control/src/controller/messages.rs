//! The messages and effects of the controller, and the state that is kept and shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load_time::LoadTimes;
use crate::share::Lease;
use crate::{Grant, Kind, LaneState, Outcome, QuotaHints, Timestamp, Verdict};

/// The number of an attempt; unique within a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub u64);

/// A period of time that was measured where it happened, so that it excludes the lane's own backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When the call was sent.
    pub sent: Timestamp,
    /// When the event happened.
    pub at: Timestamp,
}

impl Span {
    /// Creates the period that ends at `at` and began when the call was dispatched.
    pub fn until(at: Timestamp) -> Self {
        let sent = Timestamp::ZERO;
        Self { sent, at }
    }
}

/// An event or request for the controller.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// An attempt was sent.
    Dispatched {
        /// The attempt.
        attempt: AttemptId,
        /// The number of attempts in flight, including this one.
        in_flight: u32,
        /// Expected cost in tokens; zero when unknown.
        tokens: u32,
        /// `true` if it was sent as a probe under a single-flight grant.
        probe: bool,
        /// The kind of call with which its time can be compared.
        kind: Kind,
    },
    /// The first part of an answer arrived.
    FirstPart {
        /// The attempt.
        attempt: AttemptId,
        /// When it was sent, and when the part arrived.
        span: Span,
    },
    /// An attempt ended.
    Ended {
        /// The attempt.
        attempt: AttemptId,
        /// When it was sent, and when it ended.
        span: Span,
        /// The outcome.
        outcome: Outcome,
        /// The quotas in its headers.
        quota: QuotaHints,
    },
    /// The number of calls that wait has changed.
    Demand {
        /// Calls waiting.
        queued: u32,
    },
    /// Traffic is expected soon. The controller requests a wake call, unless the backend serves or a call is already
    /// on its way to it.
    Prewarm,
    /// Something other than a call shows that the backend is there, such as a health check. A pause before the next probe of a
    /// loading or broken backend ends.
    IsThere,
    /// The lease of a backend that is shared with other gateways; `None` if it is not shared, or nothing is known of the others.
    Shared(Option<Lease>),
    /// The time returned by `next_wakeup` has come.
    Wakeup,
}

/// An action or change that the controller requests.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// The pool's new grant.
    Grant(Grant),
    /// The lane's state changed.
    State {
        /// The state before.
        from: LaneState,
        /// The state after.
        to: LaneState,
    },
    /// A limit, rate or timeout was changed.
    Verdict(Verdict),
    /// The lane must send a wake call of its own.
    Prewarm,
    /// The lease of a shared backend should be renewed at once.
    RenewLease,
}

/// The learned values that survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// The last limit in force, in calls.
    pub limit: Option<f64>,
    /// How long the backend takes to load. Stored under another name than by earlier versions, which learned outages too.
    #[serde(rename = "loads")]
    pub load_times: LoadTimes,
    /// The learned request rate, per second.
    pub request_rate: Option<f64>,
    /// The highest rate that the provider's request to slow down allows, per second.
    pub rate_ceiling: Option<f64>,
    /// Share of attempts that fail for reasons other than load.
    pub fault_rate: f64,
    /// Values that are valid for a moment only. They are not stored, so that the next process does not use them.
    #[serde(skip)]
    pub momentary: Option<Momentary>,
}

/// The values with which a controller that restarts during traffic continues.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Momentary {
    /// When an attempt was last sent or ended.
    pub at: Timestamp,
    /// The end of the pause that the backend requested; in the past if there is none.
    pub paused_until: Timestamp,
    /// The time of the used-up quota's renewal; in the past if there is none.
    pub quota_until: Timestamp,
    /// `true` if the backend announced the time of the renewal.
    pub quota_is_dated: bool,
    /// The limit at that time, in calls, if the backend served. `None` during the ramp.
    pub level: Option<f64>,
    /// Mean and variance of the logarithm of the latency; `None` before the first answer.
    pub latency: Option<(f64, f64)>,
}

/// The controller's part of `/state`.
#[derive(Clone, Debug, Serialize)]
pub struct ControllerReport {
    /// The state.
    pub state: LaneState,
    /// The state hidden by a pause or a used-up quota; otherwise the state itself.
    pub behind: LaneState,
    /// The limit before rounding.
    pub limit: f64,
    /// The grant in force.
    pub grant: Grant,
    /// Median load time.
    pub load_time_p50: Option<Duration>,
    /// Ninetieth percentile of the load time.
    pub load_time_p90: Option<Duration>,
    /// Ninety-fifth percentile of the load time.
    pub load_time_p95: Option<Duration>,
    /// The time that a call takes now, from the last calls of all kinds as if they were of the first kind.
    pub latency: Option<Duration>,
    /// Share of attempts that fail for reasons other than load.
    pub fault_rate: f64,
    /// Attempts in flight, as counted by the controller.
    pub in_flight: usize,
    /// The lease of a backend that is shared with other gateways.
    pub share: Option<super::ShareReport>,
}
