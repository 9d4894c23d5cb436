//! The body of an answer of the protocol, as the body of an answer of this service.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use http_body::Body as _;
use kebne_mcp::AnswerBody;

/// A body of `kebne-mcp`.
pub(super) struct McpBody(AnswerBody);

impl McpBody {
    pub(super) fn new(body: AnswerBody) -> Self {
        Self(body)
    }
}

impl MessageBody for McpBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0
            .size_hint()
            .exact()
            .map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(never)) => match never {},
                Some(Ok(frame)) => {
                    // Trailers are no part of an answer.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}
