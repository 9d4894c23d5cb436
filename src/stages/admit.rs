//! Determines the resources of a call before its body is parsed: its share, its deadline, its session and its memory.

use std::sync::Arc;

use actix_web::{
    http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
    web::Data,
};
use bytes::Bytes;
use kebne_context::store::Session;
use kebne_wire::{
    encoding::{EncodingError, decode},
    request::naming_model,
};

use crate::{
    caller::Caller,
    stages::{
        Call, Stage,
        authenticate::Known,
        deadline::{self, Deadline},
        share::{self, Share},
        trace, turn,
    },
    state::State,
    surface::error::ApiError,
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
    /// The content type of the body.
    pub(super) content_type: Option<String>,
    /// The headers that are sent to the backend with the call.
    pub(super) forwarded: Option<Arc<http::HeaderMap>>,
    pub(super) body: Bytes,
    /// The model in the path, as in Azure's paths; the body need not name one.
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
            arrival,
        } = known;
        let headers = arrival.http.headers();
        self.state.bodies.check(headers)?;
        let share = share::of(headers, &caller)?;
        let named = share::named_tenant(headers)?;
        call.notes.set_tenant(&caller.tenant, named);
        let deadline = deadline::of(headers, &self.state.settings.get())?;
        let wanted = turn::wanted(headers, call.surface)?;
        let session = match wanted.session {
            None => None,
            Some(id) => Some(self.state.context.open(&caller.owner, id).await?),
        };
        let prompt = wanted.prompt.map(str::to_owned);
        let collections = wanted.collections;
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|name| name.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        let forwarded = trace::forwarded(headers, call.notes.span());
        let deployment = arrival.http.match_info().get("deployment");
        // The path is decoded but for its slashes.
        let deployment = deployment.map(|name| name.replace("%2F", "/").replace("%2f", "/"));
        let encoding = headers.get(CONTENT_ENCODING).cloned();
        let body = self.state.bodies.read(headers, arrival.payload).await?;
        let body = match encoding {
            Some(encoding) => self.decoded(&encoding, body).await?,
            None => body,
        };
        let body = match &deployment {
            Some(model) => naming_model(body, model),
            None => body,
        };
        Ok(Admitted {
            call,
            caller,
            share,
            deadline,
            session,
            prompt,
            collections,
            content_type,
            forwarded,
            body,
            deployment,
        })
    }
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
