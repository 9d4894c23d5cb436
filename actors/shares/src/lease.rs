//! The traits of stores of leases.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use kebne_control::{Lease, Renewal, Snapshot, Wake};

/// An answer that is waited for.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Names one lane for all gateways: a digest of the endpoint, the model and the key, so that a store holds no secret.
///
/// Gateways with the same three share one lane, whatever its name in their settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey(String);

impl LaneKey {
    /// Creates a key. Characters other than letters, digits, `-` and `_` become `_`, so that it can be the name of a file.
    pub fn new(name: &str) -> Self {
        let safe = |character: char| {
            if character.is_ascii_alphanumeric() || matches!(character, '-' | '_') {
                character
            } else {
                '_'
            }
        };
        Self(name.chars().map(safe).collect())
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The result of a renewal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Renewed {
    /// The lease.
    pub lease: Lease,
    /// What the gateways have learned of the backend.
    pub learned: Snapshot,
}

/// The reason why a lease was not renewed. The renewal may have taken effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The store does not answer in time.
    #[error("the store of leases does not answer: {0}")]
    Slow(String),
    /// The store cannot be reached, or cannot be read or written.
    #[error("the store of leases is not available: {0}")]
    Unavailable(String),
    /// The store holds something else under this key.
    #[error("the store of leases holds something else: {0}")]
    Damaged(String),
}

impl LeaseError {
    /// Returns the label used in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Slow(_) => "slow",
            Self::Unavailable(_) => "unavailable",
            Self::Damaged(_) => "damaged",
        }
    }
}

/// A store in which gateways lease parts of the capacity of lanes.
pub trait CapacityLease: fmt::Debug + Send + Sync {
    /// Renews the lease of the gateway `member`, whose name must be unique. The lease ends one time to live after the renewal was
    /// requested.
    fn renew<'a>(
        &'a self,
        lane: &'a LaneKey,
        member: &'a str,
        renewal: &'a Renewal,
    ) -> Later<'a, Result<Renewed, LeaseError>>;

    /// Gives the lease of a gateway back.
    fn leave<'a>(&'a self, lane: &'a LaneKey, member: &'a str)
    -> Later<'a, Result<(), LeaseError>>;

    /// Returns the time to live of leases.
    fn ttl(&self) -> Duration;
}

/// A store that decides which gateway wakes a backend. Each store of leases is one: the turn is a part of the lease.
pub trait WakeLease: CapacityLease {
    /// Asks for the turn to wake the backend, or renews it; `ready_in` is the time until it is expected to serve. With `calls` waiting.
    fn wake<'a>(
        &'a self,
        lane: &'a LaneKey,
        member: &'a str,
        calls: u32,
        ready_in: Option<Duration>,
    ) -> Later<'a, Result<Wake, LeaseError>> {
        Box::pin(async move {
            let renewal = Renewal {
                queued: calls,
                holds: 1,
                wants_wake: true,
                ready_in,
                ..Renewal::default()
            };
            let renewed = self.renew(lane, member, &renewal).await?;
            Ok(renewed.lease.wake)
        })
    }
}

impl<L: CapacityLease + ?Sized> WakeLease for L {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_name_of_a_file_in_the_folder() {
        assert_eq!(LaneKey::new("../a b/ü.json").as_str(), "___a_b___json");
        assert_eq!(LaneKey::new("0f-3A_9").to_string(), "0f-3A_9");
    }
}
