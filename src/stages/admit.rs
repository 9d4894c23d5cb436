//! Decides what a caller may have before anything of its body is parsed: its share, its time, its session, its memory.

use std::time::Duration;

use actix_web::web::Data;
use bytes::Bytes;
use kebne_context::store::Session;

use crate::{
    stages::{
        Call, Stage,
        authenticate::Known,
        caller::Caller,
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
    pub(super) caller: Caller,
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
        self.state.bodies.check(headers)?;
        let share = share::of(headers, &caller)?;
        let deadline = deadline::of(headers, &self.state.settings)?;
        let wanted = turn::wanted(headers, call.surface)?;
        let session = match wanted.session {
            None => None,
            Some(id) => Some(self.state.context.open(&caller.owner, id).await?),
        };
        let prompt = wanted.prompt.map(str::to_owned);
        let body = self.state.bodies.read(headers, arrival.payload).await?;
        Ok(Admitted {
            call,
            caller,
            share,
            deadline,
            session,
            prompt,
            body,
        })
    }
}
