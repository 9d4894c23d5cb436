//! A server: its tools as they are offered, and calls of them.

use std::{
    sync::{Arc, PoisonError, RwLock},
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
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    fault::Fault,
    keeper,
    options::Options,
    pins::{Pins, PinsError},
    tool::{Tool, ToolCall},
};

/// A server. Dropping the last clone ends its connection, and its process if it is one.
#[derive(Clone)]
pub struct McpServer {
    inner: Arc<Inner>,
    stop: Arc<RwLock<Option<DropGuard>>>,
}

/// What the server and its keeper share.
pub(crate) struct Inner {
    pub(crate) options: Options,
    link: watch::Sender<Link>,
    list: RwLock<List>,
    pins: RwLock<Option<Arc<Pins>>>,
    on_change: RwLock<Option<Box<dyn Fn() + Send + Sync>>>,
}

/// The state of the connection.
#[derive(Clone)]
pub(crate) enum Link {
    /// It begins.
    Starting,
    /// It is there.
    Up {
        /// By which calls are made.
        peer: Peer<RoleClient>,
        /// The version of the protocol.
        version: String,
    },
    /// It is not there.
    Down(Fault),
}

/// The tools as they were listed last.
#[derive(Default)]
struct List {
    offered: Arc<Vec<Arc<Tool>>>,
    held: Vec<Arc<Tool>>,
    /// The number of those that the settings leave out.
    left_out: usize,
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
        let (link, _) = watch::channel(Link::Starting);
        Self {
            inner: Arc::new(Inner {
                options,
                link,
                list: RwLock::default(),
                pins: RwLock::default(),
                on_change: RwLock::default(),
            }),
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

    /// Returns the server as operators see it.
    pub fn report(&self) -> ServerReport {
        let (state, protocol, reason) = match &*self.inner.link.borrow() {
            Link::Starting => ("starting", String::new(), None),
            Link::Up { version, .. } => ("up", version.clone(), None),
            Link::Down(fault) => ("down", String::new(), Some(fault.to_string())),
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

impl Inner {
    pub(crate) fn tools(&self) -> Arc<Vec<Arc<Tool>>> {
        Arc::clone(&read(&self.list).offered)
    }

    pub(crate) fn set_link(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Takes over a list of tools.
    pub(crate) fn set_tools(&self, tools: Vec<Tool>) {
        let all = tools.len();
        let mut names = std::collections::BTreeSet::new();
        let allowed = tools.into_iter().filter(|tool| {
            let patterns = &self.options.tools;
            let is_allowed =
                patterns.is_empty() || patterns.iter().any(|one| one.fits(tool.name()));
            // The second one of a name could hide behind the first.
            is_allowed && tool.has_plain_name() && names.insert(tool.name().to_owned())
        });
        let allowed: Vec<Arc<Tool>> = allowed.map(Arc::new).collect();
        let left_out = all - allowed.len();
        self.judge(allowed, left_out);
    }

    /// Judges the tools that are known again.
    fn judge_again(&self) {
        let (tools, left_out) = {
            let list = read(&self.list);
            let all = list.offered.iter().chain(&list.held);
            (all.map(Arc::clone).collect(), list.left_out)
        };
        self.judge(tools, left_out);
    }

    fn judge(&self, mut tools: Vec<Arc<Tool>>, left_out: usize) {
        tools.sort_by(|one, other| one.name().cmp(other.name()));
        let pins = read(&self.pins).clone();
        let names: Vec<(&str, &str)> = tools
            .iter()
            .map(|tool| (tool.name(), tool.digest()))
            .collect();
        let server = &self.options.name;
        let noted = pins.map(|pins| pins.note(server, &names, self.options.hold));
        let (mut offered, mut held) = (Vec::new(), Vec::new());
        for (index, tool) in tools.iter().enumerate() {
            let noted = noted.as_ref().and_then(|noted| noted.get(index));
            let noted = noted.copied().unwrap_or_default();
            if noted.is_new {
                let tool = tool.name();
                tracing::warn!(
                    server,
                    tool,
                    "a tool of an MCP server is held until it is approved"
                );
            }
            let list = if noted.is_held {
                &mut held
            } else {
                &mut offered
            };
            list.push(Arc::clone(tool));
        }
        let has_changed = {
            let mut list = write(&self.list);
            let digests = |tools: &[Arc<Tool>]| -> Vec<String> {
                tools.iter().map(|tool| tool.digest().to_owned()).collect()
            };
            let has_changed = digests(&list.offered) != digests(&offered);
            *list = List {
                offered: Arc::new(offered),
                held,
                left_out,
            };
            has_changed
        };
        if has_changed && let Some(on_change) = &*read(&self.on_change) {
            on_change();
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

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for McpServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("McpServer");
        shown
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
