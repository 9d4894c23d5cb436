//! A server: its tools as they are offered, and calls of them.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use rmcp::{
    Peer, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, CancelledNotificationParam,
        ClientRequest, RequestId, ServerResult,
    },
    service::PeerRequestOptions,
};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    fault::Fault,
    keeper,
    options::Options,
    pins::{Pins, PinsError},
    shared::{Inner, Link, read, write},
    tool::{Tool, ToolCall},
};

/// A server. Dropping the last clone ends its connection, and its process if it is one.
#[derive(Clone)]
pub struct McpServer {
    inner: Arc<Inner>,
    stop: Arc<RwLock<Option<DropGuard>>>,
}

/// A server as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    /// Its name.
    pub name: String,
    /// `starting`, `up` or `down`.
    pub state: &'static str,
    /// The version of the protocol; empty while it is not there.
    pub protocol: String,
    /// Why it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The tools that are offered or held.
    pub tools: Vec<ToolReport>,
    /// The number of tools that the settings leave out.
    pub left_out: usize,
}

/// A tool as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct ToolReport {
    /// Its name at its server.
    pub name: String,
    /// `true` if it waits for an approval.
    pub held: bool,
    /// Its description.
    pub description: String,
    /// The digest of its definition.
    pub digest: String,
    /// `true` if it says that it changes nothing.
    pub read_only: bool,
    /// `true` if it says that a repeated call has no further effect.
    pub idempotent: bool,
}

impl McpServer {
    /// Creates a server that is not connected.
    pub fn new(options: Options) -> Self {
        Self {
            inner: Arc::new(Inner::new(options)),
            stop: Arc::default(),
        }
    }

    /// Connects the server on the current runtime of tokio, and again whenever the connection is lost. `on_change` is called when the tools
    /// that are offered have changed.
    pub fn start(&self, pins: Arc<Pins>, on_change: impl Fn() + Send + Sync + 'static) {
        let token = CancellationToken::new();
        *write(&self.inner.pins) = Some(pins);
        *write(&self.inner.on_change) = Some(Box::new(on_change));
        *write(&self.stop) = Some(token.clone().drop_guard());
        tokio::spawn(keeper::keep(Arc::clone(&self.inner), token));
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// Returns the tools that are offered.
    pub fn tools(&self) -> Arc<Vec<Arc<Tool>>> {
        self.inner.tools()
    }

    /// Returns a tool that is offered.
    ///
    /// # Errors
    /// Returns [`Fault::Held`] or [`Fault::NoTool`].
    pub fn tool(&self, name: &str) -> Result<Arc<Tool>, Fault> {
        let list = read(&self.inner.list);
        if let Some(tool) = list.offered.iter().find(|tool| tool.name() == name) {
            return Ok(Arc::clone(tool));
        }
        if list.held.iter().any(|tool| tool.name() == name) {
            return Err(Fault::Held(name.to_owned()));
        }
        Err(Fault::NoTool(name.to_owned()))
    }

    /// Returns the fault of the connection; `None` if it is there or begins.
    pub fn fault(&self) -> Option<Fault> {
        match &*self.inner.link.borrow() {
            Link::Down(fault) => Some(fault.clone()),
            Link::Starting | Link::Up { .. } => None,
        }
    }

    /// Calls a tool. Waits at most `patience` for a connection that begins. Dropping the future cancels the call at the server.
    ///
    /// # Errors
    /// Returns the fault. What a tool reports of itself (`isError`) is a result.
    pub async fn call(&self, call: ToolCall, patience: Duration) -> Result<Value, Fault> {
        let peer = self.peer(patience).await?;
        self.tool(&call.name)?;
        let params = CallToolRequestParams::new(call.name).with_arguments(call.arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options();
        let asked = peer.send_cancellable_request(request, options).await;
        let asked = asked.map_err(Fault::of_call)?;
        let mut cancels = Cancels {
            peer,
            id: Some(asked.id.clone()),
        };
        let answered = asked.await_response().await;
        cancels.id = None;
        match answered.map_err(Fault::of_call)? {
            ServerResult::CallToolResult(result) => value(&result),
            ServerResult::InputRequiredResult(_) => Err(Fault::AsksBack),
            _ => Err(Fault::Unusable("it is not the result of a tool".to_owned())),
        }
    }

    /// Approves a held tool, or all of them. Returns the names of those that were held.
    ///
    /// # Errors
    /// Returns an error if the approval cannot be written.
    pub fn approve(&self, tool: Option<&str>) -> Result<Vec<String>, PinsError> {
        let pins = read(&self.inner.pins).clone();
        let Some(pins) = pins else {
            return Ok(Vec::new());
        };
        let approved = pins.approve(self.name(), tool)?;
        if !approved.is_empty() {
            self.inner.judge_again();
        }
        Ok(approved)
    }

    /// Returns its state: `starting`, `up` or `down`.
    pub fn state(&self) -> &'static str {
        match &*self.inner.link.borrow() {
            Link::Starting => "starting",
            Link::Up { .. } => "up",
            Link::Down(_) => "down",
        }
    }

    /// Returns the server as operators see it.
    pub fn report(&self) -> ServerReport {
        let state = self.state();
        let (protocol, reason) = match &*self.inner.link.borrow() {
            Link::Starting => (String::new(), None),
            Link::Up { version, .. } => (version.clone(), None),
            Link::Down(fault) => (String::new(), Some(fault.to_string())),
        };
        let list = read(&self.inner.list);
        let offered = list.offered.iter().map(|tool| report(tool, false));
        let held = list.held.iter().map(|tool| report(tool, true));
        ServerReport {
            name: self.name().to_owned(),
            state,
            protocol,
            reason,
            tools: offered.chain(held).collect(),
            left_out: list.left_out,
        }
    }

    /// Returns the connection. Waits at most `patience` while it begins.
    async fn peer(&self, patience: Duration) -> Result<Peer<RoleClient>, Fault> {
        let mut link = self.inner.link.subscribe();
        let settled = link.wait_for(|link| !matches!(link, Link::Starting));
        let settled = tokio::time::timeout(patience, settled).await;
        match settled.as_ref().map(|settled| settled.as_deref()) {
            Ok(Ok(Link::Up { peer, .. })) => Ok(peer.clone()),
            Ok(Ok(Link::Down(fault))) => Err(fault.clone().before_work()),
            _ => Err(Fault::Begins),
        }
    }
}

/// Tells the server that nobody waits for a call any more.
struct Cancels {
    peer: Peer<RoleClient>,
    id: Option<RequestId>,
}

impl Drop for Cancels {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else {
            return;
        };
        let peer = self.peer.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let reason = Some("the caller has left".to_owned());
                let told = CancelledNotificationParam::new(Some(id), reason);
                if let Err(error) = peer.notify_cancelled(told).await {
                    tracing::debug!(%error, "an MCP server was not told that a call is cancelled");
                }
            });
        }
    }
}

fn value(result: &CallToolResult) -> Result<Value, Fault> {
    serde_json::to_value(result).map_err(|error| Fault::Unusable(error.to_string()))
}

fn report(tool: &Tool, held: bool) -> ToolReport {
    ToolReport {
        name: tool.name().to_owned(),
        held,
        description: tool.description().to_owned(),
        digest: tool.digest().to_owned(),
        read_only: tool.is_read_only(),
        idempotent: tool.is_idempotent(),
    }
}

impl std::fmt::Debug for McpServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("McpServer");
        shown
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
