//! A client for HTTP/1.1 without TLS, as model servers on the same machine or network speak it.
//!
//! It is `hyper`'s connection, which is polled by the call and then by the reader of the response, so a call needs no task
//! of its own. To drop a response before its end closes its connection at once. A kept connection that the server has
//! closed is not used, and a request of which nothing was written is sent over another connection.

mod connection;
mod pool;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

use super::{response::Response, target::Plain, upload::Upload};
use connection::{Connection, Look};
use pool::{Idle, Pools};

/// The time after which TCP tests a silent connection, the time between two tests, and the number of tests.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TESTS: u32 = 3;
/// The time for which written bytes may stay unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// The size from which parts of a body are not joined: to copy fewer bytes is cheaper than to pass them on in parts.
const JOINED_MAX: usize = 16 << 10;

/// The error of an attempt to connect.
type ConnectError = <HttpConnector as Service<Uri>>::Error;

/// The reason why a request was not sent, or its response did not arrive completely.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlainError {
    /// No connection could be opened.
    #[error("cannot connect")]
    Connect(#[source] ConnectError),
    /// The connection failed, or the response is not valid or incomplete.
    #[error(transparent)]
    Http(#[from] hyper::Error),
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
    body: Incoming,
    connection: Option<Box<Connection>>,
    /// The pool to which the connection returns, if it can be used again.
    home: Arc<Idle>,
    pace: Pace,
    /// The error behind the bytes that were returned last.
    failed: Option<PlainError>,
}

/// How the parts of a body have arrived so far, which shows what to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// The head has arrived, perhaps with the first part.
    Begun,
    /// The last part was there when it was asked for, so more may be.
    Flowing,
    /// The last part was waited for, so the next one will be.
    Paced,
    /// A part is being waited for.
    Waiting,
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
        target: &Plain,
        mut request: Request<Upload>,
    ) -> Result<Response, PlainError> {
        *request.uri_mut() = target.origin.clone();
        let headers = request.headers_mut();
        headers
            .entry(http::header::HOST)
            .or_insert_with(|| target.host.clone());
        let home = self.pools.of_thread();
        let (connection, response) = loop {
            let kept = home.take();
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(kept) => kept,
                None => self.connect(target).await?,
            };
            match connection.send(request).await {
                Ok(response) => break (connection, response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        };
        let (head, body) = response.into_parts();
        let body = PlainBody {
            body,
            connection: Some(connection),
            home,
            pace: Pace::Begun,
            failed: None,
        };
        Ok(Response::of_plain(
            head.status,
            head.headers,
            body.settled(),
        ))
    }

    async fn connect(&self, target: &Plain) -> Result<Box<Connection>, PlainError> {
        let stream = self.connector.clone().call(target.server.clone()).await;
        let connection = Connection::new(stream.map_err(PlainError::Connect)?).await?;
        Ok(Box::new(connection))
    }
}

impl PlainBody {
    /// Returns the number of bytes that have not been returned yet; `None` if it is not known.
    pub(super) fn rest(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Returns the next bytes, all that have arrived; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, PlainError> {
        std::future::poll_fn(|task| self.poll_chunk(task)).await
    }

    fn poll_chunk(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>, PlainError>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let mut joined = Joined::default();
        while let Some(connection) = &mut self.connection
            && joined.len() < JOINED_MAX
        {
            let is_first = joined.len() == 0;
            let look = match self.pace {
                Pace::Begun if is_first => Look::Only,
                Pace::Paced if is_first => Look::Register,
                Pace::Paced => break,
                // What has arrived is returned without waiting for more.
                _ if is_first => Look::ThenRegister,
                _ => Look::Arrived,
            };
            let Poll::Ready(frame) = connection.poll_frame(&mut self.body, look, task) else {
                if look == Look::Only {
                    self.pace = Pace::Flowing;
                    continue;
                }
                break;
            };
            self.pace = match self.pace {
                Pace::Waiting => Pace::Paced,
                _ => Pace::Flowing,
            };
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are ignored.
                    if let Ok(data) = frame.into_data() {
                        joined.push(data);
                    }
                    self.settle();
                }
                Some(Err(error)) => {
                    self.connection = None;
                    if joined.len() == 0 {
                        return Poll::Ready(Err(error.into()));
                    }
                    self.failed = Some(error.into());
                }
                None => self.give_back(),
            }
        }
        match joined.into_bytes() {
            None if self.connection.is_some() => {
                self.pace = Pace::Waiting;
                Poll::Pending
            }
            joined => Poll::Ready(Ok(joined)),
        }
    }

    fn settled(mut self) -> Self {
        self.settle();
        self
    }

    /// Gives the connection back if the body is known to have ended.
    fn settle(&mut self) {
        if self.body.is_end_stream() {
            self.give_back();
        }
    }

    /// Gives the connection back, or closes it if it cannot be used again.
    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.keep(connection);
        }
    }
}

/// Parts of a body that are returned together. One part is not copied.
#[derive(Debug, Default)]
struct Joined {
    first: Bytes,
    all: BytesMut,
}

impl Joined {
    fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    fn push(&mut self, part: Bytes) {
        if self.len() == 0 {
            self.first = part;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(self.first.len() + JOINED_MAX);
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&part);
    }

    fn into_bytes(self) -> Option<Bytes> {
        let bytes = if self.all.is_empty() {
            self.first
        } else {
            self.all.freeze()
        };
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }
}

#[cfg(test)]
mod tests;
