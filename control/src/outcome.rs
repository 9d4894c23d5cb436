//! How one attempt at a backend ended, as far as the control law cares.
//!
//! Each class calls for another reaction, and mixing them is the classic fault of limiters: a timeout is
//! not a refusal, a loading model is not an overloaded one, and the caller's own mistake teaches nothing.
//! Whoever speaks the backend's dialect classifies; control only reacts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The class of one attempt's ending.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "class")]
pub enum Outcome {
    /// Completed in full.
    Success {
        /// Output tokens, when the backend said how many; normalises the latency sample.
        tokens: Option<u32>,
    },
    /// The backend is asleep or loading; no work was done. Teaches the load time, never "slower".
    Cold {
        /// The backend's own estimate of the time that loading still takes.
        estimated: Option<Duration>,
    },
    /// Refused because of a rate: 429 or 503 with a clock, or `slow_down`.
    Rate {
        /// How long the backend asks to be left alone.
        retry_after: Option<Duration>,
        /// The backend said that the traffic grew too fast, not that it is too much.
        slow_down: bool,
    },
    /// Refused because too much was in flight: 429, 503 or 529 without a clock.
    Limit,
    /// Refused because a spend or long-period quota is used up; retrying before `reset` is useless.
    Quota {
        /// Time until the quota is renewed, when known.
        reset: Option<Duration>,
    },
    /// Failed for a reason that load need not explain: 5xx, reset, broken stream, panic of the attempt.
    Fault,
    /// No answer within the attempt's timeout.
    Timeout,
    /// The caller's own fault (other 4xx); teaches nothing.
    Client,
    /// The backend answered, and the answer cannot be used: it cannot be read, is too large, or a redirect. Another
    /// attempt would end the same way, so there is none; teaches nothing.
    Unusable,
    /// The backend does not accept the gateway's own settings: its key, its path (401, 403, 404 without a reason).
    /// Another attempt would end the same way, so there is none; teaches nothing.
    Misconfigured,
    /// The caller went away; teaches nothing.
    Cancelled,
}

impl Outcome {
    /// Returns `true` if another attempt would end the same way, so that the call ends here.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Client | Self::Unusable | Self::Misconfigured)
    }

    /// Returns `true` if the backend refused without doing work: the call may go again at no cost.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Cold { .. } | Self::Rate { .. } | Self::Limit | Self::Quota { .. }
        )
    }

    /// Returns the label used in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Success { .. } => "success",
            Self::Cold { .. } => "cold",
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

/// What the answer's headers said of one quota bucket, refused or not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketHint {
    /// Units granted per `window`.
    pub limit: f64,
    /// Units left in the current window.
    pub remaining: f64,
    /// Time until the bucket is full (or the window ends).
    pub reset: Option<Duration>,
    /// Length of the window that `limit` counts over, when the dialect says so; else it is learned.
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
