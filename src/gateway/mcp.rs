//! The MCP servers of the gateway: their lanes, their tools by the names under which they are offered, and what was approved of them.

use std::{sync::Arc, time::Duration};

use kebne_mcp::{Fault, Pins, PinsError, ServerReport, Tool};
use tokio::time::{Instant, sleep};

use crate::{
    gateway::{Gateway, GatewayError, lane::Lane},
    settings::Settings,
};

/// The time between two looks at a server that begins.
const LISTED_EVERY: Duration = Duration::from_millis(50);

/// What all MCP servers share.
pub(super) struct Mcp {
    pub(super) pins: Arc<Pins>,
}

/// The tools of a server are not known, because it is not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerAway;

/// A tool of a server, under the name by which it is offered.
#[derive(Clone, Debug)]
pub(crate) struct OfferedTool {
    /// The server.
    pub(crate) server: String,
    /// The name at `/mcp`.
    pub(crate) name: String,
    /// The tool.
    pub(crate) tool: Arc<Tool>,
}

/// The file of approved tools is neither read nor made before there is a server.
pub(super) fn start(settings: &Settings) -> Mcp {
    Mcp {
        pins: Arc::new(Pins::new(settings.mcp.path.clone())),
    }
}

impl Gateway {
    /// Returns a tool that a server offers.
    pub(crate) fn mcp_tool(&self, server: &str, tool: &str) -> Result<Arc<Tool>, Fault> {
        let unknown = || Fault::NoTool(tool.to_owned());
        let lane = self.mcp_lane(server).ok_or_else(unknown)?;
        let backend = lane.backend.mcp().ok_or_else(unknown)?;
        backend.server().tool(tool)
    }

    /// Returns the tools of the servers that `is_allowed` names, in the order of the settings. Of two that would have the same name, the first
    /// one has it.
    pub(crate) fn mcp_tools(&self, is_allowed: impl Fn(&str) -> bool) -> Vec<OfferedTool> {
        let table = self.table();
        let mut names = std::collections::BTreeSet::new();
        let mut offered = Vec::new();
        for lane in table.lanes.iter().filter(|lane| is_allowed(lane.name())) {
            let Some(backend) = lane.backend.mcp() else {
                continue;
            };
            for tool in backend.server().tools().iter() {
                let name = format!("{}{}", backend.prefix(), tool.name());
                if names.insert(name.clone()) {
                    offered.push(OfferedTool {
                        server: lane.name().to_owned(),
                        name,
                        tool: Arc::clone(tool),
                    });
                }
            }
        }
        offered
    }

    /// Returns the tools that a server offers; waits at most `patience` for a server that begins. `None` if there is no such server.
    pub(crate) async fn mcp_tools_of(
        &self,
        server: &str,
        patience: Duration,
    ) -> Option<Result<Arc<Vec<Arc<Tool>>>, ServerAway>> {
        let due = Instant::now() + patience;
        loop {
            let lane = self.mcp_lane(server)?;
            let server = lane.backend.mcp()?.server();
            let (tools, state) = (server.tools(), server.state());
            // Its lane holds the calls of one that is away.
            if state == "up" || !tools.is_empty() {
                return Some(Ok(tools));
            }
            if state == "down" || Instant::now() >= due {
                return Some(Err(ServerAway));
            }
            sleep(LISTED_EVERY).await;
        }
    }

    /// Returns the server whose tools have names that begin as `tool` does. Which of them it has is known only when it is there.
    pub(crate) fn mcp_server_of(&self, tool: &str) -> Option<String> {
        let table = self.table();
        let mut lanes = table.lanes.iter();
        let of_tool = lanes.find(|lane| {
            let server = lane.backend.mcp();
            server.is_some_and(|server| tool.starts_with(server.prefix()))
        });
        Some(of_tool?.name().to_owned())
    }

    /// Returns the servers as operators see them, in the order of the settings.
    pub(crate) fn mcp_reports(&self) -> Vec<ServerReport> {
        let table = self.table();
        let backends = table.lanes.iter().filter_map(|lane| lane.backend.mcp());
        backends.map(|backend| backend.server().report()).collect()
    }

    /// Approves a held tool of a server, or all of them. Returns the names of those that were held.
    pub(crate) fn mcp_approve(
        &self,
        server: &str,
        tool: Option<&str>,
    ) -> Result<Result<Vec<String>, PinsError>, GatewayError> {
        let unknown = || GatewayError::UnknownBackend(server.to_owned());
        let lane = self.mcp_lane(server).ok_or_else(unknown)?;
        let backend = lane.backend.mcp().ok_or_else(unknown)?;
        Ok(backend.server().approve(tool))
    }

    fn mcp_lane(&self, name: &str) -> Option<Arc<Lane>> {
        let table = self.table();
        let lane = table.lane(name)?;
        lane.backend.mcp().is_some().then(|| Arc::clone(lane))
    }
}
