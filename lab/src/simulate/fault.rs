//! Faults that a test can request. Real model servers or the network fail in each of these ways.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The request header that requests a fault for one call.
pub const FAULT_HEADER: &str = "x-simulate-fault";

/// A fault. Over HTTP it happens on the wire; in process, it is the failure that a client would report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The connection is closed before any answer.
    Reset,
    /// No answer is ever sent.
    Hang,
    /// The stream is cut after half of its tokens; a whole answer after half of its bytes.
    HalfStream,
    /// The stream stops after half of its tokens and stays open.
    Stall,
    /// The stream reports an error in band after half of its tokens.
    ErrorEvent,
    /// The stream ends after its last token, without `finish_reason` and `[DONE]`.
    NoDone,
    /// The stream is one line that never ends.
    EndlessLine,
    /// Status 500 at once.
    #[serde(rename = "http-500")]
    Http500,
    /// Status 200 and bytes that are neither JSON nor events.
    Garbage,
    /// The first token arrives as late as that of a slow call.
    SlowFirstToken,
    /// Status 429 with a `Retry-After` of one second.
    RateLimit,
    /// Status 429 with the message that the spend quota is used up.
    Quota,
    /// Status 503 without a time: too many calls in flight.
    Overloaded,
    /// Status 503 with the message that the model is loading.
    Loading,
    /// In process, the attempt panics; over HTTP the connection is closed, as with `reset`.
    Panic,
}

impl Fault {
    /// All faults, for messages that list the allowed values.
    pub const ALL: [Self; 15] = [
        Self::Reset,
        Self::Hang,
        Self::HalfStream,
        Self::Stall,
        Self::ErrorEvent,
        Self::NoDone,
        Self::EndlessLine,
        Self::Http500,
        Self::Garbage,
        Self::SlowFirstToken,
        Self::RateLimit,
        Self::Quota,
        Self::Overloaded,
        Self::Loading,
        Self::Panic,
    ];

    /// Returns the name used in settings and in the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Hang => "hang",
            Self::HalfStream => "half-stream",
            Self::Stall => "stall",
            Self::ErrorEvent => "error-event",
            Self::NoDone => "no-done",
            Self::EndlessLine => "endless-line",
            Self::Http500 => "http-500",
            Self::Garbage => "garbage",
            Self::SlowFirstToken => "slow-first-token",
            Self::RateLimit => "rate-limit",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
            Self::Loading => "loading",
            Self::Panic => "panic",
        }
    }
}

/// The error for an unknown fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fault `{0}` does not exist; the faults are {all}", all = Fault::ALL.map(Fault::name).join(", "))]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == name);
        found.ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_takes_the_same_names_as_the_settings() {
        for fault in Fault::ALL {
            let in_settings = serde_json::to_value(fault).unwrap();
            assert_eq!(in_settings, fault.name());
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        let error = "http500".parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains("http-500"), "{error}");
    }
}
