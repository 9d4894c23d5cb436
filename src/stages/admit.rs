//! Decides what a caller may have before anything of its body is parsed: its share, its time, its session, its memory.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use bytes::Bytes;
use kebne_context::store::Session;

use crate::{
    stages::{
        Call, Stage,
        authenticate::Known,
        deadline,
        share::{self, Share},
        turn,
    },
    state::State,
    surface::error::ApiError,
};

/// Admits a call, or ends it before its body costs anything.
pub(super) struct Admit<'a> {
    state: &'a Data<State>,
}

/// A call that was admitted, with its whole body.
pub(super) struct Admitted {
    pub(super) call: Call,
    /// Whom what the call keeps belongs to.
    pub(super) owner: String,
    pub(super) share: Share,
    pub(super) deadline: Duration,
    /// The session that the call belongs to.
    pub(super) session: Option<Session>,
    /// The prompt that the call names.
    pub(super) prompt: Option<String>,
    pub(super) body: Bytes,
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
        let share = share::of(headers, &caller)?;
        let deadline = deadline::of(headers, &self.state.settings)?;
        let wanted = turn::wanted(headers, call.surface)?;
        let session = match wanted.session {
            None => None,
            Some(id) => Some(self.state.context.open(&caller.owner, id).await?),
        };
        let prompt = wanted.prompt.map(str::to_owned);
        let body = read_body(arrival.payload, self.state).await?;
        Ok(Admitted {
            call,
            owner: caller.owner,
            share,
            deadline,
            session,
            prompt,
            body,
        })
    }
}

/// Reads a bounded body in bounded time.
///
/// # Errors
/// When the body is too large, does not arrive in time or breaks off.
pub async fn read_body(payload: Payload, state: &State) -> Result<Bytes, ApiError> {
    let limit = state.settings.body_size_max.as_usize();
    let body = payload.to_bytes_limited(limit);
    let body = tokio::time::timeout(state.settings.request_timeout.0, body).await;
    match body.map_err(|_| ApiError::slow_request())? {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(ApiError::bad_request(
            None,
            format!("the body broke off: {error}"),
        )),
        Err(_) => Err(ApiError::too_large(limit)),
    }
}
