//! What the cache did with a call, for its record and its answer.

use kebne_cache::Bypass;

use crate::cost::Consumed;

/// How a call was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// By the kept answer of the same call.
    Hit,
    /// By one that has expired, which the caller allows.
    Stale,
    /// By the kept answer to a similar question.
    Semantic,
    /// By the answer of another call that was on its way.
    Coalesced,
    /// By a backend.
    Miss,
    /// By a backend, because the call may not be answered from the cache.
    Bypass,
}

impl Outcome {
    /// Returns the name in headers, metrics and logs.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Semantic => "semantic",
            Self::Coalesced => "coalesced",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// What the cache did with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheNote {
    /// How it was answered.
    pub(crate) outcome: Outcome,
    /// Why the cache was not used.
    pub(crate) bypass: Option<Bypass>,
    /// The age of the kept answer in seconds.
    pub(crate) age: Option<u64>,
    /// What a backend would have used.
    pub(crate) saved: Consumed,
}
