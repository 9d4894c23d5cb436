//! Determines the resources of a call before its body is parsed: its share, its deadline, its session and its memory.

use std::sync::Arc;

use actix_web::{
    http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
    web::Data,
};
use bytes::Bytes;
use kebne_cache::Directives;
use kebne_context::store::Session;
use kebne_wire::{
    encoding::{EncodingError, decode},
    request::naming_model,
};

use crate::{
    caller::Caller,
    stages::{
        Body, Call, Stage,
        authenticate::Known,
        deadline::{self, Deadline},
        dry_run,
        share::{self, Share},
        trace, turn,
    },
    state::State,
    surface::error::ApiError,
    via,
};

/// Admits a call, or ends it before its body uses resources.
pub(super) struct Admit<'a> {
    state: &'a Data<State>,
}

/// An admitted call with its whole body.
pub(super) struct Admitted {
    pub(super) call: Call,
    pub(super) caller: Arc<Caller>,
    pub(super) share: Share,
    pub(super) deadline: Deadline,
    /// The session of the call.
    pub(super) session: Option<Session>,
    /// The prompt that the call names.
    pub(super) prompt: Option<String>,
    /// The ids of the collections in which the call is to search.
    pub(super) collections: Vec<String>,
    /// What the caller requires of the cache.
    pub(super) directives: Directives,
    /// The number of older turns of the session to recall, if the call sets it.
    pub(super) recall: Option<usize>,
    /// The content type of the body.
    pub(super) content_type: Option<String>,
    /// The headers that conditions of routes name.
    pub(super) routed_by: Vec<(String, String)>,
    /// The headers that are sent to the backend with the call.
    pub(super) forwarded: Option<Arc<http::HeaderMap>>,
    pub(super) body: Bytes,
    /// The model in the path, as in Azure's paths, or the function; the body need not name one.
    pub(super) deployment: Option<String>,
}

impl<'a> Admit<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }
}

impl Stage for Admit<'_> {
    type In = Known;
    type Out = Admitted;

    async fn run(&self, known: Known) -> Result<Admitted, ApiError> {
        let Known {
            call,
            caller,
            mut arrival,
        } = known;
        let body = std::mem::replace(&mut arrival.body, Body::Here(Bytes::new()));
        let headers = arrival.headers();
        if via::names_this_process(headers) {
            return Err(ApiError::loop_detected());
        }
        self.state.bodies.check(headers)?;
        let share = share::of(headers, &caller)?;
        let named = share::named_tenant(headers)?;
        call.notes.set_tenant(&caller.tenant, named);
        let deadline = deadline::of(headers, &self.state.settings.get())?;
        if dry_run::is_wanted(headers)? {
            call.notes.set_dry_run();
        }
        let wanted = turn::wanted(headers, call.surface)?;
        if let Some(id) = wanted.session {
            call.notes.accessed("sessions", id);
        }
        let session = match wanted.session {
            None => None,
            Some(id) => Some(self.state.context.open(&caller.owner, id).await?),
        };
        let prompt = wanted.prompt.map(str::to_owned);
        let directives = directives(headers);
        let (collections, recall) = (wanted.collections, wanted.recall);
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|name| name.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        let routed_by = self.state.routes.headers_of(headers);
        let forwarded = trace::forwarded(headers, call.notes.span());
        let deployment = arrival.named();
        // The path is decoded but for its slashes.
        let deployment = deployment.map(|name| name.replace("%2F", "/").replace("%2f", "/"));
        let encoding = headers.get(CONTENT_ENCODING).cloned();
        let body = match body {
            Body::Coming(payload) => self.state.bodies.read(headers, payload).await?,
            Body::Here(body) => body,
        };
        let body = match encoding {
            Some(encoding) => self.decoded(&encoding, body).await?,
            None => body,
        };
        let body = match &deployment {
            Some(model) if !call.surface.calls_functions() => naming_model(body, model),
            _ => body,
        };
        Ok(Admitted {
            call,
            caller,
            share,
            deadline,
            session,
            prompt,
            collections,
            directives,
            recall,
            content_type,
            routed_by,
            forwarded,
            body,
            deployment,
        })
    }
}

/// Returns what the caller requires of the cache. Several headers count as one.
fn directives(headers: &HeaderMap) -> Directives {
    let values = headers.get_all(CACHE_CONTROL);
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    Directives::read(&values.join(","))
}

impl Admit<'_> {
    /// Decodes a compressed body within the bound of bodies. Large bodies are decoded on a thread beside the event
    /// loop.
    async fn decoded(&self, encoding: &HeaderValue, body: Bytes) -> Result<Bytes, ApiError> {
        let limit = self.state.settings.get().body_size_max.as_usize();
        let encoding = encoding.to_str().unwrap_or("?").to_owned();
        let (size, work) = (body.len(), move || decode(&encoding, body, limit));
        let decoded = self.state.off_loop.read(size, work).await?;
        let decoded = decoded.map_err(|error| match error {
            EncodingError::TooLarge(_) => ApiError::too_large(limit),
            EncodingError::Unknown(_) => ApiError::unsupported_encoding(error.to_string()),
            EncodingError::Damaged(_) | EncodingError::Incomplete(_) => {
                ApiError::bad_request(None, error.to_string())
            }
        })?;
        self.state.bodies.hold(decoded)
    }
}
