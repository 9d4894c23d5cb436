//! How long a gateway believes in its lease, and what it uses without one.

use std::time::Duration;

use super::{Lease, Wake};
use crate::Timestamp;
use crate::num::calls;

/// What one gateway holds of one lane, by its own monotonic clock.
///
/// While renewals fail, the last lease is used until its time to live is over, counted from before it was asked for, so that it
/// ends here no later than in the store. After that the gateway uses its fair part of the last known level, leads nobody, and
/// wakes the backend itself.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    ttl: Duration,
    last: Option<(Lease, Timestamp)>,
}

impl Holder {
    /// Creates the holder of no lease; `ttl` is the time to live of leases.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, last: None }
    }

    /// Takes a lease that was asked for at `asked`.
    pub fn renewed(&mut self, lease: Lease, asked: Timestamp) {
        self.last = Some((lease, asked));
    }

    /// Returns `true` if the last lease is over, or there was none.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.last
            .is_none_or(|(_, asked)| now.since(asked) >= self.ttl)
    }

    /// Returns the lease in force; `None` while nothing is known of other gateways, so that the lane belongs to this one.
    pub fn lease(&self, now: Timestamp) -> Option<Lease> {
        let (lease, _) = self.last?;
        if !self.is_over(now) {
            return Some(lease);
        }
        let level = lease.level?;
        let share = (calls(level) / lease.members.max(1)).max(1);
        Some(Lease {
            share,
            others: share.saturating_mul(lease.members.saturating_sub(1)),
            lead: None,
            refused: 0,
            serves: false,
            wake: Wake::Me { fence: 0 },
            ..lease
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_renewal_a_gateway_uses_its_fair_part_of_the_last_known_level() {
        let ttl = Duration::from_secs(2);
        let at = Timestamp::from_secs_f64;
        let mut holder = Holder::new(ttl);
        assert!(holder.is_over(at(0.0)));
        assert_eq!(holder.lease(at(0.0)), None);
        let lease = Lease {
            share: 17,
            level: Some(24.0),
            members: 3,
            lead: Some(7),
            serves: true,
            wake: Wake::Other { ready_in: None },
            ..Lease::default()
        };
        holder.renewed(lease, at(10.0));
        assert_eq!(holder.lease(at(11.9)), Some(lease));
        assert!(holder.is_over(at(12.0)));
        let alone = holder.lease(at(12.0)).unwrap();
        assert_eq!((alone.share, alone.others, alone.lead), (8, 16, None));
        assert_eq!(alone.wake, Wake::Me { fence: 0 });
        assert!(!alone.serves);
        // More gateways than calls: each may still send one.
        let crowded = Lease {
            level: Some(2.0),
            members: 5,
            ..lease
        };
        holder.renewed(crowded, at(20.0));
        assert_eq!(holder.lease(at(30.0)).unwrap().share, 1);
    }
}
