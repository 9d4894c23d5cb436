//! The stages of a call to a model, in their order.
//!
//! `chain` is the only place that knows the order. Each stage is one type in one file; it knows the type that it takes
//! and the type that it returns, and no other stage. A stage ends a call by returning an error; `Account` counts
//! however it ends.

mod account;
mod admit;
mod authenticate;
pub mod caller;
mod deadline;
mod lane;
mod notes;
mod response;
mod route;
mod shape;
mod share;
mod turn;

use std::{fmt, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};

use crate::{
    state::State,
    surface::{Surface, error::ApiError},
};

use account::Account;
use admit::Admit;
use authenticate::Authenticate;
use lane::{Answer, Lane};
use notes::Notes;
use route::Route;
use shape::Shape;

/// One step of a call.
trait Stage {
    /// What the stage before returns.
    type In;
    /// What the stage after takes.
    type Out;

    /// Takes the step.
    async fn run(&self, input: Self::In) -> Result<Self::Out, ApiError>;
}

/// A call as it came in.
pub struct Arrival {
    /// The dialect that it speaks.
    pub surface: &'static dyn Surface,
    /// Its id.
    pub id: Arc<str>,
    /// Its head.
    pub http: HttpRequest,
    /// Its body, not read yet.
    pub payload: Payload,
}

/// What stays the same from the first stage to the last.
#[derive(Clone)]
struct Call {
    surface: &'static dyn Surface,
    id: Arc<str>,
    notes: Notes,
}

/// Serves a call: its stages one after another, and the account of how it ended.
pub async fn serve(state: Data<State>, arrival: Arrival) -> HttpResponse {
    let call = Call {
        surface: arrival.surface,
        id: Arc::clone(&arrival.id),
        notes: Notes::default(),
    };
    let account = Account::open(&state, call.clone());
    let answer = chain(&state, call, arrival).await;
    account.settle(answer)
}

/// The order of the stages.
async fn chain(state: &Data<State>, call: Call, arrival: Arrival) -> Result<Answer, ApiError> {
    let known = Authenticate::new(state, call).run(arrival).await?;
    let admitted = Admit::new(state).run(known).await?;
    let shaped = Shape::new(state).run(admitted).await?;
    let routed = Route::new(state).run(shaped).await?;
    Lane::new(state).run(routed).await
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
