//! What a caller is offered at `/mcp`: the tools of the servers that its key may use, and the gateway's own.

use std::sync::Arc;

use kebne_mcp::{CallEnding, Offer, Pending, Resource, Tool, ToolCall};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::{gateway::mcp::OfferedTool, http::visit::Visit};

use super::{
    job::{Job, Work},
    own,
};

/// What the caller of one request is offered. The work itself is done by the thread of the request.
pub(super) struct Offering {
    tools: Vec<OfferedTool>,
    own: Vec<(String, Arc<Tool>)>,
    resources: Vec<Resource>,
    jobs: mpsc::Sender<Job>,
}

impl Offering {
    pub(super) fn new(visit: &Visit, jobs: mpsc::Sender<Job>) -> Self {
        let caller = &visit.caller;
        let is_on = visit.state.mcp_settings.get().own_tools;
        Self {
            tools: visit
                .state
                .gateway
                .mcp_tools(|server| caller.may_call(server)),
            own: if is_on {
                own::tools(caller)
            } else {
                Vec::new()
            },
            resources: if is_on {
                own::resources(caller)
            } else {
                Vec::new()
            },
            jobs,
        }
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
            let gone = |_| CallEnding::Failed("the call was cancelled".to_owned());
            jobs.send(job)
                .await
                .map_err(|_| CallEnding::Failed("the call was cancelled".to_owned()))?;
            answer.await.map_err(gone)?
        })
    }
}

impl Offer for Offering {
    fn tools(&self) -> Vec<(String, Arc<Tool>)> {
        let own = self.own.iter().cloned();
        let upstream = self.tools.iter();
        let upstream = upstream.map(|one| (one.name.clone(), Arc::clone(&one.tool)));
        own.chain(upstream).collect()
    }

    fn call(&self, call: ToolCall) -> Pending<Result<Value, CallEnding>> {
        if self.own.iter().any(|(name, _)| *name == call.name) {
            return self.done(|reply| Work::Own { call, reply });
        }
        let Some(offered) = self.tools.iter().find(|one| one.name == call.name) else {
            let message = format!("there is no tool `{}`", call.name);
            return Box::pin(std::future::ready(Err(CallEnding::Unknown(message))));
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

    fn resources(&self) -> Vec<Resource> {
        self.resources.clone()
    }

    fn read(&self, uri: &str) -> Pending<Result<String, CallEnding>> {
        if !self.resources.iter().any(|one| one.uri == uri) {
            let message = format!("there is no resource `{uri}`");
            return Box::pin(std::future::ready(Err(CallEnding::Unknown(message))));
        }
        let uri = uri.to_owned();
        self.done(|reply| Work::Read { uri, reply })
    }
}
