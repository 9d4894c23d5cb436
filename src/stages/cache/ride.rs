//! Waits for an answer that is shared, and makes the call if nobody else does.

use std::sync::Arc;

use actix_web::{
    http::header::{HeaderName, HeaderValue},
    web::Data,
};
use kebne_lane::{CallOptions, Ending};
use kebne_quota::AccountId;
use tokio::time::Instant;

use crate::{
    answer_cache::{Begun, Joined, NotBegun, Rider},
    cache_note::Outcome,
    llm::ModelRequest,
    stages::{
        Call,
        cache::{Shared, fly::Flight},
        guard::OutputGuard,
    },
    state::State,
    surface::error::ApiError,
};

/// What a call needs to be made.
pub(in crate::stages) struct Flyer {
    pub(in crate::stages) state: Data<State>,
    pub(in crate::stages) call: Call,
    pub(in crate::stages) model: String,
    pub(in crate::stages) request: ModelRequest,
    pub(in crate::stages) options: CallOptions,
    pub(in crate::stages) guard: Option<OutputGuard>,
    pub(in crate::stages) accounts: Arc<[AccountId]>,
}

/// A shared answer that has begun.
pub(in crate::stages) struct Ridden {
    pub(in crate::stages) rider: Rider,
    begun: Arc<Begun>,
    leads: bool,
}

impl Ridden {
    /// Returns the headers of the answer for this caller.
    pub(in crate::stages) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let (of_leader, of_others) = &self.begun.headers;
        if self.leads { of_leader } else { of_others }.clone()
    }
}

/// Waits until the answer begins. A caller whose leader could not get it leads itself; of several, one does.
///
/// # Errors
/// Returns an error if the call fails, its deadline passes, or it would have to make the call and exceeds a limit.
pub(in crate::stages) async fn ride(shared: Shared, mut flyer: Flyer) -> Result<Ridden, ApiError> {
    let Shared {
        mut rider,
        mut lead,
        keep,
        estimate,
        held,
    } = shared;
    let due = Instant::now() + flyer.options.deadline;
    let is_cut = flyer.options.bounds_stream && flyer.request.stream;
    let (notes, bounds_stream) = (flyer.call.notes.clone(), flyer.options.bounds_stream);
    let mut keep = Some(keep);
    loop {
        let leads = lead.is_some();
        // One that follows keeps what it needs to lead later.
        if let Some(lead) = lead.take()
            && let Some(keep) = keep.take()
        {
            flyer.options.deadline = due.saturating_duration_since(Instant::now());
            Flight::start(lead, keep, &mut flyer, held.clone());
        }
        let time = (!leads).then(|| due.saturating_duration_since(Instant::now()));
        let error = match rider.begun(time).await {
            Ok(begun) => {
                rider.until(Some(due).filter(|_| bounds_stream && !leads));
                let outcome = match begun.outcome {
                    Outcome::Miss if !leads => Outcome::Coalesced,
                    outcome => outcome,
                };
                notes.set_cached(outcome, begun.age);
                if outcome != Outcome::Miss {
                    notes.set_saved(begun.usage.clone(), &begun.lane);
                }
                return Ok(Ridden {
                    rider,
                    begun,
                    leads,
                });
            }
            Err(NotBegun::Late) => return Err(ApiError::deadline_passed()),
            Err(NotBegun::Failed(error)) if leads || is_of_all(&error) => return Err(error),
            Err(NotBegun::Failed(error)) => Some(error),
            Err(NotBegun::Gone) => None,
        };
        let Some(next) = keep.as_ref() else {
            return Err(error.unwrap_or_else(ApiError::attempt_lost));
        };
        match flyer.state.cache.flights.join(next.key, !is_cut) {
            Joined::Follows(other) => rider = other,
            Joined::Leads(leading, own) => {
                notes.set_cached(Outcome::Miss, None);
                reserve(&flyer, estimate).await?;
                (lead, rider) = (Some(leading), own);
            }
        }
    }
}

/// Returns `true` for an error that every caller of the same call would get.
fn is_of_all(error: &ApiError) -> bool {
    error.ending() == Ending::Rejected
}

/// Reserves what the call may use, in the place of a reservation for a call that is answered without a backend.
async fn reserve(flyer: &Flyer, estimate: Option<kebne_quota::Estimate>) -> Result<(), ApiError> {
    let notes = &flyer.call.notes;
    let Some(estimate) = estimate else {
        return Ok(());
    };
    if let Some(reservation) = notes.take_reservation() {
        reservation.withdraw();
    }
    let accounts = flyer.state.gateway.accounts();
    let reservation = accounts.admit(&flyer.accounts, estimate).await;
    let reservation = reservation.map_err(|denied| {
        notes.set_room(denied.room);
        ApiError::over_limit(&denied)
    })?;
    notes.set_room(reservation.room());
    notes.set_reservation(reservation);
    Ok(())
}
