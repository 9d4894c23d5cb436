//! Finds the model of a call: that of a route, by its rules, and that behind a name or an alias.

mod ask;
mod choose;
mod explain;
mod function;
mod shadow;
#[cfg(feature = "mcp")]
mod tool;

use std::sync::Arc;

use actix_web::web::Data;
use kebne_lane::Repeats;
use kebne_wire::request::OnBehalf;

use crate::{
    stages::{Maker, Stage, cache::Way, guard::OutputGuard, shape::Shaped, share},
    state::State,
    surface::error::ApiError,
    via,
};

pub(crate) use explain::explain;

pub(super) use choose::{Choose, Circumstances, Remembered};
pub(super) use shadow::{Shadow, send as send_shadow};

/// Finds the model of a call. An alias leads to its model, an unknown name to 404, and a model that the key may not
/// call to 403.
pub(super) struct Route<'a> {
    state: &'a Data<State>,
}

/// A call for a model that is served here.
pub(super) struct Routed {
    /// The call. Its model is one that the gateway serves, by its own name or an alias.
    pub(super) shaped: Shaped,
    /// Checks the answer.
    pub(super) guard: Option<OutputGuard>,
    /// What the guards do, as a part of the key of a kept answer.
    pub(super) guards: String,
    /// How the call gets its answer.
    pub(super) way: Way,
}

impl<'a> Route<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }
}

/// Has a call run an agent, which makes calls of its own on behalf of the caller. It may change something, so it is not repeated.
///
/// # Errors
/// Returns a 508 for a call of an agent, whose runs would have no end.
fn run_agent(shaped: &mut Shaped) -> Result<(), ApiError> {
    let (call, caller) = (&shaped.call, &shaped.caller);
    if call.maker == Maker::Run {
        return Err(ApiError::loop_detected());
    }
    let tenant = call.notes.named_tenant(&caller.tenant);
    let through = via::before(shaped.request.headers.as_deref());
    let origin = share::origin_of(shaped.options.priority, tenant.as_deref(), through);
    shaped.request.on_behalf = Some(Arc::new(OnBehalf {
        key: caller.id.clone(),
        owner: caller.owner.clone(),
        job: (call.maker == Maker::Job).then(|| call.id.to_string()),
        origin,
    }));
    shaped.options.repeats = Repeats::Refused;
    shaped.options.hedge = false;
    Ok(())
}

impl Stage for Route<'_> {
    type In = Shaped;
    type Out = Routed;

    async fn run(&self, mut shaped: Shaped) -> Result<Routed, ApiError> {
        let gateway = &self.state.gateway;
        let is_function = shaped.call.surface.calls_functions();
        let unknown = || {
            if is_function {
                ApiError::unknown_function(&shaped.model)
            } else {
                ApiError::unknown_model(&shaped.model)
            }
        };
        let function = gateway.function(&shaped.model);
        let model = gateway.canonical(&shaped.model);
        let calls_tools = shaped.call.surface.calls_tools();
        let model = model.filter(|model| {
            // An MCP server is called by `/mcp` alone, which calls nothing else.
            let is_called = function.is_some() || !is_function || calls_tools;
            is_called && gateway.is_mcp(model) == calls_tools
        });
        let model = model.ok_or_else(unknown)?;
        let model = model.as_str();
        if let Some(error) = shaped.only_native.take() {
            let native = shaped.request.native.as_ref();
            if !native.is_some_and(|native| gateway.speaks(model, native.api)) {
                return Err(error);
            }
        }
        shaped.call.notes.set_model(model);
        if !shaped.call.notes.is_routed() {
            // A route has checked what its callers may call.
            shaped.caller.require_model(model)?;
        }
        if let Some(function) = function {
            // On the heap, so that calls of models are no larger because of it.
            Box::pin(function::prepare(self.state, &function, &mut shaped)).await?;
        }
        #[cfg(feature = "mcp")]
        if calls_tools {
            tool::prepare(gateway, model, &mut shaped)?;
        }
        if gateway.runs_agent(model) {
            run_agent(&mut shaped)?;
        }
        let prices = self.state.gateway.prices();
        let price = prices.of(model);
        shaped.call.notes.set_price(price);
        shaped.request.needs_usage = price.is_some();
        Ok(Routed {
            shaped,
            guard: None,
            guards: String::new(),
            way: Way::Direct,
        })
    }
}
