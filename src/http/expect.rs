//! Answers a request with `Expect: 100-continue` that would be refused, instead of asking for its body.
//!
//! What would be refused is passed to the handlers at once, with a body that cannot be read. They refuse it as any other
//! request, so that it is counted and logged in the same way; what they can answer without a body is answered.

use std::{future::Future, io};

use actix_http::{BoxedPayloadStream, Payload, Request, Response};
use actix_service::Service;
use actix_web::{
    HttpResponse,
    body::{BoxBody, MessageBody},
    dev::ServiceResponse,
    error::PayloadError,
};
use bytes::Bytes;
use futures_util::stream;

use crate::{
    http::{browsers, unread::Unread},
    state::State,
};

/// Returns `true` if, as far as its head shows, a request is let in: its `Host` and its origin, its key and the
/// announced length of its body.
pub(super) fn is_admitted(request: &Request, state: &State) -> bool {
    let (head, settings) = (request.head(), state.settings.get());
    browsers::check_head(head, &settings).is_ok()
        && state.callers.of_headers(head.headers()).is_ok()
        && state.bodies.check(head.headers()).is_ok()
}

/// Returns the request if its body is wanted, and otherwise the answer.
pub(super) fn admit<S, B>(
    mut request: Request,
    is_admitted: bool,
    app: &S,
) -> impl Future<Output = Result<Request, HttpResponse>> + use<S, B>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = HttpResponse>,
    B: MessageBody + 'static,
{
    let asked = if is_admitted {
        Ok(request)
    } else {
        let unread = Unread::replace(&mut request, no_body());
        Err((unread, app.call(request)))
    };
    async move {
        let (unread, answer) = match asked {
            Ok(request) => return Ok(request),
            Err(refused) => refused,
        };
        let response: Response<BoxBody> = match answer.await {
            Ok(response) => response.map_into_boxed_body().into(),
            Err(response) => response.into(),
        };
        Err(unread.keep(response).into())
    }
}

/// Returns a body that cannot be read. The memory for bodies may have become free since the request was refused; its
/// body has not been asked for and does not come.
fn no_body() -> Payload {
    let error = io::Error::from(io::ErrorKind::OutOfMemory);
    let part: Result<Bytes, _> = Err(PayloadError::Io(error));
    let payload: BoxedPayloadStream = Box::pin(stream::iter([part]));
    payload.into()
}
