//! The stages of a call to a model, in their order.
//!
//! `chain` is the only place that determines the order. Each stage is one type in one file. It depends on its input
//! type and its output type, and on no other stage. A stage ends a call by returning an error; `Account` counts the
//! ending in any case.

mod account;
mod admit;
mod authenticate;
mod budget;
mod deadline;
pub(crate) mod direct;
mod guard;
mod header;
mod lane;
mod notes;
mod response;
mod retrieve;
mod route;
mod shape;
mod share;
mod trace;
mod turn;

use std::{fmt, net::IpAddr, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};

use crate::{
    client_address,
    state::State,
    surface::{Surface, error::ApiError},
};

use account::Account;
use admit::Admit;
use authenticate::Authenticate;
use budget::Budget;
use guard::Guard;
use lane::{Answer, Lane};
use notes::Notes;
use retrieve::Retrieve;
use route::Route;
use shape::Shape;

/// One step of a call.
trait Stage {
    /// The result of the previous stage.
    type In;
    /// The input of the next stage.
    type Out;

    /// Runs the stage.
    async fn run(&self, input: Self::In) -> Result<Self::Out, ApiError>;
}

/// A call as it arrived.
pub struct Arrival {
    /// The dialect of the call.
    pub surface: &'static dyn Surface,
    /// The id of the call.
    pub id: Arc<str>,
    /// The head of the request.
    pub http: HttpRequest,
    /// The body, which has not been read.
    pub payload: Payload,
}

/// The values that stay the same from the first stage to the last.
#[derive(Clone)]
struct Call {
    surface: &'static dyn Surface,
    id: Arc<str>,
    /// The address of the client.
    client: Option<IpAddr>,
    notes: Notes,
}

/// Serves a call: runs its stages one after another, and accounts for its ending.
pub async fn serve(state: Data<State>, arrival: Arrival) -> HttpResponse {
    let trace = trace::of(arrival.http.headers());
    let call = Call {
        surface: arrival.surface,
        id: Arc::clone(&arrival.id),
        client: client_address::client(
            arrival.http.peer_addr(),
            arrival.http.headers(),
            &state.settings.get(),
        ),
        notes: Notes::new(trace, state.begin_span(trace)),
    };
    let account = Account::open(&state, call.clone());
    let answer = chain(&state, call, arrival).await;
    account.settle(answer)
}

/// Runs the stages in order.
async fn chain(state: &Data<State>, call: Call, arrival: Arrival) -> Result<Answer, ApiError> {
    let notes = call.notes.clone();
    let known = Authenticate::new(state, call).run(arrival).await?;
    notes.passed("authenticate");
    let admitted = Admit::new(state).run(known).await?;
    notes.passed("admit");
    let shaped = Shape::new(state).run(admitted).await?;
    notes.passed("shape");
    let shaped = Retrieve::new(state).run(shaped).await?;
    let routed = Route::new(state).run(shaped).await?;
    notes.passed("route");
    let routed = Guard::new(state).run(routed).await?;
    notes.passed("guard");
    let routed = Budget::new(state).run(routed).await?;
    notes.passed("budget");
    let answer = Lane::new(state).run(routed).await;
    // A call that fails in its lane has been there too.
    notes.passed("lane");
    answer
}

impl fmt::Debug for Arrival {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Arrival")
            .field("surface", &self.surface)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "lab")]
#[cfg(test)]
mod tests;
