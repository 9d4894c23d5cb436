//! The response of a model server, whose body is read in parts.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{plain::PlainBody, transport::TransportError};

/// A response of which only the head has been read.
#[derive(Debug)]
pub(crate) struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Plain(PlainBody),
    Client(reqwest::Response),
}

impl Response {
    /// Creates the response of a connection without TLS.
    pub(super) fn of_plain(status: StatusCode, headers: HeaderMap, body: PlainBody) -> Self {
        Self {
            status,
            headers,
            body: Body::Plain(body),
        }
    }

    /// Creates the response of the client for TLS.
    pub(super) fn of_client(mut response: reqwest::Response) -> Self {
        Self {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: Body::Client(response),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the number of bytes of the body that have not been returned yet; `None` if it is not known.
    pub(crate) fn content_length(&self) -> Option<u64> {
        match &self.body {
            Body::Plain(body) => body.rest(),
            Body::Client(response) => response.content_length(),
        }
    }

    /// Returns the next bytes of the body; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        match &mut self.body {
            Body::Plain(body) => body.chunk().await.map_err(TransportError::Plain),
            Body::Client(response) => response.chunk().await.map_err(TransportError::Client),
        }
    }
}
