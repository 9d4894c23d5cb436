//! The last steps of an answer before it is sent: it is kept, if it belongs to a session or can be continued, and
//! written in the caller's dialect.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
#[cfg(feature = "mcp")]
use kebne_wire::tool_rounds::RoundsPart;

use crate::{
    memory::hold_like,
    stages::{response::Keep, turn::Follow},
    surface::{AnswerWriter, error::ApiError},
};

/// An answer that is being kept. The result is `false` if it is a response that was not kept because it reaches a
/// bound.
pub(super) type Keeping = Pin<Box<dyn Future<Output = Result<bool, ApiError>>>>;

/// The last steps of one answer.
pub(super) struct Finish {
    /// Reads the answer for the session, until its end.
    pub(super) follow: Option<Follow>,
    /// Keeps the response.
    pub(super) keep: Option<Keep>,
    /// Writes the answer in the caller's dialect.
    pub(super) writer: Box<dyn AnswerWriter>,
}

/// A part of a stream in the caller's dialect.
pub(super) enum Part {
    /// It is sent to the caller.
    Now(Bytes),
    /// It is the last part, and is sent once the answer is kept, so that a caller who sees the end finds the turn.
    OnceKept(Keeping, Bytes),
}

impl Finish {
    /// Keeps a whole answer and writes it. Also returns the number of the session's turn.
    pub(super) async fn whole(&mut self, body: Bytes) -> Result<(Bytes, Option<u64>), ApiError> {
        let turn = match self.follow.take() {
            Some(follow) => Some(follow.keep_whole(body.clone()).await?),
            None => None,
        };
        let body = hold_like(body.clone(), self.writer.whole(body)?);
        Ok((self.kept(body).await?, turn))
    }

    /// As [`Finish::whole`], for an answer of several rounds.
    #[cfg(feature = "mcp")]
    pub(super) async fn rounds(
        &mut self,
        parts: Vec<RoundsPart>,
        body: Bytes,
    ) -> Result<(Bytes, Option<u64>), ApiError> {
        let turn = match self.follow.take() {
            Some(follow) => Some(follow.keep_whole(body.clone()).await?),
            None => None,
        };
        let body = self.writer.rounds(parts, body)?;
        Ok((self.kept(body).await?, turn))
    }

    /// Keeps the response that was written, if it is one that is kept. Returns what is sent.
    async fn kept(&mut self, body: Bytes) -> Result<Bytes, ApiError> {
        if let (Some(keep), Some(answer)) = (self.keep.take(), self.writer.answer()) {
            let mut answer = answer.clone();
            if !keep.keep(answer.clone()).await? {
                answer["store"] = false.into();
                return Ok(answer.to_string().into());
            }
        }
        Ok(body)
    }

    /// Writes complete events.
    pub(super) fn events(&mut self, events: Bytes) -> Result<Part, ApiError> {
        let is_last = |follow: &mut Follow| follow.feed(&events);
        let follow = self.follow.take_if(is_last);
        let written = hold_like(events.clone(), self.writer.events(events)?);
        let mut keeping: Vec<Keeping> = Vec::new();
        if let Some(follow) = follow {
            let kept = follow.keep();
            keeping.push(Box::pin(async move { kept.await.map(|_| true) }));
        }
        if let Some(answer) = self.writer.answer()
            && let Some(keep) = self.keep.take()
        {
            keeping.push(keep.keep(answer.clone()));
        }
        if keeping.is_empty() {
            return Ok(Part::Now(written));
        }
        let all = async move {
            let mut is_kept = true;
            for each in keeping {
                is_kept &= each.await?;
            }
            Ok(is_kept)
        };
        Ok(Part::OnceKept(Box::pin(all), written))
    }

    /// Returns `true` if the answer will be kept once its end has arrived.
    pub(super) fn waits_for_the_end(&self) -> bool {
        self.follow.is_some() || self.keep.is_some()
    }
}
