//! A caller's connection of HTTP/1.1, with or without TLS, of which a little is read at a time.
//!
//! actix reads all that a socket holds, up to 128 KiB, before it looks at a request. It doubles its buffer whenever less
//! than 1 KiB of it is free, and keeps the buffer as long as the connection is open. Thousands of connections that send
//! large bodies would take more memory for these buffers than for the bodies, so a read here leaves 1 KiB free and then
//! makes the reader wait: it takes what it has, and the next read uses the same buffer again. Only a request head that
//! does not fit makes the buffer grow.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use actix_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// The number of bytes that are read before they are looked at: the size of actix's buffer of a new connection, twice.
const READ_MAX: usize = 16 << 10;
/// The free bytes of a buffer below which actix makes room before it reads: by moving what is left to the front if it
/// is short, by a larger buffer otherwise.
const ROOM_MIN: usize = 1 << 10;

/// A caller's connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    /// The bytes that were read since the reader last had to wait.
    read: usize,
}

/// What a connection reads from and writes to.
#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl From<TcpStream> for Connection {
    fn from(socket: TcpStream) -> Self {
        let socket = Socket::Plain(socket);
        Self { socket, read: 0 }
    }
}

impl From<TlsStream<TcpStream>> for Connection {
    fn from(socket: TlsStream<TcpStream>) -> Self {
        let socket = Socket::Tls(Box::new(socket));
        Self { socket, read: 0 }
    }
}

/// Returns how much of the room in a buffer one read may fill.
fn read_at_once(room: usize) -> usize {
    if room < 2 * ROOM_MIN {
        // Few enough that actix finds room for the next read in the same buffer once the rest has been taken.
        room.div_ceil(2)
    } else {
        (room - ROOM_MIN).min(READ_MAX)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        if self.read >= READ_MAX || (self.read > 0 && room < 2 * ROOM_MIN) {
            // The reader looks at what it has, and then reads on.
            self.read = 0;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(read_at_once(room)));
        let result = match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(task, &mut part),
            Socket::Tls(socket) => Pin::new(socket).poll_read(task, &mut part),
        };
        let read = part.filled().len();
        buffer.advance(read);
        self.read = match result {
            Poll::Pending => 0,
            Poll::Ready(_) => self.read + read,
        };
        result
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(task, bytes),
            Socket::Tls(socket) => Pin::new(socket).poll_write(task, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(task, slices),
            Socket::Tls(socket) => Pin::new(socket).poll_write_vectored(task, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(task),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(task),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(task),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, poll_fn},
        net::Ipv4Addr,
        pin::pin,
    };

    use bytes::BytesMut;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::yield_now,
    };

    use super::*;

    const SENT: usize = 100 << 10;
    /// The size of actix's buffer of a new connection.
    const BUFFER: usize = 8 << 10;

    /// Returns a connection on which `SENT` bytes and the end arrive, and these bytes.
    async fn connection() -> (Connection, Vec<u8>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(SENT).collect();
        caller.write_all(&sent).await.unwrap();
        caller.shutdown().await.unwrap();
        // Enough has arrived that at first only the bounds make a reader wait.
        let mut arrived = vec![0; 2 * READ_MAX];
        while socket.peek(&mut arrived).await.unwrap() < arrived.len() {
            yield_now().await;
        }
        (Connection::from(socket), sent)
    }

    /// Reads until the connection makes its reader wait, with a buffer that grows as actix's does. Returns `true` at
    /// the end.
    async fn read_on(connection: &mut Connection, buffer: &mut BytesMut) -> bool {
        // More can only arrive while the test waits.
        yield_now().await;
        poll_fn(|task| {
            loop {
                let room = buffer.capacity() - buffer.len();
                if room < ROOM_MIN {
                    buffer.reserve(BUFFER - room);
                }
                match pin!(connection.read_buf(buffer)).poll(task) {
                    Poll::Pending => return Poll::Ready(false),
                    Poll::Ready(read) => {
                        if read.unwrap() == 0 {
                            return Poll::Ready(true);
                        }
                    }
                }
            }
        })
        .await
    }

    #[tokio::test]
    async fn a_buffer_from_which_all_is_taken_does_not_grow() {
        let (mut connection, sent) = connection().await;
        let mut buffer = BytesMut::with_capacity(BUFFER);
        let mut taken = Vec::new();
        let mut size_max = 0;
        loop {
            let is_end = read_on(&mut connection, &mut buffer).await;
            size_max = size_max.max(buffer.capacity());
            taken.extend_from_slice(&buffer.split());
            if is_end {
                break;
            }
        }
        assert!(taken == sent, "{} bytes", taken.len());
        assert_eq!(size_max, BUFFER);
    }

    #[tokio::test]
    async fn a_buffer_from_which_nothing_can_be_taken_grows_by_a_bounded_number_of_bytes() {
        let (mut connection, sent) = connection().await;
        let mut buffer = BytesMut::with_capacity(BUFFER);
        let mut before = 0;
        while !read_on(&mut connection, &mut buffer).await {
            let read = buffer.len() - before;
            assert!(read <= 2 * READ_MAX, "{read}");
            before = buffer.len();
        }
        assert!(buffer == sent, "{} bytes", buffer.len());
    }
}
