//! The HTTP service: its routes, and the endpoints of operators.
//!
//! Calls to models are passed to the stages; all other requests are answered here.

mod accept;
mod admin;
mod agents;
mod alerts;
mod backends;
mod browsers;
mod cache;
mod calls;
mod connection;
mod count_tokens;
mod events;
mod expect;
mod files;
mod functions;
mod groups;
mod h2;
mod jobs;
mod json_body;
mod kept;
mod keys;
#[cfg(feature = "lab")]
mod lab;
mod list_query;
mod live;
#[cfg(feature = "mcp")]
mod mcp;
mod methods;
mod own_batches;
mod own_files;
mod page;
mod panics;
mod paths;
mod privacy;
mod prompts;
mod reload;
mod request_id;
mod responses;
mod sessions;
mod unread;
mod vector_stores;
mod version;
mod visit;

use std::{io, net::TcpListener, rc::Rc, sync::Arc, time::Duration};

use actix_http::{HttpService, Request};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_factory, map_config,
};
use actix_web::{
    App,
    dev::{AppConfig, Server, ServerHandle},
    middleware::from_fn,
    web::{self, Data},
};

use crate::{
    memory::purge_while_idle,
    settings::{ServerSettings, server::Scope},
    surface,
    tls::Certificates,
};

pub use crate::state::State;

use accept::{Accept, Tls};
use h2::{Bounds, H2};
use methods::{Resource, delete, get, only, post};
use visit::{by_caller, with_one_of, with_scope};

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
    let settings = state.settings.get();
    let certificates = state.certificates.clone();
    let data = Data::from(Arc::clone(&state));
    #[cfg(feature = "lab")]
    let loads = Data::new(lab::Loads::new(listener.local_addr()?));
    let is_admitted = move |request: &Request| expect::is_admitted(request, &state);
    let settings = (&*settings, certificates);
    serve_admitted(listener, settings, is_admitted, move |config| {
        config.app_data(data.clone());
        #[cfg(feature = "lab")]
        config.app_data(loads.clone());
        let guarded = web::scope("").wrap(from_fn(browsers::guard));
        config.service(guarded.configure(routes));
    })
}

/// Serves any routes without TLS, with the rules of this service: a handler that panics is answered with 500, the handler of a
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
    serve_admitted(listener, (settings, None), |_| true, routes)
}

/// As [`serve`], with TLS if there are certificates. A caller that waits for `100 Continue` gets it only if `is_admitted`
/// returns `true` for its request.
fn serve_admitted(
    listener: TcpListener,
    (settings, certificates): (&ServerSettings, Option<Arc<Certificates>>),
    is_admitted: impl Fn(&Request) -> bool + Clone + Send + 'static,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> io::Result<ServerHandle> {
    let bounds = settings.clone();
    let server = Server::build();
    let stopping = server.graceful_shutdown_signal();
    let service = move || {
        actix_rt::spawn(purge_while_idle());
        let routes = routes.clone();
        let app = move || {
            let app = App::new()
                .wrap(from_fn(panics::guard))
                .wrap(from_fn(version::without_chunks))
                .wrap(paths::Normalize)
                .configure(routes.clone())
                .into_factory()
                .map_err(|error: actix_web::Error| error.error_response());
            map_config(app, |()| AppConfig::default())
        };
        let is_admitted = is_admitted.clone();
        let expected = apply_fn_factory(app(), move |request: Request, app: &_| {
            let is_admitted = is_admitted(&request);
            expect::admit(request, is_admitted, app)
        });
        let stopping = stopping.clone();
        let stopping = move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        };
        let http1 = HttpService::build()
            .graceful_shutdown_signal(stopping.clone())
            // A caller who closes its half wants no answer any more: its call must be cancelled at once.
            .h1_allow_half_closed(false)
            .keep_alive(bounds.keep_alive.0)
            .client_request_timeout(bounds.request_timeout.0)
            .client_disconnect_timeout(LINGER)
            .expect(expected)
            .finish(apply_fn_factory(app(), unread::serve));
        let (bounds, certificates) = (bounds.clone(), certificates.clone());
        fn_factory(move || {
            let http1 = http1.new_service(());
            let tls = certificates
                .clone()
                .map(|certificates| (certificates, app().new_service(())));
            let (bounds, stopping) = (bounds.clone(), stopping.clone());
            async move {
                let tls = match tls {
                    None => None,
                    Some((certificates, app)) => Some(Tls {
                        certificates,
                        h2: Rc::new(H2::new(
                            app.await?,
                            Bounds::from(&bounds),
                            Rc::new(move || Box::pin(stopping())),
                        )),
                        handshake_timeout: bounds.request_timeout.0,
                    }),
                };
                Ok::<_, ()>(Accept::new(http1.await?, tls, bounds.write_timeout.0))
            }
        })
    };
    let server = server
        .workers(settings.workers)
        .max_concurrent_connections(settings.connections_max)
        .backlog(BACKLOG)
        .disable_signals()
        .shutdown_timeout(FLUSH_SECS)
        .listen("kebne", listener, service)?;
    Ok(run(server.run()))
}

/// Runs the server in a task of its own.
fn run(server: Server) -> ServerHandle {
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the server ended");
        }
    });
    handle
}

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
    let mut operations = calls_to_models();
    operations.extend(queued_calls());
    operations.extend(agents());
    operations.extend(kept_objects());
    operations.extend(session_memory());
    operations.extend(collections());
    operations.extend(privacy());
    operations.extend(prompts());
    operations.extend(service());
    operations.extend(backend_administration());
    operations.extend(function_administration());
    #[cfg(feature = "mcp")]
    operations.extend(mcp_servers());
    operations.extend(key_administration());
    operations.extend(group_administration());
    #[cfg(feature = "lab")]
    operations.extend(simulated());
    operations
}

fn calls_to_models() -> Vec<Resource> {
    let operations = surface::OPERATIONS.into_iter();
    let calls = operations.map(|(path, surface)| only(path, calls::post((path, surface))));
    let others = [
        only("/v1/route", calls::explain()),
        only("/v1/functions", get(by_caller(functions::list))),
        only("/v1/functions/{function}", calls::call_function())
            .route(get(by_caller(functions::read))),
    ];
    calls.chain(others).collect()
}

/// The operations on calls that are carried out as jobs.
fn queued_calls() -> Vec<Resource> {
    vec![
        only("/v1/jobs", post(by_caller(jobs::create))).route(get(by_caller(jobs::list))),
        only("/v1/jobs/{id}", get(by_caller(jobs::read))),
        only("/v1/jobs/{id}/response", get(by_caller(jobs::response))),
        only("/v1/jobs/{id}/cancel", post(by_caller(jobs::cancel))),
        only("/v1/jobs/{id}/events", get(by_caller(jobs::events::follow))),
    ]
}

/// The operations on agents and their runs.
fn agents() -> Vec<Resource> {
    use agents::{events, runs};
    vec![
        only("/v1/agents", post(by_caller(agents::create))).route(get(by_caller(agents::list))),
        only("/v1/agents/{name}", get(by_caller(agents::read)))
            .route(post(by_caller(agents::change)))
            .route(delete(by_caller(agents::remove))),
        only("/v1/agents/{name}/runs", post(by_caller(runs::create)))
            .route(get(by_caller(runs::list))),
        only("/v1/agents/{name}/runs/{run}", get(by_caller(runs::read))),
        only(
            "/v1/agents/{name}/runs/{run}/events",
            get(by_caller(events::follow)),
        ),
        only(
            "/v1/agents/{name}/runs/{run}/cancel",
            post(by_caller(runs::cancel)),
        ),
        only(
            "/v1/agents/{name}/runs/{run}/approvals/{call}",
            post(by_caller(runs::decide)),
        ),
    ]
}

/// The operations on what callers keep here or at a backend.
fn kept_objects() -> Vec<Resource> {
    vec![
        only(
            "/v1/responses/{id:resp_[^/]*}",
            get(by_caller(responses::read)),
        )
        .route(delete(by_caller(responses::remove))),
        only("/v1/files", post(by_caller(files::upload))).route(get(by_caller(files::files))),
        only("/v1/files/{id}", get(by_caller(files::file))).route(delete(by_caller(files::remove))),
        only("/v1/files/{id}/content", get(by_caller(files::content))),
        only("/v1/batches", post(by_caller(files::create))).route(get(by_caller(files::batches))),
        only("/v1/batches/{id}", get(by_caller(files::batch))),
        only("/v1/batches/{id}/cancel", post(by_caller(files::cancel))),
        only("/v1/sessions", post(by_caller(sessions::create)))
            .route(get(by_caller(sessions::list))),
        only("/v1/cache", get(by_caller(cache::list))).route(delete(by_caller(cache::erase))),
        only("/v1/sessions/export", get(by_caller(sessions::export::all))),
        only(
            "/v1/sessions/import",
            post(by_caller(sessions::import::import)),
        ),
        only("/v1/sessions/{id}/turns", get(by_caller(sessions::turns))),
        only("/v1/sessions/{id}", get(by_caller(sessions::read)))
            .route(post(by_caller(sessions::change)))
            .route(delete(by_caller(sessions::remove))),
    ]
}

/// The operations on what is kept beside the turns of a session, and on its branches.
fn session_memory() -> Vec<Resource> {
    use sessions::{export, notes};
    vec![
        only("/v1/sessions/{id}/facts", get(by_caller(notes::facts)))
            .route(post(by_caller(notes::add_fact))),
        only(
            "/v1/sessions/{id}/facts/{fact}",
            get(by_caller(notes::fact)),
        )
        .route(post(by_caller(notes::set_fact)))
        .route(delete(by_caller(notes::remove_fact))),
        only(
            "/v1/sessions/{id}/summaries",
            get(by_caller(notes::summaries)),
        )
        .route(delete(by_caller(notes::remove_summaries))),
        only("/v1/sessions/{id}/search", post(by_caller(notes::search))),
        only("/v1/sessions/{id}/fork", post(by_caller(notes::fork))),
        only("/v1/sessions/{id}/rewind", post(by_caller(notes::rewind))),
        only("/v1/sessions/{id}/export", get(by_caller(export::one))),
    ]
}

/// The operations on collections of documents.
fn collections() -> Vec<Resource> {
    use vector_stores::{batches, documents, members, search, stores};
    vec![
        only("/v1/vector_stores", post(by_caller(stores::create)))
            .route(get(by_caller(stores::list))),
        only("/v1/vector_stores/{id}", get(by_caller(stores::read)))
            .route(post(by_caller(stores::change)))
            .route(delete(by_caller(stores::remove))),
        only(
            "/v1/vector_stores/{id}/search",
            post(by_caller(search::search)),
        ),
        only(
            "/v1/vector_stores/{id}/documents",
            post(by_caller(documents::import)),
        ),
        only(
            "/v1/vector_stores/{id}/files",
            post(by_caller(members::add)),
        )
        .route(get(by_caller(members::list))),
        only(
            "/v1/vector_stores/{id}/files/{file}",
            get(by_caller(members::read)),
        )
        .route(post(by_caller(members::change)))
        .route(delete(by_caller(members::remove))),
        only(
            "/v1/vector_stores/{id}/file_batches",
            post(by_caller(batches::create)),
        ),
        only(
            "/v1/vector_stores/{id}/file_batches/{batch}",
            get(by_caller(batches::read)),
        ),
        only(
            "/v1/vector_stores/{id}/file_batches/{batch}/cancel",
            post(by_caller(batches::cancel)),
        ),
        only(
            "/v1/vector_stores/{id}/file_batches/{batch}/files",
            get(by_caller(batches::files)),
        ),
        only(
            "/v1/vector_stores/{id}/files/{file}/content",
            get(by_caller(members::content)),
        ),
    ]
}

/// The operations on prompts.
fn prompts() -> Vec<Resource> {
    vec![
        only("/v1/prompts", get(by_caller(prompts::list)))
            .route(post(with_scope(Scope::Admin, prompts::create))),
        only(
            "/v1/prompts/{name}",
            get(with_scope(Scope::ReadState, prompts::show)),
        )
        .route(post(with_scope(Scope::Admin, prompts::change)))
        .route(delete(with_scope(Scope::Admin, prompts::remove))),
        only(
            "/v1/prompts/{name}/versions",
            get(with_scope(Scope::Admin, prompts::versions)),
        ),
        only(
            "/v1/prompts/{name}/history",
            get(with_scope(Scope::Admin, prompts::history)),
        ),
        only(
            "/v1/prompts/{name}/render",
            post(by_caller(prompts::render)),
        ),
        only(
            "/v1/prompts/{name}/outcomes",
            post(by_caller(prompts::report)),
        ),
    ]
}

/// What is kept of a tenant, and its erasure.
fn privacy() -> Vec<Resource> {
    vec![
        only("/v1/privacy/data", get(by_caller(privacy::show)))
            .route(delete(by_caller(privacy::erase))),
        only("/v1/privacy/export", get(by_caller(privacy::export))),
        only("/v1/privacy/verify", post(by_caller(privacy::verify))),
    ]
}

/// The administration of backends.
fn backend_administration() -> Vec<Resource> {
    vec![
        only(
            "/admin/v1/reload",
            post(with_scope(Scope::Admin, reload::reload)),
        ),
        only(
            "/admin/v1/cache",
            get(with_scope(Scope::ReadState, cache::list_all)),
        )
        .route(delete(with_scope(Scope::Admin, cache::erase_all))),
        only(
            "/admin/v1/backends",
            get(with_scope(Scope::ReadState, backends::list)),
        ),
        only(
            "/admin/v1/backends/{name}",
            get(with_scope(Scope::ReadState, backends::read)),
        ),
        only(
            "/admin/v1/backends/{name}/drain",
            post(with_scope(Scope::Admin, backends::drain)),
        ),
        only(
            "/admin/v1/backends/{name}/disable",
            post(with_scope(Scope::Admin, backends::disable)),
        ),
        only(
            "/admin/v1/backends/{name}/reopen",
            post(with_scope(Scope::Admin, backends::enable)),
        ),
        only(
            "/admin/v1/backends/{name}/prewarm",
            post(with_scope(Scope::Admin, backends::prewarm)),
        ),
        only(
            "/admin/v1/backends/{name}/load",
            post(with_scope(Scope::Admin, backends::load)),
        ),
        only(
            "/admin/v1/backends/{name}/unload",
            post(with_scope(Scope::Admin, backends::unload)),
        ),
        only(
            "/admin/v1/decisions",
            get(with_scope(Scope::ReadState, backends::decisions)),
        ),
        only(
            "/admin/v1/servers",
            get(with_scope(Scope::ReadState, backends::servers)),
        ),
    ]
}

/// The events that could not be delivered to functions.
fn function_administration() -> Vec<Resource> {
    vec![
        only(
            "/admin/v1/functions/{name}/dead-letters",
            get(with_scope(Scope::Admin, functions::letters)),
        )
        .route(delete(with_scope(Scope::Admin, functions::remove_letters))),
        only(
            "/admin/v1/functions/{name}/dead-letters/deliver",
            post(with_scope(Scope::Admin, functions::deliver_again)),
        ),
    ]
}

/// The endpoint of the Model Context Protocol, and the administration of its servers.
#[cfg(feature = "mcp")]
fn mcp_servers() -> Vec<Resource> {
    vec![
        only("/mcp", post(by_caller(mcp::answer))),
        only("/mcp/{name}", post(by_caller(mcp::answer_in_part))),
        only(
            "/admin/v1/mcp-servers",
            get(with_scope(Scope::ReadState, mcp::admin::list)),
        ),
        only(
            "/admin/v1/mcp-servers/{name}",
            get(with_scope(Scope::ReadState, mcp::admin::read)),
        ),
        only(
            "/admin/v1/mcp-servers/{name}/approve",
            post(with_scope(Scope::Admin, mcp::admin::approve)),
        ),
    ]
}

/// The operations on simulated models.
#[cfg(feature = "lab")]
fn simulated() -> Vec<Resource> {
    vec![
        only(
            "/lab/{backend}/cold-start",
            post(with_scope(Scope::Admin, lab::cold_start)),
        ),
        only(
            "/lab/{backend}/overload",
            post(with_scope(Scope::Admin, lab::overload)),
        ),
        only(
            "/lab/{backend}/hang",
            post(with_scope(Scope::Admin, lab::hang)),
        ),
    ]
}

/// The administration of keys.
fn key_administration() -> Vec<Resource> {
    vec![
        only(
            "/admin/v1/keys",
            post(with_scope(Scope::Admin, keys::create)),
        )
        .route(get(with_scope(Scope::Admin, keys::list))),
        only(
            "/admin/v1/keys/{id}",
            get(with_scope(Scope::Admin, keys::show)),
        )
        .route(post(with_scope(Scope::Admin, keys::change)))
        .route(delete(with_scope(Scope::Admin, keys::revoke))),
        only(
            "/admin/v1/keys/{id}/rotate",
            post(with_scope(Scope::Admin, keys::rotate)),
        ),
        only(
            "/admin/v1/keys/{id}/usage",
            get(with_scope(Scope::Admin, keys::usage)),
        ),
    ]
}

/// The administration of groups of keys.
fn group_administration() -> Vec<Resource> {
    vec![
        only(
            "/admin/v1/groups",
            post(with_scope(Scope::Admin, groups::create)),
        )
        .route(get(with_scope(Scope::Admin, groups::list))),
        only(
            "/admin/v1/groups/{name}",
            get(with_scope(Scope::Admin, groups::show)),
        )
        .route(post(with_scope(Scope::Admin, groups::change)))
        .route(delete(with_scope(Scope::Admin, groups::remove))),
        only(
            "/admin/v1/groups/{name}/usage",
            get(with_scope(Scope::Admin, groups::usage)),
        ),
    ]
}

/// The operations on the service itself.
fn service() -> Vec<Resource> {
    vec![
        only(
            "/v1/messages/count_tokens",
            post(by_caller(count_tokens::answer)),
        ),
        only(
            "/v1/alerts",
            get(with_scope(Scope::ReadState, alerts::list)),
        ),
        only(
            "/v1/alerts/actions/{id}/undo",
            post(with_scope(Scope::Admin, alerts::undo)),
        ),
        only("/v1/models", get(by_caller(admin::models))),
        only("/v1/models/{id:.+}", get(by_caller(admin::model))),
        only(
            "/backends/{name}/prewarm",
            post(with_scope(Scope::Admin, backends::prewarm)),
        ),
        only(
            "/backends/{name}/close",
            post(with_scope(Scope::Admin, backends::close)),
        ),
        only(
            "/backends/{name}/reopen",
            post(with_scope(Scope::Admin, backends::reopen)),
        ),
        only("/", get(page::index)),
        only("/page/{file}", get(page::part)),
        only("/live", get(with_scope(Scope::ReadState, live::follow))),
        only(
            "/events",
            get(with_one_of([Scope::Call, Scope::ReadState], events::follow)),
        ),
        only("/healthz", get(admin::healthz)),
        only("/readyz", get(admin::readyz)),
        only(
            "/metrics",
            get(with_scope(Scope::ReadState, admin::metrics)),
        ),
        only(
            "/state",
            get(with_scope(Scope::ReadState, admin::show_state)),
        ),
    ]
}

#[cfg(test)]
mod tests;
