//! The outcome of one attempt at a backend, as the control law distinguishes it.
//!
//! Each class requires a different reaction, and confusing them is the classic fault of limiters: a timeout is not a
//! refusal, a loading model is not an overloaded one, and the caller's own mistake shows nothing about the backend.
//! The code that handles the backend's dialect classifies; this crate only reacts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The class of one attempt's end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "class")]
pub enum Outcome {
    /// Completed in full.
    Success {
        /// Output tokens, if the backend sent them; used to normalise the latency sample.
        tokens: Option<u32>,
    },
    /// The backend reported that it is asleep or loading, and did no work. It counts for the load time, never for the
    /// latency.
    Cold {
        /// The backend's own estimate of the time that loading still takes.
        estimated: Option<Duration>,
    },
    /// The backend is not there: no connection can be made, or something in front of it answers 502 or 503 without a reason. It
    /// may be asleep, so the call is held as for `Cold`; or it is broken, so the time until it serves is a load time only if
    /// this is how a scaled-down backend answers the call that wakes it.
    Absent {
        /// `true` if something answered in its place, which may wake it.
        answered: bool,
        /// How long that something asks callers to wait.
        retry_after: Option<Duration>,
    },
    /// Refused because of a rate: 429 or 503 with a retry time, or `slow_down`.
    Rate {
        /// How long the backend asks callers to wait.
        retry_after: Option<Duration>,
        /// `true` if the backend reported that the traffic grew too fast, not that it is too much.
        slow_down: bool,
    },
    /// Refused because too much was in flight: 429, 503 or 529 without a retry time.
    Limit,
    /// Refused because a spend or long-period quota is used up; retrying before `reset` is useless.
    Quota {
        /// Time until the quota is renewed; `None` if unknown.
        reset: Option<Duration>,
    },
    /// Failed for a reason that may be independent of load: 5xx, reset, broken stream, panic of the attempt.
    Fault,
    /// No answer within the attempt's timeout.
    Timeout,
    /// The caller's own fault (other 4xx); ignored by the law.
    Client,
    /// The backend answered, but the answer cannot be used: it cannot be read, is too large, or is a redirect. Another
    /// attempt would end in the same way, so none is made; ignored by the law.
    Unusable,
    /// The backend does not accept the gateway's own settings: its key, its path or its name of the model (401, 403, 404).
    /// Another attempt would end in the same way, so none is made; ignored by the law.
    Misconfigured,
    /// The caller disconnected; ignored by the law.
    Cancelled,
}

impl Outcome {
    /// Returns `true` if another attempt would end in the same way, so that the call ends here.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Client | Self::Unusable | Self::Misconfigured)
    }

    /// Returns `true` if the backend refused without doing work, so that the call can be sent again at no cost.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Cold { .. }
                | Self::Absent { .. }
                | Self::Rate { .. }
                | Self::Limit
                | Self::Quota { .. }
        )
    }

    /// Returns the label used in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Success { .. } => "success",
            Self::Cold { .. } => "cold",
            Self::Absent { .. } => "absent",
            Self::Rate { .. } => "rate",
            Self::Limit => "limit",
            Self::Quota { .. } => "quota",
            Self::Fault => "fault",
            Self::Timeout => "timeout",
            Self::Client => "client",
            Self::Unusable => "unusable",
            Self::Misconfigured => "misconfigured",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The state of one quota in the headers of an answer, refused or not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketHint {
    /// Units granted per `window`.
    pub limit: f64,
    /// Units left in the current window.
    pub remaining: f64,
    /// Time until the bucket is full (or the window ends).
    pub reset: Option<Duration>,
    /// Length of the window of `limit`, if the dialect contains it; otherwise it is learned.
    pub window: Option<Duration>,
}

/// Quota headers of one answer (`x-ratelimit-*`, `anthropic-ratelimit-*`, IETF `RateLimit`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuotaHints {
    /// The bucket that counts requests.
    pub requests: Option<BucketHint>,
    /// The bucket that counts tokens.
    pub tokens: Option<BucketHint>,
}
