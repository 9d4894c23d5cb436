//! The metrics of accounts that several gateways share.

use kebne_accounts::{BlocksState, SharedHealth};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::metrics::{
    Level,
    labels::{ByBlocksState, ByReload},
    names, real, register,
};

/// Registers the metrics of shared accounts.
pub(super) fn register_all(registry: &mut Registry, shared: Option<&SharedHealth>) {
    let Some(shared) = shared else {
        return;
    };
    let states = Family::<ByBlocksState, Gauge>::default();
    for state in BlocksState::ALL {
        let labels = ByBlocksState {
            state: state.label(),
        };
        let here = i64::from(state == shared.state);
        states.get_or_create(&labels).set(here);
    }
    register(registry, &names::ACCOUNTS_STATE, states);
    for (metric, value) in [
        (&names::ACCOUNTS_GATEWAYS, real(shared.gateways)),
        (&names::ACCOUNTS_FAIR_PARTS, real(shared.fair_parts)),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
    let renewals = Family::<ByReload, Counter>::default();
    for (result, count) in [("renewed", shared.grants), ("failed", shared.failures)] {
        renewals.get_or_create(&ByReload { result }).inc_by(count);
    }
    register(registry, &names::ACCOUNTS_RENEWALS, renewals);
    let waits: Counter = Counter::default();
    waits.inc_by(shared.waits);
    register(registry, &names::ACCOUNTS_WAITS, waits);
}
