//! The HTTP service: its routes, and what operators ask.
//!
//! Calls to models are handed to the stages; everything else is answered here.

mod admin;
mod calls;
mod count_tokens;
mod panics;
mod prompts;
mod request_id;
mod responses;
mod sessions;

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::from_fn,
    web::{self, Data},
};

use crate::{
    settings::ServerSettings,
    surface::{self, messages, openai},
};

pub use crate::state::State;

/// Time that connections get to write out what they hold when the server stops.
const FLUSH_SECS: u64 = 2;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Starts the service; it runs until the handle stops it.
///
/// # Errors
/// When the listener cannot be used.
pub fn start(listener: TcpListener, state: Arc<State>) -> io::Result<ServerHandle> {
    let settings = state.settings.clone();
    let data = Data::from(state);
    serve(listener, &settings, move |config| {
        config.app_data(data.clone());
        routes(config);
    })
}

/// Serves any routes by this service's rules: a handler that panics is answered with 500, a caller that leaves
/// has its handler dropped at once, and connections keep to the settings. Runs until the handle stops it.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    settings: &ServerSettings,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> io::Result<ServerHandle> {
    let app = move || {
        App::new()
            .wrap(from_fn(panics::guard))
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
        .client_disconnect_timeout(Duration::from_secs(1))
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
    let only = |path: &str, route: actix_web::Route| {
        web::resource(path.to_owned())
            .route(route)
            .default_service(web::to(admin::no_such_method))
    };
    config
        .service(only("/v1/chat/completions", calls::post(&openai::CHAT)))
        .service(only("/v1/completions", calls::post(&openai::COMPLETIONS)))
        .service(only("/v1/embeddings", calls::post(&openai::EMBEDDINGS)))
        .service(only("/v1/messages", calls::post(&messages::MESSAGES)))
        .service(only(
            "/v1/messages/count_tokens",
            web::post().to(count_tokens::answer),
        ))
        .service(only(
            "/v1/responses",
            calls::post(&surface::responses::RESPONSES),
        ))
        .service(
            only(
                "/v1/responses/{id:resp_[^/]*}",
                web::get().to(responses::read),
            )
            .route(web::delete().to(responses::remove)),
        )
        .service(
            only("/v1/sessions", web::post().to(sessions::create))
                .route(web::get().to(sessions::list)),
        )
        .service(only(
            "/v1/sessions/{id}/turns",
            web::get().to(sessions::turns),
        ))
        .service(
            only("/v1/sessions/{id}", web::get().to(sessions::read))
                .route(web::post().to(sessions::change))
                .route(web::delete().to(sessions::remove)),
        )
        .service(only("/v1/prompts", web::get().to(prompts::list)))
        .service(only(
            "/v1/prompts/{name}/render",
            web::post().to(prompts::render),
        ))
        .service(only("/v1/models", web::get().to(admin::models)))
        .service(only("/v1/models/{id:.+}", web::get().to(admin::model)))
        .service(only(
            "/backends/{name}/prewarm",
            web::post().to(admin::prewarm),
        ))
        .service(only("/backends/{name}/close", web::post().to(admin::close)))
        .service(only(
            "/backends/{name}/reopen",
            web::post().to(admin::reopen),
        ))
        .service(only("/healthz", web::get().to(admin::healthz)))
        .service(only("/readyz", web::get().to(admin::readyz)))
        .service(only("/metrics", web::get().to(admin::metrics)))
        .service(only("/state", web::get().to(admin::show_state)))
        .default_service(web::to(admin::no_such_path));
}
