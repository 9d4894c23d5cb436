//! One connection and the bytes that were read from it ahead.

use std::{future::poll_fn, io};

use bytes::BytesMut;
use http::Method;
use kebne_wire::http1::{Head, Http1Error, read_head};
use tokio::{
    io::{AsyncReadExt, Interest},
    net::TcpStream,
};

use super::PlainError;

/// The room for one read: enough for a usual answer with its head.
const READ: usize = 8 << 10;
/// The room for one read of a connection that has filled the first.
const READ_MORE: usize = 64 << 10;
/// The rest of a buffer that is used for another read.
const READ_LEAST: usize = 1 << 10;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Bytes that were read and not used yet.
    buffer: BytesMut,
    /// `true` if the last read filled its room.
    is_full: bool,
}

/// How much of a request was written.
#[derive(Debug)]
pub(super) enum Written {
    /// All of it.
    Whole,
    /// A part of it, when the server answered or the connection failed.
    Part(Option<io::Error>),
    /// Nothing of it: the connection had failed before.
    Nothing(io::Error),
}

impl Written {
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing(_))
    }

    /// Returns the error with which writing ended.
    pub(super) fn error(self) -> Option<io::Error> {
        match self {
            Self::Whole => None,
            Self::Part(error) => error,
            Self::Nothing(error) => Some(error),
        }
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            is_full: false,
        }
    }

    /// Returns `true` if the server has neither closed the connection nor sent anything.
    pub(super) fn is_silent(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Returns `true` if no bytes were read ahead.
    pub(super) fn is_clean(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Writes a request. Stops if the server answers before it has read all of it.
    pub(super) async fn write(&mut self, request: &[u8]) -> Written {
        let mut rest = request;
        let failed = |rest: &[u8], error| {
            if rest.len() == request.len() {
                Written::Nothing(error)
            } else {
                Written::Part(Some(error))
            }
        };
        while !rest.is_empty() {
            match self.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let both = Interest::READABLE | Interest::WRITABLE;
                    if let Err(error) = self.stream.ready(both).await {
                        return failed(rest, error);
                    }
                    self.buffer.reserve(READ);
                    match self.stream.try_read_buf(&mut self.buffer) {
                        Ok(0) => return failed(rest, io::ErrorKind::ConnectionReset.into()),
                        Ok(_) => return Written::Part(None),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return failed(rest, error),
                    }
                }
                Err(error) => return failed(rest, error),
            }
        }
        Written::Whole
    }

    /// Reads the head of the response to a request with this method.
    pub(super) async fn head(&mut self, method: &Method) -> Result<Head, PlainError> {
        loop {
            if let Some(head) = read_head(&mut self.buffer, method)? {
                return Ok(head);
            }
            if self.read(None).await? == 0 {
                return Err(Http1Error::Incomplete.into());
            }
        }
    }

    /// Reads what has arrived, or waits until something arrives; `rest` is the number of bytes that are still expected.
    /// Returns 0 if the server has closed the connection.
    pub(super) async fn read(&mut self, rest: Option<u64>) -> io::Result<usize> {
        // Room is made only when there is something to read, so that a connection that waits takes no memory for it.
        poll_fn(|task| self.stream.poll_read_ready(task)).await?;
        let room = self.buffer.capacity() - self.buffer.len();
        let rest = rest.and_then(|rest| usize::try_from(rest).ok());
        let wanted = if self.is_full { READ_MORE } else { READ };
        let wanted = rest.map_or(wanted, |rest| rest.clamp(READ, READ_MORE).max(wanted));
        if room < READ_LEAST || self.is_full {
            self.buffer.reserve(wanted);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let read = self.stream.read_buf(&mut self.buffer).await?;
        self.is_full = read == room;
        Ok(read)
    }
}
