//! Leases inside one process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kebne_control::{Renewal, SharedLane, Timestamp};
use tokio::time::Instant;

use crate::lease::{CapacityLease, LaneKey, Later, LeaseError, Renewed};

/// Leases of the gateways of one process.
#[derive(Debug)]
pub struct LocalLeases {
    ttl: Duration,
    start: Instant,
    lanes: Mutex<BTreeMap<LaneKey, SharedLane>>,
}

impl LocalLeases {
    /// Creates a store whose leases live for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            start: Instant::now(),
            lanes: Mutex::default(),
        }
    }

    fn step<T>(&self, lane: &LaneKey, step: impl FnOnce(&mut SharedLane, Timestamp) -> T) -> T {
        let now = Timestamp::from_duration(self.start.elapsed());
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        step(lanes.entry(lane.clone()).or_default(), now)
    }
}

impl CapacityLease for LocalLeases {
    fn renew<'a>(
        &'a self,
        lane: &'a LaneKey,
        member: &'a str,
        renewal: &'a Renewal,
    ) -> Later<'a, Result<Renewed, LeaseError>> {
        Box::pin(async move {
            Ok(self.step(lane, |lane, now| Renewed {
                lease: lane.renew(member, renewal, self.ttl, now),
                learned: lane.learned().clone(),
            }))
        })
    }

    fn leave<'a>(
        &'a self,
        lane: &'a LaneKey,
        member: &'a str,
    ) -> Later<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            self.step(lane, |lane, _| lane.leave(member));
            Ok(())
        })
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract() {
        let leases = LocalLeases::new(contract::TTL);
        contract::check(&[&leases, &leases], "local").await.unwrap();
    }
}
