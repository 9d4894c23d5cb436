//! Finds the tools that the gateway calls for a call: those of MCP servers, which the call names itself, or its model by the settings.
//!
//! Such a call is answered in rounds ([`Rounds`]): the model is asked, its calls of tools are made, and it is asked again with their results. Each round and each
//! call of a tool is a call of its own on behalf of the caller, which passes the guards, the cache, the accounts and the lanes, has a span below that of the
//! call, and is recorded and charged. The call itself therefore reserves and costs nothing, and is neither kept nor shared.

mod rounds;
mod step;
mod stream;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix_web::web::Data;
use kebne_agents::LoopBounds;
use kebne_mcp::Tool;
use kebne_wire::{
    mcp::{ApprovalRequest, McpServer, McpStep, McpTools, chat_tool, tool_name},
    request::Endpoint,
    tool_rounds::Conversation,
};
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    stages::{cache::Way, route::Routed, shape::Shaped},
    state::State,
    surface::error::ApiError,
};

pub(super) use rounds::Rounds;
pub(super) use stream::{RoundsItem, RoundsStream};

/// The longest wait for the tools of a server that begins.
const LISTED_WITHIN: Duration = Duration::from_secs(10);
/// The most tools that one call is offered, as OpenAI's API has it.
const TOOLS_MAX: usize = 128;

/// Finds the tools that the gateway calls for a call.
pub(super) struct Tools<'a> {
    state: &'a Data<State>,
    /// The servers of the model.
    own: Option<Arc<[String]>>,
}

/// What a call needs to be answered in rounds.
#[derive(Debug)]
pub(super) struct Plan {
    conversation: Conversation,
    tools: Vec<PlannedTool>,
    /// The lists that the answer reports.
    lists: Vec<McpStep>,
    approved: Vec<Decided>,
    bounds: LoopBounds,
    result_size_max: usize,
    calls_max: u64,
}

/// A tool that the model is offered.
#[derive(Debug)]
struct PlannedTool {
    /// The name under which it is offered.
    offered: String,
    label: String,
    name: String,
    /// `true` if its calls wait for an approval.
    asks: bool,
    is_read_only: bool,
    /// The tool as chat calls have it.
    definition: Value,
}

/// A call on which the caller has decided.
#[derive(Debug)]
struct Decided {
    request: ApprovalRequest,
    approve: bool,
    reason: Option<String>,
}

impl<'a> Tools<'a> {
    /// Returns the stage of a call; `None` if neither the call nor its model names servers.
    pub(super) fn of(state: &'a Data<State>, routed: &Routed) -> Option<Self> {
        let shaped = &routed.shaped;
        let model = state.gateway.canonical(&shaped.model);
        let own = model.and_then(|model| state.model_tools.get().servers(model.as_str()));
        (shaped.mcp.is_some() || own.is_some()).then_some(Self { state, own })
    }
}

impl Tools<'_> {
    /// Has a call answered in rounds, if there are tools for it.
    pub(super) async fn add_to(&self, routed: &mut Routed) -> Result<(), ApiError> {
        let shaped = &mut routed.shaped;
        let asked = shaped.mcp.take();
        // The body of a call that only a backend of the caller's dialect can carry out is not one of chat.
        let native = shaped.request.native.as_ref();
        let is_chat = shaped.request.endpoint == Endpoint::Chat
            && !native.is_some_and(|native| native.is_required);
        if !is_chat {
            return Ok(());
        }
        if let Some(plan) = self.plan(shaped, asked).await? {
            // Each round is checked by itself.
            routed.guard = None;
            routed.way = Way::Rounds(Box::new(plan));
        }
        Ok(())
    }

    /// Returns the plan of a call; `None` if it has no tools of servers and no decisions.
    async fn plan(
        &self,
        shaped: &Shaped,
        asked: Option<Box<McpTools>>,
    ) -> Result<Option<Plan>, ApiError> {
        let (size, body) = (shaped.request.body.len(), shaped.request.body.clone());
        let read = move || Conversation::read(&body);
        let conversation = self.state.off_loop.read(size, read).await?;
        let unreadable = || ApiError::bad_request(Some("messages"), "`messages` must be a list");
        let conversation = conversation.ok_or_else(unreadable)?;
        let asked = asked.map(|asked| *asked).unwrap_or_default();
        let servers = servers(&asked, self.own.as_deref(), &shaped.caller);
        let refuses = asked.is_refused || conversation.refuses_tools();
        if refuses && asked.items.approvals.is_empty() {
            return Ok(None);
        }
        let decided = decided(&asked)?;
        let taken = conversation.functions().map(str::to_owned).collect();
        let (tools, lists) = self.listed(shaped, servers, (taken, &asked)).await?;
        if tools.is_empty() && lists.is_empty() && decided.is_empty() {
            return Ok(None);
        }
        if conversation.choices().is_some() {
            let message = "`n` must be 1, because tools are called for the answer";
            return Err(ApiError::bad_request(Some("n"), message));
        }
        let settings = self.state.mcp_settings.get();
        Ok(Some(Plan {
            conversation,
            tools,
            lists,
            approved: decided,
            bounds: settings.tool_loop.bounds(),
            result_size_max: settings.tool_loop.result_size_max.as_usize(),
            calls_max: asked.calls_max.unwrap_or(u64::MAX),
        }))
    }

    /// Lists the tools of servers. A tool whose name is taken, by a function of the caller or by another tool, is not offered.
    async fn listed(
        &self,
        shaped: &Shaped,
        servers: Vec<McpServer>,
        (mut taken, asked): (BTreeSet<String>, &McpTools),
    ) -> Result<(Vec<PlannedTool>, Vec<McpStep>), ApiError> {
        let (mut tools, mut lists) = (Vec::new(), Vec::new());
        for server in servers {
            let label = &server.label;
            let found = if shaped.caller.may_call(label) {
                let patience = shaped.patience().min(LISTED_WITHIN);
                self.state.gateway.mcp_tools_of(label, patience).await
            } else {
                None
            };
            // Servers of others do not exist for a key.
            let Some(found) = found else {
                let param = format!("{}.server_label", server.path);
                let message = format!("there is no MCP server `{label}` in the settings");
                return Err(ApiError::bad_request(Some(&param), message));
            };
            let is_away = found.is_err();
            let found = found.unwrap_or_default();
            let allowed = found
                .iter()
                .filter(|tool| server.allows(tool.name(), tool.is_read_only()));
            let allowed: Vec<&Arc<Tool>> = allowed.collect();
            if !server.path.is_empty() && !asked.items.listed.contains(label) {
                lists.push(McpStep::Listed {
                    label: label.clone(),
                    tools: allowed.iter().map(|tool| shown(tool)).collect(),
                    error: is_away.then(|| "the server is not there".to_owned()),
                });
            }
            for tool in allowed {
                let offered = tool_name(label, tool.name());
                if tools.len() < TOOLS_MAX && taken.insert(offered.clone()) {
                    tools.push(planned(&server, tool, offered));
                }
            }
        }
        Ok((tools, lists))
    }
}

/// Returns the servers of a call: those that it names, else those of its model that its key may call.
fn servers(asked: &McpTools, own: Option<&[String]>, caller: &Caller) -> Vec<McpServer> {
    let mut servers = asked.servers.clone();
    for label in own.unwrap_or_default() {
        let is_named = servers.iter().any(|server| server.label == *label);
        if !is_named && caller.may_call(label) {
            servers.push(McpServer::of_settings(label));
        }
    }
    servers
}

/// Returns the calls on which the caller has decided.
fn decided(asked: &McpTools) -> Result<Vec<Decided>, ApiError> {
    let mut decided: Vec<Decided> = Vec::new();
    for approval in &asked.items.approvals {
        let param = format!("{}.approval_request_id", approval.path);
        let id = &approval.request;
        let Some(request) = asked.items.request(id) else {
            let message = format!(
                "there is no approval request `{id}` in the input or in the response that it continues"
            );
            return Err(ApiError::bad_request(Some(&param), message));
        };
        let label = &request.label;
        if !asked.servers.iter().any(|server| server.label == *label) {
            let message = format!("the server `{label}` of the request is not among `tools`");
            return Err(ApiError::bad_request(Some(&param), message));
        }
        if decided.iter().any(|known| known.request.id == *id) {
            let message = format!("`{id}` is decided twice");
            return Err(ApiError::bad_request(Some(&param), message));
        }
        decided.push(Decided {
            request: request.clone(),
            approve: approval.approve,
            reason: approval.reason.clone(),
        });
    }
    Ok(decided)
}

fn planned(server: &McpServer, tool: &Tool, offered: String) -> PlannedTool {
    PlannedTool {
        definition: chat_tool(&offered, tool.description(), &tool.input_schema()),
        offered,
        label: server.label.clone(),
        name: tool.name().to_owned(),
        asks: server.approval.asks(tool.name(), tool.is_read_only()),
        is_read_only: tool.is_read_only(),
    }
}

/// Returns a tool as lists of responses have it.
fn shown(tool: &Tool) -> Value {
    json!({
        "name": tool.name(), "description": tool.description(), "input_schema": tool.input_schema(),
        "annotations": {"read_only": tool.is_read_only()},
    })
}
