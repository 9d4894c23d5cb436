//! The metrics of the servers that the gateway starts and stops.

use std::sync::{Arc, atomic::AtomicU64};

use kebne_servers::{Phase, ServerReport};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::metrics::{
    labels::ByServer,
    names::{self, Metric},
    register,
};

/// Reads one count of a server.
type Read = fn(&ServerReport) -> u64;

/// The counters of servers.
const COUNTS: [(&Metric, Read); 3] = [
    (&names::SERVER_LOADS, |server| server.loads),
    (&names::SERVER_SWAPS, |server| server.swaps),
    (&names::SERVER_FAILURES, |server| server.failures),
];

/// Registers the metrics of servers.
pub(super) fn register_all(registry: &mut Registry, servers: &[ServerReport]) {
    let ready = Family::<ByServer, Gauge>::default();
    let seconds = Family::<ByServer, Counter<f64, AtomicU64>>::default();
    for server in servers {
        let is_ready = i64::from(server.state == Phase::Ready);
        ready.get_or_create(&by_server(server)).set(is_ready);
        let spent = server.load_seconds;
        seconds.get_or_create(&by_server(server)).inc_by(spent);
    }
    register(registry, &names::SERVER_READY, ready);
    register(registry, &names::SERVER_LOAD_SECONDS, seconds);
    for (metric, read) in COUNTS {
        let family = Family::<ByServer, Counter>::default();
        for server in servers {
            family
                .get_or_create(&by_server(server))
                .inc_by(read(server));
        }
        register(registry, metric, family);
    }
}

fn by_server(server: &ServerReport) -> ByServer {
    ByServer {
        server: Arc::clone(&server.name),
    }
}
