//! Turns an accepted socket into a connection of HTTP: sets its options, performs the handshake of TLS, and passes it to
//! the protocol that the caller has chosen.

use std::{
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{Protocol, Request};
use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_web::{HttpResponse, body::MessageBody, dev::ServiceResponse};
use futures_util::future::LocalBoxFuture;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    http::{connection::Connection, h2::H2},
    tls::Certificates,
};

/// What the HTTP/1.1 of `actix` takes.
pub(super) type Accepted = (Connection, Protocol, Option<SocketAddr>);

/// Accepts the connections of one thread.
pub(super) struct Accept<H, A> {
    http1: Rc<H>,
    /// Set if the service speaks TLS; a caller without TLS cannot choose HTTP/2.
    tls: Option<Tls<A>>,
    write_timeout: Duration,
}

/// What connections with TLS need.
pub(super) struct Tls<A> {
    pub(super) certificates: Arc<Certificates>,
    pub(super) h2: Rc<H2<A>>,
    /// Time for the handshake.
    pub(super) handshake_timeout: Duration,
}

impl<H, A> Accept<H, A> {
    pub(super) fn new(http1: H, tls: Option<Tls<A>>, write_timeout: Duration) -> Self {
        Self {
            http1: Rc::new(http1),
            tls,
            write_timeout,
        }
    }
}

impl<H, A, B> Service<TcpStream> for Accept<H, A>
where
    H: Service<Accepted, Response = ()> + 'static,
    H::Error: fmt::Debug,
    A: Service<Request, Response = ServiceResponse<B>, Error = HttpResponse> + 'static,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = H::Error;
    type Future = LocalBoxFuture<'static, Result<(), H::Error>>;

    fn poll_ready(&self, task: &mut Context<'_>) -> Poll<Result<(), H::Error>> {
        self.http1.poll_ready(task)
    }

    fn call(&self, socket: TcpStream) -> Self::Future {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection delays its writes");
        }
        bound_writes(&socket, self.write_timeout);
        let peer = socket.peer_addr().ok();
        let Some(tls) = &self.tls else {
            return Box::pin(self.http1.call((socket.into(), Protocol::Http1, peer)));
        };
        let acceptor = TlsAcceptor::from(tls.certificates.current());
        let (certificates, limit) = (Arc::clone(&tls.certificates), tls.handshake_timeout);
        let (http1, h2) = (Rc::clone(&self.http1), Rc::clone(&tls.h2));
        Box::pin(async move {
            let Some(socket) = handshake(&acceptor, socket, limit, &certificates).await else {
                return Ok(());
            };
            if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
                h2.serve(socket, peer).await;
                return Ok(());
            }
            http1.call((socket.into(), Protocol::Http1, peer)).await
        })
    }
}

/// Performs the handshake of TLS within `limit`; returns `None` if it fails.
async fn handshake(
    acceptor: &TlsAcceptor,
    socket: TcpStream,
    limit: Duration,
    certificates: &Certificates,
) -> Option<TlsStream<TcpStream>> {
    match tokio::time::timeout(limit, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => return Some(socket),
        Ok(Err(error)) => tracing::debug!(%error, "a handshake of TLS failed"),
        Err(_) => tracing::debug!(?limit, "a handshake of TLS took too long"),
    }
    certificates.handshake_failed();
    None
}

/// Has the kernel close a connection whose caller takes nothing of what was written for `timeout`. An answer's body is not
/// asked for more while the connection is full, so nothing above the socket sees that no byte moves; that the
/// connection is closed drops the body, which counts the call and gives back its memory.
#[cfg(target_os = "linux")]
fn bound_writes(socket: &TcpStream, timeout: Duration) {
    if let Err(error) = SockRef::from(socket).set_tcp_user_timeout(Some(timeout)) {
        tracing::debug!(%error, "a connection has no write timeout");
    }
}

/// Other systems have no such option.
#[cfg(not(target_os = "linux"))]
fn bound_writes(_: &TcpStream, _: Duration) {}
