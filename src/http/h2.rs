//! Connections of HTTP/2, which callers with TLS may choose.
//!
//! `hyper` speaks the protocol. Each stream is a request to the routes that HTTP/1.1 has too, and is bounded as a
//! connection of HTTP/1.1 is: its caller gets no answer beyond the number of requests of a thread, a reset drops its handler
//! and its answer at once, and a caller that takes nothing of an answer loses it. A connection without streams is closed
//! after the time for idle ones.

mod exchange;
mod streams;

use std::{cell::Cell, net::SocketAddr, pin::pin, rc::Rc, time::Duration};

use actix_http::Request;
use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_web::{HttpResponse, body::MessageBody, dev::ServiceResponse};
use futures_util::future::LocalBoxFuture;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_rustls::server::TlsStream;

use crate::settings::ServerSettings;

use streams::{Refused, Streams};

/// Streams that one connection may have at a time: what browsers and proxies expect to be allowed.
const STREAMS_MAX: u32 = 128;
/// The largest head of a request in bytes, as for HTTP/1.1.
const HEAD_MAX: u32 = 128 << 10;
/// Bytes of a body that a caller may send before they are read, for a stream and for the connection. A body that is being
/// read waits for nothing, and one that nobody reads takes no more than this.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Bytes of an answer that wait for room in the caller's window, for a stream.
const SEND_BUFFER: usize = 64 << 10;
/// Time for a caller to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for a caller to close a connection without streams once it was told to.
const GOODBYE: Duration = Duration::from_secs(1);

/// Returns a future that is ready when the server is to stop.
type Stopping = Rc<dyn Fn() -> LocalBoxFuture<'static, ()>>;

/// The HTTP/2 of one thread.
pub(super) struct H2<A> {
    app: Rc<A>,
    bounds: Bounds,
    /// The streams of all connections of this thread.
    open: Rc<Cell<usize>>,
    stopping: Stopping,
}

/// The bounds of connections and streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Time for the first request of a connection.
    first: Duration,
    /// Time for which a connection without streams is kept.
    keep_alive: Duration,
    /// Time for which a caller may take nothing of an answer.
    write_timeout: Duration,
    /// Streams of this thread at a time.
    streams_max: usize,
}

impl From<&ServerSettings> for Bounds {
    fn from(settings: &ServerSettings) -> Self {
        Self {
            first: settings.request_timeout.0,
            keep_alive: settings.keep_alive.0,
            write_timeout: settings.write_timeout.0,
            streams_max: settings.connections_max,
        }
    }
}

impl<A, B> H2<A>
where
    A: Service<Request, Response = ServiceResponse<B>, Error = HttpResponse> + 'static,
    B: MessageBody + 'static,
{
    pub(super) fn new(app: A, bounds: Bounds, stopping: Stopping) -> Self {
        Self {
            app: Rc::new(app),
            bounds,
            open: Rc::default(),
            stopping,
        }
    }

    /// Serves one connection until it ends.
    pub(super) async fn serve(&self, socket: TlsStream<TcpStream>, peer: Option<SocketAddr>) {
        let bounds = self.bounds;
        let streams = Streams::new(&self.open, bounds.streams_max, bounds.write_timeout);
        let (app, begun) = (Rc::clone(&self.app), streams.clone());
        let service = service_fn(move |request: http::Request<Incoming>| {
            let progress = begun.begin();
            let app = Rc::clone(&app);
            async move {
                let progress = progress?;
                Ok::<_, Refused>(exchange::serve(&*app, request, peer, progress).await)
            }
        });
        let builder = builder(&streams, bounds.keep_alive);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
        let closing = async {
            tokio::select! {
                () = (self.stopping)() => {}
                () = streams.idle(bounds.first, bounds.keep_alive) => {}
            }
        };
        tokio::select! {
            ended = connection.as_mut() => return log(ended),
            () = closing => connection.as_mut().graceful_shutdown(),
        }
        // The streams that are open end first.
        tokio::select! {
            ended = connection.as_mut() => log(ended),
            () = streams.idle(GOODBYE, GOODBYE) => {}
        }
    }
}

fn builder(streams: &Streams, ping_every: Duration) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(ping_every)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn log(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of HTTP/2 broke");
    }
}
