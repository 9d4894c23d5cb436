//! The metrics of the leases of shared backends.

use std::sync::{Arc, atomic::AtomicU64};

use kebne_shares::LeaseState;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    gateway::ShareReport,
    metrics::{
        labels::{ByLane, ByResult, ByState},
        names, register,
    },
};

/// Registers the metrics of leases.
pub(super) fn register_all(registry: &mut Registry, shares: &[ShareReport]) {
    let calls = Family::<ByLane, Gauge>::default();
    let level = Family::<ByLane, Gauge<f64, AtomicU64>>::default();
    let members = Family::<ByLane, Gauge>::default();
    let states = Family::<ByState, Gauge>::default();
    let renewals = Family::<ByResult, Counter>::default();
    for share in shares {
        let lane: Arc<str> = share.lane.as_str().into();
        let by_lane = ByLane {
            lane: Arc::clone(&lane),
        };
        if let Some(lease) = share.lease.map(|report| report.lease) {
            calls.get_or_create(&by_lane).set(i64::from(lease.share));
            let gateways = i64::from(lease.members);
            members.get_or_create(&by_lane).set(gateways);
            let limit = lease.level.unwrap_or_default();
            level.get_or_create(&by_lane).set(limit);
        }
        for state in LeaseState::ALL {
            let labels = ByState {
                lane: Arc::clone(&lane),
                state: state.label(),
            };
            let here = i64::from(state == share.state);
            states.get_or_create(&labels).set(here);
        }
        for (result, count) in [("renewed", share.renewals), ("failed", share.failures)] {
            let lane = Arc::clone(&lane);
            let labels = ByResult { lane, result };
            renewals.get_or_create(&labels).inc_by(count);
        }
    }
    register(registry, &names::SHARE_CALLS, calls);
    register(registry, &names::SHARE_LIMIT, level);
    register(registry, &names::SHARE_GATEWAYS, members);
    register(registry, &names::SHARE_STATE, states);
    register(registry, &names::SHARE_RENEWALS, renewals);
}
