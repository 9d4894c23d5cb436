//! Closes the connection of a request whose chunked body was refused.
//!
//! If the reader of a chunked body is gone when the answer is written, actix reads the rest for as long as the caller
//! sends, and keeps the connection. If the reader is still there, it closes the connection after the answer, as it does
//! for a body with an announced length. The reader is therefore kept in the body of the response.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::{BoxedPayloadStream, HttpMessage, Payload, Request, Response};
use actix_service::Service;
use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    error::PayloadError,
};
use bytes::Bytes;
use futures_util::Stream;

/// The body of a request, which its handler and its response share.
#[derive(Clone)]
pub(super) struct Unread(Rc<RefCell<Payload>>);

/// The body of a response that keeps the body of its request.
struct Keeping {
    body: BoxBody,
    _unread: Unread,
}

impl Unread {
    /// Takes the body of a request and leaves another in its place.
    pub(super) fn replace(request: &mut Request, with: Payload) -> Self {
        let payload = std::mem::replace(request.payload(), with);
        Self(Rc::new(RefCell::new(payload)))
    }

    /// Keeps the body until the response is written.
    pub(super) fn keep(self, response: Response<BoxBody>) -> Response<BoxBody> {
        response.map_body(|_, body| {
            BoxBody::new(Keeping {
                body,
                _unread: self,
            })
        })
    }

    /// Shares the body of a request with its response, if the body is chunked.
    fn share(request: &mut Request) -> Option<Self> {
        if !request.chunked().unwrap_or(false) {
            return None;
        }
        let unread = Self::replace(request, Payload::None);
        let payload: BoxedPayloadStream = Box::pin(unread.clone());
        *request.payload() = payload.into();
        Some(unread)
    }
}

/// Serves a request, and has its connection closed if its body is not read to the end.
pub(super) fn serve<S, B>(
    mut request: Request,
    app: &S,
) -> impl Future<Output = Result<Response<BoxBody>, HttpResponse>> + use<S, B>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = HttpResponse>,
    B: MessageBody + 'static,
{
    let unread = Unread::share(&mut request);
    let answer = app.call(request);
    async move {
        let response: Response<BoxBody> = match answer.await {
            Ok(response) => response.map_into_boxed_body().into(),
            Err(response) => response.into(),
        };
        Ok(match unread {
            Some(unread) => unread.keep(response),
            None => response,
        })
    }
}

impl Stream for Unread {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(task)
    }
}

impl MessageBody for Keeping {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(task)
    }
}
