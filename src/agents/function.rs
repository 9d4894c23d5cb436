//! Functions as tools of agents: each call passes the same stages as a live call of the key that has started the run.

use std::sync::{Arc, Weak};

use actix_web::{
    http::header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    web::Data,
};
use bytes::Bytes;
use kebne_agents::{Call, RunContext, Tool, ToolError, ToolSpec, Work};
use serde_json::json;

use crate::{
    backend::Function,
    caller::Caller,
    stages::{self, Arrival, Body, Head, Meaning},
    state::State,
    surface::functions::FUNCTIONS,
};

use super::model::error_of;

/// The longest name that models accept for a tool.
const NAME_MAX: usize = 64;

/// A function that an agent may call.
pub(super) struct FunctionTool {
    spec: ToolSpec,
    state: Weak<State>,
    function: String,
}

impl FunctionTool {
    /// Creates the tool; `None` if there is no such function, or if the key that has started the run must not call it.
    pub(super) fn new(state: Weak<State>, function: &str, of: &RunContext) -> Option<Self> {
        let now = state.upgrade()?;
        let found = now.gateway.function(function)?;
        let caller = now.callers.of_id(&of.began.caller)?;
        caller.may_call(function).then(|| Self {
            spec: spec(&found),
            state,
            function: function.to_owned(),
        })
    }

    async fn answer(&self, call: &Call) -> Result<String, ToolError> {
        let failed = |why: &str| ToolError(why.to_owned());
        loop {
            let state = self.state.upgrade().map(Data::from);
            let state = state.filter(|state| !state.is_draining());
            let state = state.ok_or_else(|| failed("the service stops"))?;
            let caller = state.callers.of_id(&call.caller);
            let caller = caller.filter(|caller| *caller.owner == *call.owner);
            let caller = caller.ok_or_else(|| failed("the key is not accepted any more"))?;
            let arrival = self.arrival(&state, call, caller)?;
            let size_max = state.settings.get().answers_size_max.as_usize();
            // On the heap, because it holds the futures of all stages.
            let answered = Box::pin(stages::answer(&state, arrival, size_max)).await;
            match answered.ending {
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
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = state.bodies.hold(Bytes::from(call.arguments.to_string()));
        let body = body.map_err(|_| ToolError("there is no memory for the call".to_owned()))?;
        Ok(Arrival {
            surface: &FUNCTIONS,
            // The same when the call is repeated after a crash, so that the function can tell.
            id: call.key.as_str().into(),
            head: Head::Job {
                headers,
                caller,
                function: Some(self.function.clone()),
            },
            body: Body::Here(body),
        })
    }
}

fn spec(function: &Function) -> ToolSpec {
    let settings = &function.settings;
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    let name = settings.name.chars().take(NAME_MAX);
    let name: String = name
        .map(|char| if is_plain(char) { char } else { '_' })
        .collect();
    let any = || json!({"type": "object"});
    let schema = function.schema.as_ref();
    let parameters = schema.map_or_else(any, |schema| schema.shown().clone());
    ToolSpec {
        name,
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
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}
