//! The HTTP service: its routes, and what operators ask.
//!
//! Calls to models are handed to the stages; everything else is answered here.

mod admin;
mod browsers;
mod calls;
mod count_tokens;
mod methods;
mod panics;
mod prompts;
mod request_id;
mod responses;
mod sessions;
mod version;

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::{NormalizePath, from_fn},
    web::{self, Data},
};

use crate::{
    settings::ServerSettings,
    surface::{self, messages, openai},
};

pub use crate::state::State;

use methods::{delete, get, only, post};

/// Time that connections get to write out what they hold when the server stops.
const FLUSH_SECS: u64 = 2;
/// Time for which a connection whose body was refused is still read, so that its caller sees the answer. Each keeps a
/// buffer meanwhile. It must be longer than half a second: actix counts from a clock that it reads every 500 ms, and a
/// timer that is due when it is set never fires, so that the connection would stay open.
const LINGER: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Starts the service; it runs until the handle stops it.
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

/// Serves any routes by this service's rules: a handler that panics is answered with 500, a caller that leaves
/// has its handler dropped at once, and connections keep to the settings. Runs until the handle stops it.
///
/// # Errors
/// Returns an error if the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    settings: &ServerSettings,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> io::Result<ServerHandle> {
    let app = move || {
        App::new()
            .wrap(from_fn(panics::guard))
            .wrap(from_fn(version::without_chunks))
            // Clients join a base URL and a path with one slash too many, or end it with one.
            .wrap(NormalizePath::trim())
            .configure(routes.clone())
    };
    let server = HttpServer::new(app)
        .workers(settings.workers)
        .max_connections(settings.connections_max)
        .backlog(BACKLOG)
        .disable_signals()
        .shutdown_timeout(FLUSH_SECS)
        .tcp_nodelay(true)
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

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(only("/v1/chat/completions", calls::post(&openai::CHAT)))
        .service(only("/v1/completions", calls::post(&openai::COMPLETIONS)))
        .service(only("/v1/embeddings", calls::post(&openai::EMBEDDINGS)))
        .service(only("/v1/audio/speech", calls::post(&openai::SPEECH)))
        .service(only(
            "/v1/audio/transcriptions",
            calls::post(&openai::TRANSCRIPTIONS),
        ))
        .service(only(
            "/v1/audio/translations",
            calls::post(&openai::TRANSLATIONS),
        ))
        .service(only("/v1/images/generations", calls::post(&openai::IMAGES)))
        .service(only("/v1/rerank", calls::post(&openai::RERANK)))
        .service(only("/v1/moderations", calls::post(&openai::MODERATIONS)))
        .service(only("/v1/messages", calls::post(&messages::MESSAGES)))
        .service(only(
            "/v1/messages/count_tokens",
            post(count_tokens::answer),
        ))
        .service(only(
            "/v1/responses",
            calls::post(&surface::responses::RESPONSES),
        ))
        .service(
            only("/v1/responses/{id:resp_[^/]*}", get(responses::read))
                .route(delete(responses::remove)),
        )
        .service(only("/v1/sessions", post(sessions::create)).route(get(sessions::list)))
        .service(only("/v1/sessions/{id}/turns", get(sessions::turns)))
        .service(
            only("/v1/sessions/{id}", get(sessions::read))
                .route(post(sessions::change))
                .route(delete(sessions::remove)),
        )
        .service(only("/v1/prompts", get(prompts::list)))
        .service(only("/v1/prompts/{name}/render", post(prompts::render)))
        .service(only("/v1/models", get(admin::models)))
        .service(only("/v1/models/{id:.+}", get(admin::model)))
        .service(only("/backends/{name}/prewarm", post(admin::prewarm)))
        .service(only("/backends/{name}/close", post(admin::close)))
        .service(only("/backends/{name}/reopen", post(admin::reopen)))
        .service(only("/healthz", get(admin::healthz)))
        .service(only("/readyz", get(admin::readyz)))
        .service(only("/metrics", get(admin::metrics)))
        .service(only("/state", get(admin::show_state)))
        .default_service(web::to(admin::no_such_path));
}
