//! The metrics of MCP servers.

use std::sync::Arc;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::metrics::{
    labels::{ByLoopEnding, ByServer, ByServerAndStatus},
    names, register,
};

/// What is known of one MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpReadings {
    /// Its name.
    pub server: Arc<str>,
    /// `true` if its connection is there.
    pub is_up: bool,
    /// The tools that are offered.
    pub offered: usize,
    /// The tools that wait for an approval.
    pub held: usize,
}

/// Registers the metrics of MCP servers.
pub(super) fn register_all(
    registry: &mut Registry,
    servers: &[McpReadings],
    loops: &[(&'static str, u64)],
) {
    let up = Family::<ByServer, Gauge>::default();
    let tools = Family::<ByServerAndStatus, Gauge>::default();
    for one in servers {
        let server = || Arc::clone(&one.server);
        up.get_or_create(&ByServer { server: server() })
            .set(i64::from(one.is_up));
        for (status, count) in [("offered", one.offered), ("held", one.held)] {
            let labels = ByServerAndStatus {
                server: server(),
                status,
            };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            tools.get_or_create(&labels).set(count);
        }
    }
    let ended = Family::<ByLoopEnding, Counter>::default();
    for (ending, count) in loops.iter().copied() {
        ended.get_or_create(&ByLoopEnding { ending }).inc_by(count);
    }
    register(registry, &names::TOOL_LOOPS, ended);
    register(registry, &names::MCP_SERVER_UP, up);
    register(registry, &names::MCP_TOOLS, tools);
}
