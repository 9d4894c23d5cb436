//! The work behind a request to `/mcp`. It runs on the thread of the request, and ends with it.

use bytes::Bytes;
use kebne_mcp::{CallEnding, ToolCall};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    http::{request_id, visit::Visit},
    stages::{self, Answered, Arrival, Body, Head, Meaning},
    surface::tools::TOOLS,
};

use super::own;

type Reply<T> = oneshot::Sender<Result<T, CallEnding>>;

/// What is to be done.
pub(super) enum Work {
    /// A tool of a server is called.
    Upstream {
        server: String,
        call: ToolCall,
        reply: Reply<Value>,
    },
    /// A tool of the gateway itself is called.
    Own { call: ToolCall, reply: Reply<Value> },
    /// A resource is read.
    Read { uri: String, reply: Reply<String> },
}

/// Work of one request.
pub(super) struct Job(Work);

impl Job {
    pub(super) fn new(work: Work) -> Self {
        Self(work)
    }

    /// Does the work, unless nobody waits for it any more.
    pub(super) async fn run(self, visit: &Visit) {
        match self.0 {
            Work::Upstream {
                server,
                call,
                mut reply,
            } => {
                let result = tokio::select! {
                    () = reply.closed() => return,
                    result = upstream(visit, server, call) => result,
                };
                // The one who waits may have left in this moment.
                let _was_waited_for = reply.send(result);
            }
            Work::Own { call, mut reply } => {
                let result = tokio::select! {
                    () = reply.closed() => return,
                    result = Box::pin(own::call(visit, call)) => result,
                };
                let _was_waited_for = reply.send(result);
            }
            Work::Read { uri, mut reply } => {
                let result = tokio::select! {
                    () = reply.closed() => return,
                    result = Box::pin(own::read(visit, &uri)) => result,
                };
                let _was_waited_for = reply.send(result);
            }
        }
    }
}

/// Calls a tool of a server, through all stages.
async fn upstream(visit: &Visit, server: String, call: ToolCall) -> Result<Value, CallEnding> {
    let body = json!({"name": call.name, "arguments": call.arguments}).to_string();
    let body = visit.state.bodies.hold(Bytes::from(body));
    let body = body.map_err(|error| CallEnding::Failed(error.message().to_owned()))?;
    let arrival = Arrival {
        surface: &TOOLS,
        id: request_id::of(&visit.http),
        head: Head::Within {
            http: visit.http.clone(),
            server,
        },
        body: Body::Here(body),
    };
    let size_max = visit.state.settings.get().answers_size_max.as_usize();
    // On the heap, because it holds the futures of all stages.
    let answered = Box::pin(stages::answer(&visit.state, arrival, size_max)).await;
    ended(&answered)
}

/// Returns the result of a call. An error that the caller can do something about is said as such.
fn ended(answered: &Answered) -> Result<Value, CallEnding> {
    if answered.ending == Meaning::Answer {
        let result = serde_json::from_slice(&answered.body);
        return result.map_err(|error| CallEnding::Failed(error.to_string()));
    }
    let said: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
    let message = said.pointer("/error/message").and_then(Value::as_str);
    let status = answered.status.as_u16();
    let message = message.map_or_else(|| format!("status {status}"), str::to_owned);
    Err(match status {
        400 => CallEnding::Invalid(message),
        404 => CallEnding::Unknown(message),
        _ => CallEnding::Failed(message),
    })
}
