//! The simulated model as a server: the `OpenAI` dialect and Hugging Face's text generation over HTTP.
//!
//! Any client or gateway can be tried against it. Faults are configured in the settings or, per call, by the
//! header `x-simulate-fault`; all of them happen on the wire. It has no keys: it is for tests and must not be reachable
//! from a network.

mod answers;
mod faults;
mod generation;
mod scripted;

pub use scripted::serve_script;

use std::{
    any::Any,
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::Extensions,
    rt::net::TcpStream,
    web::{self, Bytes, Data},
};
use serde_json::json;
use socket2::{SockRef, Socket};
use tokio_util::sync::CancellationToken;

use kebne_wire::Endpoint;

use crate::simulate::{
    Decision, FAULT_HEADER, Fault, LiveModel, Place, SimulationSettings, Work, dialect,
};

/// Threads that serve; two, so that tests notice a dependence on one.
const WORKERS: usize = 2;

/// The largest body that is read; more than any gateway in front of it forwards.
const BODY_SIZE_MAX: usize = 64 << 20;

/// Time for calls to end after the shutdown, before their connections are closed.
const SHUTDOWN_SECS: u64 = 1;

/// The state that all handlers share.
#[derive(Debug)]
struct State {
    model: LiveModel,
    /// Numbers the calls, for the ids in answers.
    calls: AtomicU64,
    /// Connections accepted so far.
    connections: Arc<AtomicU64>,
}

/// The parts of an accepted call that its answer needs.
#[derive(Debug)]
struct Admitted {
    work: Work,
    fault: Option<Fault>,
    /// Held until the answer is over.
    _place: Option<Place>,
}

/// Serves a simulated model until `shutdown` is cancelled.
///
/// # Errors
/// Fails if the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    settings: SimulationSettings,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let connections = Arc::new(AtomicU64::new(0));
    let state = Data::new(State {
        model: LiveModel::new(settings.profile()),
        calls: AtomicU64::new(1),
        connections: Arc::clone(&connections),
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(web::PayloadConfig::new(BODY_SIZE_MAX))
            .configure(routes)
    })
    .workers(WORKERS)
    .disable_signals()
    .shutdown_timeout(SHUTDOWN_SECS)
    .tcp_nodelay(true)
    // A caller who closes its half wants no answer any more; its place must come back at once.
    .h1_allow_half_closed(false)
    .client_request_timeout(Duration::from_secs(10))
    .on_connect(move |connection, extensions| {
        connections.fetch_add(1, Ordering::Relaxed);
        remember_socket(connection, extensions);
    })
    .listen(listener)?
    .run();
    let handle = server.handle();
    let stop = async {
        shutdown.cancelled().await;
        handle.stop(true).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = server => ended,
        () = stop => Ok(()),
    }
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/health", web::get().to(health))
        .route("/simulate/state", web::get().to(show_state))
        .route("/v1/models", web::get().to(models))
        .route("/v1/chat/completions", web::post().to(chat))
        .route("/v1/completions", web::post().to(completions))
        .route("/v1/embeddings", web::post().to(embeddings))
        .route("/models/{model:.+}", web::post().to(generation::generate));
}

/// Keeps a handle of the connection's socket, for the fault that resets it.
fn remember_socket(connection: &dyn Any, extensions: &mut Extensions) {
    let stream = connection.downcast_ref::<TcpStream>();
    if let Some(Ok(socket)) = stream.map(|stream| SockRef::from(stream).try_clone()) {
        extensions.insert(socket);
    }
}

async fn chat(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    answers::answer(Endpoint::Chat, &request, &body, &state).await
}

async fn completions(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    answers::answer(Endpoint::Completions, &request, &body, &state).await
}

async fn embeddings(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    answers::answer(Endpoint::Embeddings, &request, &body, &state).await
}

/// As in llama.cpp's server: 503 while the model is not loaded.
async fn health(state: Data<State>) -> HttpResponse {
    if state.model.status().ready_in == Some(Duration::ZERO) {
        HttpResponse::Ok().json(json!({"status": "ok"}))
    } else {
        let error = json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}});
        HttpResponse::ServiceUnavailable().json(error)
    }
}

/// The state of the server, for tests.
async fn show_state(state: Data<State>) -> HttpResponse {
    let status = state.model.status();
    HttpResponse::Ok().json(json!({
        "ready_in_ms": status.ready_in.map(|ready_in| ready_in.as_millis()),
        "in_flight": status.in_flight,
        "capacity": status.capacity,
        "arrived": status.arrived,
        "accepted": status.accepted,
        "connections": state.connections.load(Ordering::Relaxed),
    }))
}

async fn models() -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "object": "list",
        "data": [{"id": "simulated", "object": "model", "created": 0, "owned_by": "kebne"}],
    }))
}

impl State {
    /// Decides what becomes of a call; a requested fault comes before everything else.
    async fn admit(
        &self,
        request: &HttpRequest,
        dialect: faults::Dialect,
    ) -> Result<Admitted, HttpResponse> {
        let ordered = ordered_fault(request)?;
        let socket = request.conn_data::<Socket>();
        if let Some(response) = faults::before_work(ordered, dialect, socket).await {
            return Err(response);
        }
        let (mut decision, drawn, mut place) = self.model.arrive();
        let work = loop {
            match decision {
                Decision::Accepted(work) => break work,
                Decision::Loading { ready_at, .. } if is_held(request) => {
                    (decision, place) = self.model.hold(ready_at).await;
                }
                refusal => return Err(self.refuse(&refusal, dialect)),
            }
        };
        if let Some(response) = faults::before_work(drawn, dialect, socket).await {
            return Err(response);
        }
        let fault = ordered.or(drawn);
        let slow = fault == Some(Fault::SlowFirstToken);
        let first_token = if slow {
            self.model.profile().slow_latency
        } else {
            work.first_token
        };
        Ok(Admitted {
            work: Work {
                first_token,
                ..work
            },
            fault,
            _place: place,
        })
    }

    fn refuse(&self, refusal: &Decision, dialect: faults::Dialect) -> HttpResponse {
        let mut response = match refusal {
            Decision::Loading { estimated, .. } => faults::loading(dialect, Some(*estimated)),
            Decision::Limited { retry_after } => faults::limited(*retry_after),
            Decision::Refused | Decision::Accepted(_) => faults::overloaded(dialect),
        };
        answers::tell_quota(&mut response, &self.model);
        response
    }

    /// Returns the next number of a call.
    fn number(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }
}

/// Reads the fault that a call requests.
fn ordered_fault(request: &HttpRequest) -> Result<Option<Fault>, HttpResponse> {
    let Some(name) = request.headers().get(FAULT_HEADER) else {
        return Ok(None);
    };
    let parsed = name.to_str().unwrap_or_default().parse::<Fault>();
    parsed
        .map(Some)
        .map_err(|error| bad_request(&error.to_string()))
}

/// Returns `true` if the caller asks to be held while the model loads: Hugging Face's two ways.
fn is_held(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let waits = headers
        .get("x-wait-for-model")
        .is_some_and(|value| value.as_bytes() == b"true");
    waits || headers.contains_key("x-scale-up-timeout")
}

/// Answers a request that cannot be answered otherwise.
fn not_understood(bad: &dialect::BadAsk) -> HttpResponse {
    HttpResponse::BadRequest()
        .content_type("application/json")
        .body(dialect::bad_ask(bad))
}

fn bad_request(message: &str) -> HttpResponse {
    let body = dialect::error(message, "invalid_request_error", None);
    HttpResponse::BadRequest()
        .content_type("application/json")
        .body(body)
}

/// Returns the seconds since 1970 that answers carry.
fn created() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
