//! The stages of a call to a model, in their order.
//!
//! `chain` is the only place that determines the order. Each stage is one type in one file. It depends on its input
//! type and its output type, and on no other stage. A stage ends a call by returning an error; `Account` counts the
//! ending in any case.

mod account;
mod admit;
mod authenticate;
mod budget;
mod cache;
mod deadline;
pub(crate) mod direct;
pub(crate) mod dry_run;
mod guard;
mod header;
mod lane;
mod memory;
mod notes;
mod response;
mod retrieve;
mod route;
mod shape;
mod share;
#[cfg(feature = "mcp")]
mod tools;
mod trace;
mod turn;
mod whole;

use std::{fmt, net::IpAddr, ops::ControlFlow, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::HeaderMap,
    web::{Data, Payload},
};
use bytes::Bytes;
use tokio::time::timeout_at;

use crate::{
    caller::Caller,
    client_address,
    state::State,
    surface::{Surface, error::ApiError},
};

pub(crate) use route::explain;
pub(crate) use share::origin;
pub(crate) use whole::{Answered, Meaning, answer, answer_in_parts};

use account::{Account, Held};
use admit::Admit;
use authenticate::Authenticate;
use budget::Budget;
use cache::Cache;
use dry_run::DryRun;
use guard::Guard;
use lane::{Answer, Lane};
use notes::Notes;
use retrieve::Retrieve;
use route::{Choose, Route, Routed};
use shape::{Shape, Shaped};
#[cfg(feature = "mcp")]
use tools::Tools;

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
    /// The head.
    pub head: Head,
    /// The body.
    pub body: Body,
}

/// The head of a call.
#[derive(Debug)]
pub enum Head {
    /// That of a request.
    Request(HttpRequest),
    /// That of the request within which the call is made, such as that of a tool.
    #[cfg(feature = "mcp")]
    Within {
        /// The request.
        http: HttpRequest,
        /// The MCP server that is called.
        server: String,
    },
    /// That of a call that came by no connection. Its caller is known.
    Job {
        /// Who makes it.
        maker: Maker,
        /// The headers.
        headers: HeaderMap,
        /// For whom it is made.
        caller: Arc<Caller>,
        /// The function or the MCP server that is called, if the surface is that of functions or tools.
        function: Option<String>,
    },
}

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A caller, by a connection.
    Caller,
    /// A job.
    Job,
    /// A run of an agent.
    Run,
}

/// The body of a call.
pub enum Body {
    /// It has not been read.
    Coming(Payload),
    /// It is here, and its memory is charged.
    Here(Bytes),
}

impl Arrival {
    /// Returns the headers.
    fn headers(&self) -> &HeaderMap {
        match &self.head {
            Head::Request(http) => http.headers(),
            #[cfg(feature = "mcp")]
            Head::Within { http, .. } => http.headers(),
            Head::Job { headers, .. } => headers,
        }
    }

    /// Returns the model or the function that the path names.
    fn named(&self) -> Option<&str> {
        match &self.head {
            Head::Request(http) => {
                let parameters = http.match_info();
                parameters
                    .get("deployment")
                    .or_else(|| parameters.get("function"))
            }
            #[cfg(feature = "mcp")]
            Head::Within { server, .. } => Some(server),
            Head::Job { function, .. } => function.as_deref(),
        }
    }

    /// Returns the head of the request; `None` for a job.
    fn request(&self) -> Option<&HttpRequest> {
        match &self.head {
            Head::Request(http) => Some(http),
            #[cfg(feature = "mcp")]
            Head::Within { http, .. } => Some(http),
            Head::Job { .. } => None,
        }
    }
}

/// The values that stay the same from the first stage to the last.
#[derive(Clone)]
struct Call {
    surface: &'static dyn Surface,
    id: Arc<str>,
    maker: Maker,
    /// The address of the client.
    client: Option<IpAddr>,
    /// What the call has in common with those that should go to the same replica, in the place of a session.
    bond: Option<Arc<str>>,
    notes: Notes,
}

/// Serves a call: runs its stages one after another, and accounts for its ending.
pub async fn serve(state: Data<State>, arrival: Arrival) -> HttpResponse {
    let (response, _notes) = respond(&state, arrival).await;
    response
}

/// Serves a call. Returns the answer, and the notes in which its ending is written when its body has ended.
async fn respond(state: &Data<State>, arrival: Arrival) -> (HttpResponse, Notes) {
    let trace = trace::of(arrival.headers());
    let mut call = Call::of(state, &arrival);
    call.notes = Notes::new(trace, state.begin_span(trace));
    let notes = call.notes.clone();
    let account = Account::open(state, call.clone());
    let answer = chain(state, call, (arrival, account.held())).await;
    (account.settle(answer), notes)
}

impl Call {
    /// Creates the call of an arrival, without a trace.
    fn of(state: &State, arrival: &Arrival) -> Self {
        let settings = state.settings.get();
        let client = arrival
            .request()
            .and_then(|http| client_address::client(http.peer_addr(), http.headers(), &settings));
        Self {
            surface: arrival.surface,
            id: Arc::clone(&arrival.id),
            maker: match arrival.head {
                Head::Request(_) => Maker::Caller,
                #[cfg(feature = "mcp")]
                Head::Within { .. } => Maker::Caller,
                Head::Job { maker, .. } => maker,
            },
            client,
            bond: None,
            notes: Notes::default(),
        }
    }
}

/// Runs the stages in order.
async fn chain(
    state: &Data<State>,
    call: Call,
    (arrival, held): (Arrival, Held),
) -> Result<Answer, ApiError> {
    let notes = call.notes.clone();
    let known = Authenticate::new(state, call).run(arrival).await?;
    notes.passed("authenticate");
    let admitted = Admit::new(state).run(known).await?;
    notes.passed("admit");
    let shaped = Shape::new(state).run(admitted).await?;
    notes.passed("shape");
    let due = shaped.due;
    let prepared = timeout_at(due, prepare(state, &notes, (shaped, held))).await;
    let routed = match prepared.map_err(|_| ApiError::deadline_passed())?? {
        ControlFlow::Continue(routed) => routed,
        ControlFlow::Break(answer) => return Ok(answer),
    };
    let answer = Lane::new(state).run(routed).await;
    // A call that fails in its lane has been there too.
    notes.passed("lane");
    answer
}

/// Runs the stages that may ask others before the model is asked. They have no more time than the call. Returns the call, ready for its lane, or
/// the answer of a call that needs none.
async fn prepare(
    state: &Data<State>,
    notes: &Notes,
    (shaped, held): (Shaped, Held),
) -> Result<ControlFlow<Answer, Routed>, ApiError> {
    let shaped = Choose::new(state).run(shaped).await?;
    let shaped = Retrieve::new(state).run(shaped).await?;
    let routed = Route::new(state).run(shaped).await?;
    notes.passed("route");
    #[cfg_attr(
        not(feature = "mcp"),
        expect(unused_mut, reason = "tools are added in builds with MCP")
    )]
    let mut routed = Guard::new(state).run(routed).await?;
    notes.passed("guard");
    if notes.is_dry_run() {
        let shown = DryRun::new(state).run(routed).await?;
        return Ok(ControlFlow::Break(shown));
    }
    #[cfg(feature = "mcp")]
    if let Some(tools) = Tools::of(state, &routed) {
        // On the heap, because most calls have no such tools.
        Box::pin(tools.add_to(&mut routed)).await?;
    }
    #[cfg(not(feature = "mcp"))]
    refuse_tools(&routed.shaped)?;
    if routed.way.is_in_rounds() {
        // Each round looks into the cache, and has its own reservation.
        notes.passed("tools");
        return Ok(ControlFlow::Continue(routed));
    }
    // After the guards, which must have seen the question, and before the budget, in which a kept answer reserves nothing.
    let routed = Cache::new(state, held).run(routed).await?;
    notes.passed("cache");
    let routed = Budget::new(state).run(routed).await?;
    notes.passed("budget");
    Ok(ControlFlow::Continue(routed))
}

/// Refuses a call that names MCP servers, whose tools this build cannot call.
#[cfg(not(feature = "mcp"))]
fn refuse_tools(shaped: &Shaped) -> Result<(), ApiError> {
    let server = shaped.mcp.as_ref().and_then(|mcp| mcp.servers.first());
    server.map_or(Ok(()), |server| {
        let param = format!("{}.type", server.path);
        let message = crate::settings::mcp::NOT_BUILT;
        Err(ApiError::bad_request(Some(&param), message))
    })
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Coming(_) => "Coming",
            Self::Here(_) => "Here",
        })
    }
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
