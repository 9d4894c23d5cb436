//! The frame of the handlers that answer by themselves: identify the caller, do the work, write the answer or the error.

use std::{future::Future, sync::Arc};

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse,
    http::{Method, header::HeaderMap},
    web::{Data, Path, Payload, Query},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::{
    audit_log::{self, Actor},
    caller::Caller,
    client_address,
    gateway::behalf::Behalf,
    http::request_id,
    routes::Route,
    settings::server::Scope,
    state::State,
    surface::{self, error::ApiError},
};

/// One request of a caller whose key has the required scope.
pub(super) struct Visit {
    pub(super) http: HttpRequest,
    pub(super) state: Data<State>,
    pub(super) caller: Arc<Caller>,
    /// `None` once the body is read.
    payload: Option<Payload>,
}

impl Visit {
    /// Returns the owner of what the caller creates.
    pub(super) fn owner(&self) -> &str {
        &self.caller.owner
    }

    /// Returns the behalf of what is asked of models for the request.
    pub(super) fn behalf(&self) -> Behalf {
        self.caller.behalf(&request_id::of(&self.http), None)
    }

    /// Writes an access to what the caller's tenant keeps, if accesses are written.
    #[cfg(feature = "mcp")]
    pub(super) fn accessed(&self, access: &audit_log::Access<'_>, status: u16) {
        let settings = self.state.settings.get();
        let id = request_id::of(&self.http);
        let actor = Actor {
            request: &id,
            key: &self.caller.name,
            tenant: &self.caller.tenant,
            client: client_address::client(self.http.peer_addr(), self.headers(), &settings),
        };
        audit_log::access(&actor, access, Some(status), "");
    }

    /// Has the caller pay for what the request begins and what goes on in the background.
    pub(super) fn pays(&self) {
        self.state.callers.uses(&self.caller);
    }

    /// Checks that the caller may call a model or a route; returns its own name. A key may use a route if it names the route or one of its
    /// models.
    ///
    /// # Errors
    /// Returns a 404 for a name that is neither, and a 403 for one that the key may not call.
    pub(super) fn require_model(&self, name: &str) -> Result<String, ApiError> {
        require_model(&self.state, &self.caller, name)
    }

    /// Returns `true` if the caller may use a route.
    pub(super) fn may_use(&self, route: &Route) -> bool {
        may_use(&self.caller, route)
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.http.headers()
    }

    pub(super) fn method(&self) -> &Method {
        self.http.method()
    }

    /// Returns the one parameter in the path; empty if it is not UTF-8.
    pub(super) fn parameter(&self) -> String {
        let path = Path::<String>::extract(&self.http).into_inner();
        path.map(Path::into_inner).unwrap_or_default()
    }

    /// Returns one of several parameters in the path; empty if it is not there.
    pub(super) fn named_parameter(&self, name: &str) -> String {
        let parameters = self.http.match_info();
        parameters.get(name).unwrap_or_default().to_owned()
    }

    /// Takes the body to read it in parts; `None` if it is read already.
    pub(super) fn payload(&mut self) -> Option<Payload> {
        self.payload.take()
    }

    /// Reads the query.
    ///
    /// # Errors
    /// Returns a 400 if it does not fit.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let query = Query::from_query(self.http.query_string());
        query.map(Query::into_inner).map_err(|error| {
            let text = error.to_string();
            let reason = text.strip_prefix("Query deserialize error: ");
            let message = format!("the query is not valid: {}", reason.unwrap_or(&text));
            ApiError::bad_request(None, message)
        })
    }

    /// Reads the body within the bounds of the settings. A second call returns an empty body.
    ///
    /// # Errors
    /// See [`Bodies::read`](crate::bodies::Bodies::read).
    pub(super) async fn body(&mut self) -> Result<Bytes, ApiError> {
        self.body_of_at_most(usize::MAX).await
    }

    /// Reads a body of at most `size_max` bytes.
    ///
    /// # Errors
    /// See [`Bodies::read_at_most`](crate::bodies::Bodies::read_at_most).
    pub(super) async fn body_of_at_most(&mut self, size_max: usize) -> Result<Bytes, ApiError> {
        match self.payload.take() {
            Some(payload) => {
                let bodies = &self.state.bodies;
                bodies
                    .read_at_most(size_max, self.http.headers(), payload)
                    .await
            }
            None => Ok(Bytes::new()),
        }
    }
}

/// Checks that a caller may call a model or a route, as [`Visit::require_model`] does.
pub(super) fn require_model(
    state: &State,
    caller: &Caller,
    name: &str,
) -> Result<String, ApiError> {
    if let Some(route) = state.routes.of(name) {
        let refused = || ApiError::model_not_allowed(name);
        let may = may_use(caller, &route);
        return may.then(|| name.to_owned()).ok_or_else(refused);
    }
    let model = state.gateway.canonical(name);
    let model = model.ok_or_else(|| ApiError::unknown_model(name))?;
    caller.require_model(&model)?;
    Ok(model)
}

fn may_use(caller: &Caller, route: &Route) -> bool {
    let mut models = route.router().models();
    caller.may_call(route.name()) || models.any(|model| caller.may_call(model))
}

/// Creates a handler of requests whose key has the scope `call`.
pub(super) fn by_caller<F, Done>(work: F) -> impl Handler<Parts, Output = HttpResponse>
where
    F: Fn(Visit) -> Done + Clone + 'static,
    Done: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    with_scope(Scope::Call, work)
}

/// Creates a handler of requests whose key has a scope.
pub(super) fn with_scope<F, Done>(
    scope: Scope,
    work: F,
) -> impl Handler<Parts, Output = HttpResponse>
where
    F: Fn(Visit) -> Done + Clone + 'static,
    Done: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    handler(move |caller| caller.require(scope), scope, work)
}

/// Creates a handler of requests whose key has at least one of several scopes. Changes are audited by the first one.
pub(super) fn with_one_of<F, Done>(
    [first, second]: [Scope; 2],
    work: F,
) -> impl Handler<Parts, Output = HttpResponse>
where
    F: Fn(Visit) -> Done + Clone + 'static,
    Done: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    let is_let_in = move |caller: &Caller| {
        let refused = caller.require(first).err();
        match refused {
            Some(_) if caller.require(second).is_ok() => Ok(()),
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    };
    handler(is_let_in, first, work)
}

/// What actix passes to a handler made here.
type Parts = (HttpRequest, Payload, Data<State>);

/// Creates a handler of requests whose caller is let in.
fn handler<F, Done>(
    is_let_in: impl Fn(&Caller) -> Result<(), ApiError> + Clone + 'static,
    scope: Scope,
    work: F,
) -> impl Handler<Parts, Output = HttpResponse>
where
    F: Fn(Visit) -> Done + Clone + 'static,
    Done: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    move |http: HttpRequest, payload: Payload, state: Data<State>| {
        let (work, is_let_in) = (work.clone(), is_let_in.clone());
        async move {
            let settings = state.settings.get();
            let client = client_address::client(http.peer_addr(), http.headers(), &settings);
            let caller = state.callers.of_headers(http.headers());
            let known = caller.as_ref().ok().cloned();
            let (key, tenant) = known
                .as_ref()
                .map_or(("", ""), |caller| (&caller.name, &caller.tenant));
            let id = request_id::of(&http);
            let actor = Actor {
                request: &id,
                key,
                tenant,
                client,
            };
            let mut access = audit_log::Begun::new(actor, &http);
            let caller = caller.and_then(|caller| is_let_in(&caller).map(|()| caller));
            let answer = match caller {
                Ok(caller) => {
                    let visit = Visit {
                        http: http.clone(),
                        state,
                        caller,
                        payload: Some(payload),
                    };
                    work(visit).await
                }
                Err(error) => Err(error),
            };
            let result = answer.as_ref().map(|answer| answer.status().as_u16());
            access.end(result);
            drop(access);
            if audit_log::includes(scope, http.method()) {
                audit_log::write(&http, &actor, result);
            }
            respond(&http, answer)
        }
    }
}

/// Returns the response, or the response of the error.
pub(super) fn respond(http: &HttpRequest, result: Result<HttpResponse, ApiError>) -> HttpResponse {
    result.unwrap_or_else(|error| {
        let id = request_id::of(http);
        if let Some(detail) = error.detail() {
            tracing::warn!(request = %id, reason = error.reason(), detail, "a request failed");
        }
        let surface = surface::of_path(http.path());
        error.response(surface, &id, fastrand::f64())
    })
}
