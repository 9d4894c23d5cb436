//! The HTTP service: its routes, and the endpoints of operators.
//!
//! Calls to models are passed to the stages; all other requests are answered here.

mod admin;
mod browsers;
mod calls;
mod count_tokens;
mod files;
mod methods;
mod panics;
mod paths;
mod prompts;
mod request_id;
mod responses;
mod sessions;
mod version;

use std::{any::Any, io, net::TcpListener, sync::Arc, time::Duration};

#[cfg(target_os = "linux")]
use actix_rt::net::TcpStream;
use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::from_fn,
    web::{self, Data},
};
#[cfg(target_os = "linux")]
use socket2::SockRef;

use crate::{
    memory::purge_while_idle,
    settings::ServerSettings,
    surface::{self, messages, openai},
};

pub use crate::state::State;

use methods::{Resource, delete, get, only, post};

/// Seconds for connections to write their remaining data when the server stops.
const FLUSH_SECS: u64 = 2;
/// Time for which a connection whose body was refused is still read, so that its caller sees the answer. Each one uses
/// a buffer meanwhile. It must be longer than half a second: actix uses a clock that it reads every 500 ms, and a
/// timer that is due when it is set never fires, so the connection would stay open.
const LINGER: Duration = Duration::from_secs(1);
/// The number of connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Starts the service, which runs until the handle stops it.
///
/// # Errors
/// Returns an error if the listener cannot be used.
pub fn start(listener: TcpListener, state: Arc<State>) -> io::Result<ServerHandle> {
    let settings = state.settings.clone();
    let data = Data::from(state);
    serve(listener, &settings, move |config| {
        config.app_data(data.clone());
        let guarded = web::scope("").wrap(from_fn(browsers::guard));
        config.service(guarded.configure(routes));
    })
}

/// Serves any routes with the rules of this service: a handler that panics is answered with 500, the handler of a
/// caller that disconnects is dropped at once, and connections are bounded by the settings. It runs until the handle
/// stops it.
///
/// # Errors
/// Returns an error if the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    settings: &ServerSettings,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> io::Result<ServerHandle> {
    let app = move || {
        actix_rt::spawn(purge_while_idle());
        App::new()
            .wrap(from_fn(panics::guard))
            .wrap(from_fn(version::without_chunks))
            .wrap(paths::Normalize)
            .configure(routes.clone())
    };
    let write_timeout = settings.write_timeout.0;
    let server = HttpServer::new(app)
        .workers(settings.workers)
        .max_connections(settings.connections_max)
        .backlog(BACKLOG)
        .disable_signals()
        .shutdown_timeout(FLUSH_SECS)
        .tcp_nodelay(true)
        .on_connect(move |socket, _| bound_writes(socket, write_timeout))
        // A caller who closes its half wants no answer any more: its call must be cancelled at once.
        .h1_allow_half_closed(false)
        .keep_alive(settings.keep_alive.0)
        .client_request_timeout(settings.request_timeout.0)
        .client_disconnect_timeout(LINGER)
        .listen(listener)?
        .run();
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the server ended");
        }
    });
    Ok(handle)
}

/// Has the kernel close a connection whose caller takes nothing of what was written for `timeout`. An answer's body is not
/// asked for more while the connection is full, so nothing above the socket sees that no byte moves; that the
/// connection is closed drops the body, which counts the call and gives back its memory.
#[cfg(target_os = "linux")]
fn bound_writes(socket: &dyn Any, timeout: Duration) {
    let Some(socket) = socket.downcast_ref::<TcpStream>() else {
        return;
    };
    if let Err(error) = SockRef::from(socket).set_tcp_user_timeout(Some(timeout)) {
        tracing::debug!(%error, "a connection has no write timeout");
    }
}

/// Other systems have no such option.
#[cfg(not(target_os = "linux"))]
fn bound_writes(_: &dyn Any, _: Duration) {}

fn routes(config: &mut web::ServiceConfig) {
    let operations = operations();
    for operation in &operations {
        config.service(operation.own());
    }
    for operation in operations {
        config.service(operation.aliases());
    }
    config.default_service(web::to(admin::no_such_path));
}

/// The operations, each with its methods.
fn operations() -> Vec<Resource> {
    vec![
        only("/v1/chat/completions", calls::post(&openai::CHAT)),
        only("/v1/completions", calls::post(&openai::COMPLETIONS)),
        only("/v1/embeddings", calls::post(&openai::EMBEDDINGS)),
        only("/v1/audio/speech", calls::post(&openai::SPEECH)),
        only(
            "/v1/audio/transcriptions",
            calls::post(&openai::TRANSCRIPTIONS),
        ),
        only("/v1/audio/translations", calls::post(&openai::TRANSLATIONS)),
        only("/v1/images/generations", calls::post(&openai::IMAGES)),
        only("/v1/rerank", calls::post(&openai::RERANK)),
        only("/v1/moderations", calls::post(&openai::MODERATIONS)),
        only("/v1/messages", calls::post(&messages::MESSAGES)),
        only("/v1/messages/count_tokens", post(count_tokens::answer)),
        only("/v1/responses", calls::post(&surface::responses::RESPONSES)),
        only("/v1/responses/{id:resp_[^/]*}", get(responses::read))
            .route(delete(responses::remove)),
        only("/v1/files", post(files::upload)).route(get(files::files)),
        only("/v1/files/{id}", get(files::file)).route(delete(files::remove)),
        only("/v1/files/{id}/content", get(files::content)),
        only("/v1/batches", post(files::create)).route(get(files::batches)),
        only("/v1/batches/{id}", get(files::batch)),
        only("/v1/batches/{id}/cancel", post(files::cancel)),
        only("/v1/sessions", post(sessions::create)).route(get(sessions::list)),
        only("/v1/sessions/{id}/turns", get(sessions::turns)),
        only("/v1/sessions/{id}", get(sessions::read))
            .route(post(sessions::change))
            .route(delete(sessions::remove)),
        only("/v1/prompts", get(prompts::list)),
        only("/v1/prompts/{name}/render", post(prompts::render)),
        only("/v1/models", get(admin::models)),
        only("/v1/models/{id:.+}", get(admin::model)),
        only("/backends/{name}/prewarm", post(admin::prewarm)),
        only("/backends/{name}/close", post(admin::close)),
        only("/backends/{name}/reopen", post(admin::reopen)),
        only("/healthz", get(admin::healthz)),
        only("/readyz", get(admin::readyz)),
        only("/metrics", get(admin::metrics)),
        only("/state", get(admin::show_state)),
    ]
}
