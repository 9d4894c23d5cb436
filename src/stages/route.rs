//! Finds the model of a call.

use actix_web::web::Data;

use crate::{
    stages::{Stage, guard::OutputGuard, shape::Shaped},
    state::State,
    surface::error::ApiError,
};

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
}

impl<'a> Route<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }
}

impl Stage for Route<'_> {
    type In = Shaped;
    type Out = Routed;

    async fn run(&self, mut shaped: Shaped) -> Result<Routed, ApiError> {
        let gateway = &self.state.gateway;
        let model = gateway.canonical(&shaped.model);
        let model = model.ok_or_else(|| ApiError::unknown_model(&shaped.model))?;
        let model = model.as_str();
        if let Some(error) = shaped.only_native.take() {
            let native = shaped.request.native.as_ref();
            if !native.is_some_and(|native| gateway.speaks(model, native.api)) {
                return Err(error);
            }
        }
        shaped.call.notes.set_model(model);
        shaped.caller.require_model(model)?;
        let prices = self.state.prices.get();
        let price = prices.of(model);
        shaped.call.notes.set_price(price);
        shaped.request.needs_usage = price.is_some();
        Ok(Routed {
            shaped,
            guard: None,
        })
    }
}
