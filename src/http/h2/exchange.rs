//! One request of HTTP/2 and its response, in the types of `actix`, which has the routes, and of `hyper`.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_http::{BoxedPayloadStream, Payload, Request, Response};
use actix_service::Service;
use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    error::PayloadError,
    http::{
        Method, StatusCode, Version,
        header::{HOST, HeaderMap, HeaderName, HeaderValue},
    },
};
use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::streams::Progress;

/// Headers of a request, as for HTTP/1.1.
const HEADERS_MAX: usize = 96;
/// The largest part of an answer that is written at once. The next one follows when the caller has taken it.
const PIECE: usize = 16 << 10;
/// Headers that describe a connection of HTTP/1.1.
const OF_CONNECTIONS: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Serves one request.
pub(super) async fn serve<A, B>(
    app: &A,
    request: http::Request<Incoming>,
    peer: Option<SocketAddr>,
    progress: Rc<Progress>,
) -> http::Response<Answer>
where
    A: Service<Request, Response = ServiceResponse<B>, Error = HttpResponse>,
    B: MessageBody + 'static,
{
    let is_head = request.method() == http::Method::HEAD;
    let response: Response<BoxBody> = match request_of(request, peer) {
        Ok(request) => match app.call(request).await {
            Ok(response) => response.map_into_boxed_body().into(),
            Err(response) => response.into(),
        },
        Err(status) => Response::new(status),
    };
    response_of(response, is_head, progress)
}

/// Turns a request into one of `actix`.
///
/// # Errors
/// Returns the status for a head that cannot be read.
fn request_of(
    request: http::Request<Incoming>,
    peer: Option<SocketAddr>,
) -> Result<Request, StatusCode> {
    let (parts, body) = request.into_parts();
    if parts.headers.len() > HEADERS_MAX {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let wrong = StatusCode::BAD_REQUEST;
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + 1);
    for (name, value) in &parts.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| wrong)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong)?;
        headers.append(name, value);
    }
    if let Some(authority) = parts.uri.authority()
        && !headers.contains_key(HOST)
    {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong)?;
        headers.insert(HOST, host);
    }
    let payload = if body.is_end_stream() {
        Payload::None
    } else {
        let received: BoxedPayloadStream = Box::pin(Received(body));
        received.into()
    };
    let mut request = Request::with_payload(payload);
    let head = request.head_mut();
    head.method = Method::from_bytes(parts.method.as_str().as_bytes()).map_err(|_| wrong)?;
    head.uri = parts.uri.to_string().parse().map_err(|_| wrong)?;
    head.version = Version::HTTP_2;
    head.headers = headers;
    head.peer_addr = peer;
    Ok(request)
}

/// Turns a response of `actix` into one of `hyper`.
fn response_of(
    response: Response<BoxBody>,
    is_head: bool,
    progress: Rc<Progress>,
) -> http::Response<Answer> {
    let (response, body) = response.into_parts();
    let head = response.head();
    let size = body.size();
    let mut answer = http::Response::new(());
    if let Ok(status) = http::StatusCode::from_u16(head.status.as_u16()) {
        *answer.status_mut() = status;
    }
    let headers = answer.headers_mut();
    for (name, value) in &head.headers {
        if OF_CONNECTIONS.contains(&name.as_str()) {
            continue;
        }
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
        let value = http::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let BodySize::Sized(length) = size {
        headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    let is_empty = is_head || size.is_eof();
    answer.map(|()| Answer {
        body: (!is_empty).then_some(body),
        size,
        rest: Bytes::new(),
        progress,
    })
}

/// The body of a request.
struct Received(Incoming);

impl Stream for Received {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.0).poll_frame(task)) else {
                return Poll::Ready(None);
            };
            match frame.map(Frame::into_data) {
                Ok(Ok(part)) => return Poll::Ready(Some(Ok(part))),
                // Trailers are ignored.
                Ok(Err(_)) => {}
                Err(error) => {
                    let error = PayloadError::Io(io::Error::other(error));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// The body of a response, which is written in small parts.
pub(super) struct Answer {
    /// `None` if the response has none.
    body: Option<BoxBody>,
    size: BodySize,
    /// The rest of the part that the body returned last.
    rest: Bytes,
    progress: Rc<Progress>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.progress.moves();
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut *body).poll_next(task)) {
                Some(Ok(part)) => this.rest = part,
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(io::Error::other(error.to_string()))));
                }
                None => return Poll::Ready(None),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.progress.waits();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, self.size) {
            (Some(_), BodySize::Sized(size)) => SizeHint::with_exact(size),
            (Some(_), _) => SizeHint::default(),
            (None, _) => SizeHint::with_exact(0),
        }
    }
}
