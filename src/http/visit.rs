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
    audit_log,
    caller::Caller,
    client_address,
    http::request_id,
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

/// Creates a handler of requests whose key has the scope `call`.
pub(super) fn by_caller<F, Done>(work: F) -> impl Handler<Parts, Output = HttpResponse>
where
    F: Fn(Visit) -> Done + Clone + 'static,
    Done: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    with_scope(Scope::Call, work)
}

/// What actix passes to a handler made here.
type Parts = (HttpRequest, Payload, Data<State>);

/// Creates a handler of requests whose key has a scope.
pub(super) fn with_scope<F, Done>(
    scope: Scope,
    work: F,
) -> impl Handler<Parts, Output = HttpResponse>
where
    F: Fn(Visit) -> Done + Clone + 'static,
    Done: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    move |http: HttpRequest, payload: Payload, state: Data<State>| {
        let work = work.clone();
        async move {
            let settings = state.settings.get();
            let client = client_address::client(http.peer_addr(), http.headers(), &settings);
            let caller = state.callers.of_headers(http.headers());
            let key = caller.as_ref().ok().map(|caller| caller.name.clone());
            let caller = caller.and_then(|caller| caller.require(scope).map(|()| caller));
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
            if audit_log::includes(scope, http.method()) {
                let result = answer.as_ref().map(|answer| answer.status().as_u16());
                let id = request_id::of(&http);
                let key = key.unwrap_or_default();
                audit_log::write(&http, &id, (&key, client), result);
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
