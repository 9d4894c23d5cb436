//! Answers that the service itself makes of what it keeps: pages of turns and sessions, and kept responses.
//!
//! They take part in the budget of answers, from before they are read from the store until they are written.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpResponse,
    body::{BodySize, MessageBody},
    http::header::ContentType,
};
use bytes::Bytes;

use crate::{
    memory::{ByteBudget, SMALL, Share},
    surface::error::ApiError,
};

/// The bytes that are handed to a connection at once, so that it holds no copy of the whole answer.
const PART: usize = 32 << 10;
/// An answer is held twice while it is made: as it is stored, and as it is written.
const COPIES: usize = 2;

/// The memory of an answer that is about to be made.
#[derive(Debug)]
pub(super) struct Room(Share);

/// The body of an answer, which is written in parts.
pub(super) struct Parts(Bytes);

impl Room {
    /// Takes the memory of an answer of at most `size` bytes, or all memory for answers if there is less. Waits at most
    /// `wait` for it.
    ///
    /// # Errors
    /// Returns a 503 if other answers use it.
    pub(super) async fn of(
        budget: &ByteBudget,
        size: u64,
        wait: Duration,
    ) -> Result<Self, ApiError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut share = budget.share();
        let granted = tokio::time::timeout(wait, share.wait_for(size.saturating_mul(COPIES))).await;
        granted.map_err(|_| ApiError::answers_full())?;
        Ok(Self(share))
    }

    /// Returns the answer. It keeps the memory that it needs until it is written.
    pub(super) fn answer(mut self, json: impl Into<Bytes>) -> HttpResponse {
        let json = json.into();
        self.0
            .shrink_to(if json.len() > SMALL { json.len() } else { 0 });
        HttpResponse::Ok()
            .content_type(ContentType::json())
            .body(Parts(self.0.hold(json)))
    }
}

impl Parts {
    /// Returns a body that gives back the share of the budget that `bytes` have once they are written.
    pub(super) fn of(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl MessageBody for Parts {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.0.len().min(PART);
        Poll::Ready(Some(Ok(self.0.split_to(size))))
    }
}
