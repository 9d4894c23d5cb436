//! Functions, and tools of MCP servers, as tools of agents: each call passes the same stages as a live call of the key that has started the run.

use std::sync::{Arc, Weak};

use actix_web::{
    http::header::{CONTENT_TYPE, HeaderValue},
    web::Data,
};
use bytes::Bytes;
use kebne_agents::{Call, RunContext, Tool, ToolError, ToolSpec, Work, offered_name};
use kebne_wire::mcp::result_text;
use serde_json::json;

use crate::{
    backend::Function,
    caller::Caller,
    stages::{self, Arrival, Body, Head, Maker, Meaning},
    state::State,
    surface::{Surface, functions::FUNCTIONS},
};
#[cfg(feature = "mcp")]
use crate::{gateway::mcp::OfferedTool, surface::tools::TOOLS};

use super::{caller::RunCaller, model::error_of};

/// A function, or a tool of an MCP server, that an agent may call.
pub(super) struct FunctionTool {
    spec: ToolSpec,
    state: Weak<State>,
    caller: RunCaller,
    surface: &'static dyn Surface,
    /// The function, or the MCP server.
    callee: String,
    /// The name of the tool at its server; `None` for a function.
    tool: Option<String>,
}

impl FunctionTool {
    /// Creates the tool; `None` if there is no such function, or if the key that has started the run must not call it.
    pub(super) fn new(state: Weak<State>, function: &str, of: &RunContext) -> Option<Self> {
        let now = state.upgrade()?;
        let found = now.gateway.function(function)?;
        let caller = RunCaller::new(of);
        caller.of(&now)?.may_call(function).then(|| Self {
            spec: spec(&found),
            state,
            caller,
            surface: &FUNCTIONS,
            callee: function.to_owned(),
            tool: None,
        })
    }

    /// Creates the tool of an MCP server; `None` if there is no such tool now, or if the key that has started the run must not call its server.
    #[cfg(feature = "mcp")]
    pub(super) fn of_mcp(state: Weak<State>, name: &str, of: &RunContext) -> Option<Self> {
        let now = state.upgrade()?;
        let caller = RunCaller::new(of);
        let key = caller.of(&now)?;
        let tools = now.gateway.mcp_tools(|server| key.may_call(server));
        let found = tools.into_iter().find(|tool| tool.name == name)?;
        Some(Self {
            spec: spec_of_mcp(&found),
            state,
            caller,
            surface: &TOOLS,
            tool: Some(found.tool.name().to_owned()),
            callee: found.server,
        })
    }

    async fn answer(&self, call: &Call) -> Result<String, ToolError> {
        let failed = |why: &str| ToolError(why.to_owned());
        loop {
            let state = self.state.upgrade().map(Data::from);
            let state = state.filter(|state| self.caller.may_call(state));
            let state = state.ok_or_else(|| failed("the service stops"))?;
            let caller = self.caller.of(&state);
            let caller = caller.ok_or_else(|| failed("the key is not accepted any more"))?;
            let arrival = self.arrival(&state, call, caller)?;
            let size_max = state.settings.get().answers_size_max.as_usize();
            // On the heap, because it holds the futures of all stages.
            let answered = Box::pin(stages::answer(&state, arrival, size_max)).await;
            match answered.ending {
                Meaning::Answer if self.tool.is_some() => {
                    return result_text(&answered.body).map_err(ToolError);
                }
                Meaning::Answer => return Ok(String::from_utf8_lossy(&answered.body).into_owned()),
                Meaning::Final | Meaning::Failed => return Err(ToolError(error_of(&answered))),
                // Nothing was done. The time for the call of a tool bounds the waits.
                Meaning::Refused(after) => tokio::time::sleep(after).await,
            }
        }
    }

    fn arrival(
        &self,
        state: &State,
        call: &Call,
        caller: Arc<Caller>,
    ) -> Result<Arrival, ToolError> {
        let mut headers = self.caller.headers(&caller);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = match &self.tool {
            Some(tool) => json!({"name": tool, "arguments": call.arguments}).to_string(),
            None => call.arguments.to_string(),
        };
        let body = state.bodies.hold(Bytes::from(body));
        let body = body.map_err(|_| ToolError("there is no memory for the call".to_owned()))?;
        Ok(Arrival {
            surface: self.surface,
            // The same when the call is repeated after a crash, so that the function can tell.
            id: call.key.as_str().into(),
            head: Head::Job {
                maker: Maker::Run,
                headers,
                caller,
                function: Some(self.callee.clone()),
            },
            body: Body::Here(body),
        })
    }
}

#[cfg(feature = "mcp")]
fn spec_of_mcp(offered: &OfferedTool) -> ToolSpec {
    let tool = &offered.tool;
    ToolSpec {
        name: offered_name(&offered.name).into_owned(),
        description: tool.description().to_owned(),
        parameters: tool.input_schema(),
        read_only: tool.is_read_only(),
        idempotent: tool.is_idempotent(),
    }
}

fn spec(function: &Function) -> ToolSpec {
    let settings = &function.settings;
    let any = || json!({"type": "object"});
    let schema = function.schema.as_ref();
    let parameters = schema.map_or_else(any, |schema| schema.shown().clone());
    ToolSpec {
        name: offered_name(&settings.name).into_owned(),
        description: settings.description.clone(),
        parameters,
        read_only: settings.read_only,
        idempotent: settings.idempotent,
    }
}

impl Tool for FunctionTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Call) -> Work<'a, Result<String, ToolError>> {
        Box::pin(self.answer(call))
    }
}

impl std::fmt::Debug for FunctionTool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FunctionTool")
            .field("callee", &self.callee)
            .field("tool", &self.tool)
            .finish_non_exhaustive()
    }
}
