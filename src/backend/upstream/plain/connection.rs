//! One connection, which is polled where its request or its response is waited for.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::backend::upstream::upload::Upload;

/// The largest head of a response, and the largest read of a body, in bytes.
const BUFFER_MAX: usize = 256 << 10;

/// A connection and the sender of its requests.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Upload>,
    /// Reads and writes; `None` once the connection is closed.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Upload>>,
}

impl Connection {
    pub(super) async fn new(stream: TokioIo<TcpStream>) -> Result<Self, hyper::Error> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_MAX);
        let (requests, driver) = builder.handshake(stream).await?;
        Ok(Self {
            requests,
            driver: Some(driver),
        })
    }

    /// Returns `true` if a request can be sent: the last response has been read, and the server has neither closed the
    /// connection nor sent anything else.
    pub(super) fn is_idle(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.requests.is_ready()
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        let mut response = pin!(self.requests.try_send_request(request));
        let driver = &mut self.driver;
        let mut is_written = false;
        poll_fn(|task| {
            // Nothing has arrived before the request is written.
            let looks = is_written;
            is_written = true;
            let poll = |task: &mut Context<'_>| response.as_mut().poll(task);
            fed(driver, Some(task), looks, poll)
        })
        .await
    }

    /// Polls the body of the response. With `waiting`, the task is woken when more arrives.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        waiting: Option<&mut Context<'_>>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        fed(&mut self.driver, waiting, true, |task| {
            Pin::new(&mut *body).poll_frame(task)
        })
    }

    fn drive(&mut self, task: &mut Context<'_>) {
        drive(&mut self.driver, task);
    }
}

type Driver = Option<http1::Connection<TokioIo<TcpStream>, Upload>>;

/// Reads and writes what is possible at once. The error of a connection is returned by what it feeds.
fn drive(driver: &mut Driver, task: &mut Context<'_>) {
    if let Some(running) = driver
        && Pin::new(running).poll(task).is_ready()
    {
        *driver = None;
    }
}

/// Polls a future that only `driver` completes.
///
/// Both are polled by the same task. So that they do not wake the task that is polling them, they are polled without it
/// as long as there is something to do; the task is registered with the connection before it waits.
fn fed<T>(
    driver: &mut Driver,
    waiting: Option<&mut Context<'_>>,
    looks: bool,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let mut nobody = Context::from_waker(Waker::noop());
    if looks {
        if let Poll::Ready(done) = poll(&mut nobody) {
            return Poll::Ready(done);
        }
        drive(driver, &mut nobody);
        if let Poll::Ready(done) = poll(&mut nobody) {
            return Poll::Ready(done);
        }
    }
    let Some(task) = waiting else {
        return Poll::Pending;
    };
    drive(driver, task);
    poll(&mut nobody)
}
