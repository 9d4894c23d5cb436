//! What a caller is offered at `/mcp`: the tools of the servers that its key may use, and the gateway's own.

use std::{future::ready, sync::Arc};

use kebne_mcp::{CallEnding, Offer, Pending, Resource, Tool, ToolCall};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::{gateway::mcp::OfferedTool, http::visit::Visit};

use super::{
    find,
    job::{Job, Work},
    own,
};

/// The part of the tools that an endpoint offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Those of all servers, and the gateway's own.
    All,
    /// Those of one server.
    Server(String),
    /// Those of an agent, by their names.
    Agent(Vec<String>),
}

/// What the caller of one request is offered. The work itself is done by the thread of the request.
pub(super) struct Offering {
    tools: Vec<OfferedTool>,
    own: Vec<(String, Arc<Tool>)>,
    resources: Vec<Resource>,
    /// There are so many tools that they are found by a tool instead of being listed.
    is_folded: bool,
    jobs: mpsc::Sender<Job>,
}

impl Part {
    /// Returns the part with a name; `None` if the caller may use no server and no agent with it.
    pub(super) fn named(visit: &Visit, name: &str) -> Option<Self> {
        if !visit.caller.may_call(name) {
            return None;
        }
        if visit.state.gateway.is_mcp(name) {
            return Some(Self::Server(name.to_owned()));
        }
        let agent = visit.state.agent_specs.of(name)?;
        Some(Self::Agent(agent.tools))
    }

    fn has(&self, tool: &OfferedTool) -> bool {
        match self {
            Self::All => true,
            Self::Server(server) => tool.server == *server,
            Self::Agent(tools) => tools.contains(&tool.name),
        }
    }
}

impl Offering {
    pub(super) fn new(visit: &Visit, part: &Part, jobs: mpsc::Sender<Job>) -> Self {
        let (caller, settings) = (&visit.caller, visit.state.mcp_settings.get());
        let gateway = &visit.state.gateway;
        let mut tools = gateway.mcp_tools(|server| caller.may_call(server));
        tools.retain(|tool| part.has(tool));
        let has_own = settings.own_tools && *part == Part::All;
        let (own, resources) = if has_own {
            (own::tools(caller), own::resources(caller))
        } else {
            (Vec::new(), Vec::new())
        };
        Self {
            is_folded: tools.len() > settings.list_max,
            tools,
            own,
            resources,
            jobs,
        }
    }

    /// Calls a tool of a server.
    fn upstream(&self, call: ToolCall) -> Pending<Result<Value, CallEnding>> {
        let Some(offered) = self.tools.iter().find(|one| one.name == call.name) else {
            let message = format!("there is no tool `{}`", call.name);
            return Box::pin(ready(Err(CallEnding::Unknown(message))));
        };
        let server = offered.server.clone();
        let call = ToolCall {
            name: offered.tool.name().to_owned(),
            arguments: call.arguments,
        };
        self.done(|reply| Work::Upstream {
            server,
            call,
            reply,
        })
    }

    /// Has the thread of the request do something.
    fn done<T: Send + 'static>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, CallEnding>>) -> Work,
    ) -> Pending<Result<T, CallEnding>> {
        let (reply, answer) = oneshot::channel();
        let job = Job::new(work(reply));
        let jobs = self.jobs.clone();
        Box::pin(async move {
            let gone = || CallEnding::Failed("the call was cancelled".to_owned());
            jobs.send(job).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        })
    }
}

impl Offer for Offering {
    fn tools(&self) -> Vec<(String, Arc<Tool>)> {
        let own = self.own.iter().cloned();
        if self.is_folded {
            return find::tools().into_iter().chain(own).collect();
        }
        let upstream = self.tools.iter();
        let upstream = upstream.map(|one| (one.name.clone(), Arc::clone(&one.tool)));
        upstream.chain(own).collect()
    }

    fn call(&self, call: ToolCall) -> Pending<Result<Value, CallEnding>> {
        if self.own.iter().any(|(name, _)| *name == call.name) {
            return self.done(|reply| Work::Own { call, reply });
        }
        if self.is_folded && call.name == find::FIND {
            return Box::pin(ready(find::found(&self.tools, call.arguments)));
        }
        if self.is_folded && call.name == find::CALL {
            return match find::called(call.arguments) {
                Ok(call) => self.upstream(call),
                Err(ending) => Box::pin(ready(Err(ending))),
            };
        }
        self.upstream(call)
    }

    fn resources(&self) -> Vec<Resource> {
        self.resources.clone()
    }

    fn read(&self, uri: &str) -> Pending<Result<String, CallEnding>> {
        if !self.resources.iter().any(|one| one.uri == uri) {
            let message = format!("there is no resource `{uri}`");
            return Box::pin(ready(Err(CallEnding::Unknown(message))));
        }
        let uri = uri.to_owned();
        self.done(|reply| Work::Read { uri, reply })
    }
}
