//! A client for HTTP/1.1 without TLS, as model servers on the same machine or network speak it.
//!
//! It reads and writes in the task of the attempt, so a call costs one write, one read and no task of its own. To drop a
//! response before its end closes its connection at once. A kept connection that the server has closed is not used, and
//! one that fails before the first byte of a request is written is replaced by a new one.

mod connection;
mod pool;

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use kebne_wire::http1::{Body, Decoded, Http1Error, write_request};
use reqwest::Url;
use tower_service::Service;

use super::response::Response;
use connection::{Connection, Written};
use pool::{Idle, Pools};

/// The time after which TCP tests a silent connection, the time between two tests, and the number of tests.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TESTS: u32 = 3;
/// The time for which written bytes may stay unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// The error of an attempt to connect.
type ConnectError = <HttpConnector as Service<Uri>>::Error;

/// The reason why a request was not sent, or its response did not arrive completely.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlainError {
    /// No connection could be opened.
    #[error("cannot connect")]
    Connect(#[source] ConnectError),
    /// The URL has no valid host.
    #[error("the URL has no valid host")]
    Host,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The response is not valid, or is incomplete.
    #[error(transparent)]
    Response(#[from] Http1Error),
}

/// The client of one backend.
#[derive(Debug)]
pub(super) struct PlainClient {
    connector: HttpConnector,
    pools: Pools,
}

/// The body of a response, and its connection until the body has ended.
#[derive(Debug)]
pub(crate) struct PlainBody {
    body: Body,
    connection: Option<Connection>,
    /// The pool to which the connection returns, if it can be used again.
    home: Option<Arc<Idle>>,
}

impl PlainClient {
    pub(super) fn new(connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_keepalive(Some(KEEP_ALIVE));
        connector.set_keepalive_interval(Some(KEEP_ALIVE));
        connector.set_keepalive_retries(Some(KEEP_ALIVE_TESTS));
        #[cfg(target_os = "linux")]
        connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
        Self {
            connector,
            pools: Pools::default(),
        }
    }

    /// Sends a request and returns its response, of which only the head is read.
    pub(super) async fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, PlainError> {
        let mut request = BytesMut::new();
        let mut target = url.path();
        let with_query;
        if let Some(query) = url.query() {
            with_query = format!("{target}?{query}");
            target = &with_query;
        }
        let authority = url.authority();
        let host = authority.rsplit('@').next().unwrap_or(authority);
        write_request(&mut request, method, target, host, headers, body.len());
        request.extend_from_slice(body);
        let idle = self.pools.of_thread();
        let (mut connection, written) = self.write(url, &idle, &request).await?;
        let head = match connection.head(method).await {
            Ok(head) => head,
            // The server closed before it had the whole request and did not say why.
            Err(error) => return Err(written.error().map_or(error, PlainError::Io)),
        };
        let is_whole = written.is_whole();
        let body = PlainBody {
            body: Body::new(head.framing),
            connection: Some(connection),
            home: Some(idle).filter(|_| head.keeps_open && is_whole),
        };
        Ok(Response::of_plain(
            head.status,
            head.headers,
            body.settled(),
        ))
    }

    /// Writes a request to a kept connection or a new one.
    async fn write(
        &self,
        url: &Url,
        idle: &Arc<Idle>,
        request: &[u8],
    ) -> Result<(Connection, Written), PlainError> {
        while let Some(mut kept) = idle.take() {
            let written = kept.write(request).await;
            if !written.is_nothing() {
                return Ok((kept, written));
            }
        }
        let uri = Uri::try_from(url.as_str()).map_err(|_| PlainError::Host)?;
        let stream = self.connector.clone().call(uri).await;
        let stream = stream.map_err(PlainError::Connect)?.into_inner();
        let mut connection = Connection::new(stream);
        let written = connection.write(request).await;
        Ok((connection, written))
    }
}

impl PlainBody {
    /// Returns the number of bytes that have not been returned yet; `None` if it is not known.
    pub(super) fn rest(&self) -> Option<u64> {
        self.body.rest()
    }

    /// Returns the next bytes; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, PlainError> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Ok(None);
            };
            match self.body.decode(connection.buffer()) {
                Ok(Decoded::Data(data)) => {
                    self.settle();
                    return Ok(Some(data));
                }
                Ok(Decoded::Ended) => {
                    self.settle();
                    return Ok(None);
                }
                Ok(Decoded::NeedsMore) => {}
                Err(error) => return Err(self.lose(error.into())),
            }
            let read = match connection.read(self.body.rest()).await {
                Ok(read) => read,
                Err(error) => return Err(self.lose(error.into())),
            };
            if read == 0 {
                self.home = None;
                if let Err(error) = self.body.closed() {
                    return Err(self.lose(error.into()));
                }
            }
        }
    }

    fn settled(mut self) -> Self {
        self.settle();
        self
    }

    /// Gives the connection back or closes it, if the body has ended.
    fn settle(&mut self) {
        if self.body.has_ended()
            && let Some(connection) = self.connection.take()
            && let Some(home) = self.home.take()
        {
            home.keep(connection);
        }
    }

    /// Closes the connection after an error.
    fn lose(&mut self, error: PlainError) -> PlainError {
        self.connection = None;
        error
    }
}

#[cfg(test)]
mod tests;
