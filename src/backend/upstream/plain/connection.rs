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
        // Nothing has arrived before the request is written.
        let mut look = Look::Register;
        poll_fn(|task| {
            let looked = look;
            look = Look::ThenRegister;
            fed(driver, looked, task, |task| response.as_mut().poll(task))
        })
        .await
    }

    /// Polls the body of the response.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        look: Look,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        fed(&mut self.driver, look, task, |task| {
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

/// What is done before a future that a connection completes is polled.
///
/// Connection and future are polled by the same task. To take a part from a connection wakes the task that the connection
/// knows, even if that task is running, so a connection is asked without a task where a part is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing: the connection was polled just before.
    Only,
    /// The connection reads what has arrived.
    Arrived,
    /// The connection reads what has arrived; if that was nothing, it is polled again and wakes the task.
    ThenRegister,
    /// The connection is polled and wakes the task.
    Register,
}

/// Polls a future that only `driver` completes.
fn fed<T>(
    driver: &mut Driver,
    look: Look,
    task: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let mut nobody = Context::from_waker(Waker::noop());
    if look != Look::Register {
        if look != Look::Only {
            drive(driver, &mut nobody);
        }
        let polled = poll(&mut nobody);
        if polled.is_ready() || look != Look::ThenRegister {
            return polled;
        }
    }
    drive(driver, task);
    poll(&mut nobody)
}
