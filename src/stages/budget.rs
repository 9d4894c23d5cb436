//! Reserves what a call may use in the accounts of its key.

use actix_web::web::Data;
use kebne_quota::Estimate;

use crate::{
    stages::{Stage, route::Routed},
    state::State,
    surface::error::ApiError,
};

/// Reserves the most that a call may use, in the account of its key and in the groups above it. A call that exceeds a
/// limit ends with 429. The reservation is held until the account of the call is closed, which replaces it by what was used.
pub(super) struct Budget<'a> {
    state: &'a Data<State>,
}

impl<'a> Budget<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }
}

impl Stage for Budget<'_> {
    type In = Routed;
    type Out = Routed;

    async fn run(&self, mut routed: Routed) -> Result<Routed, ApiError> {
        let shaped = &mut routed.shaped;
        let caller = &shaped.caller;
        // What an agent uses is reserved and charged call by call, not once more for all of them.
        if caller.accounts.is_empty() || shaped.request.on_behalf.is_some() {
            return Ok(routed);
        }
        let notes = &shaped.call.notes;
        let output = u64::from(shaped.options.cost_uncertain);
        let input = u64::from(shaped.options.cost).saturating_sub(output);
        let output = output.saturating_mul(shaped.request.choices.into());
        let full = Estimate {
            tokens: input.saturating_add(output),
            money: notes.highest_cost(input, output),
        };
        // A call that is answered without a backend counts as a call, and for nothing else.
        let estimate = if routed.way.asks_a_backend() {
            full
        } else {
            routed.way.set_estimate(full);
            Estimate::default()
        };
        let accounts = self.state.gateway.accounts();
        let reservation = accounts.admit(&caller.accounts, estimate).await;
        let reservation = reservation.map_err(|denied| {
            notes.set_room(denied.room);
            ApiError::over_limit(&denied)
        })?;
        notes.set_room(reservation.room());
        notes.set_reservation(reservation);
        shaped.request.needs_usage |= caller.needs_usage;
        Ok(routed)
    }
}
