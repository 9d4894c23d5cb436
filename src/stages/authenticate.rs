//! Identifies the caller.

use std::sync::Arc;

use actix_web::web::Data;

use crate::{
    caller::Caller,
    settings::server::Scope,
    stages::{Arrival, Call, Head, Stage},
    state::State,
    surface::error::ApiError,
};

/// Identifies the caller. Ends the call of an unknown key with 401, and that of a key without the scope `call` with
/// 403.
pub(super) struct Authenticate<'a> {
    state: &'a Data<State>,
    call: Call,
}

/// A call with its caller.
pub(super) struct Known {
    pub(super) call: Call,
    pub(super) caller: Arc<Caller>,
    pub(super) arrival: Arrival,
}

impl<'a> Authenticate<'a> {
    pub(super) fn new(state: &'a Data<State>, call: Call) -> Self {
        Self { state, call }
    }
}

impl Stage for Authenticate<'_> {
    type In = Arrival;
    type Out = Known;

    async fn run(&self, arrival: Arrival) -> Result<Known, ApiError> {
        let mut caller = match &arrival.head {
            Head::Request(http) => self.state.callers.of_headers(http.headers())?,
            #[cfg(feature = "mcp")]
            Head::Within { http, .. } => self.state.callers.of_headers(http.headers())?,
            Head::Job { caller, .. } => Arc::clone(caller),
        };
        self.call.notes.set_key(&caller.name);
        self.state.live.arrived(&caller.name);
        caller.require(Scope::Call)?;
        let factor = self.state.shares.factor(&caller.name);
        if (factor - 1.0).abs() > f64::EPSILON {
            Arc::make_mut(&mut caller).weight *= factor;
        }
        Ok(Known {
            call: self.call.clone(),
            caller,
            arrival,
        })
    }
}
