//! A caller's connection, of which a little is read at a time.
//!
//! actix reads all that a socket holds, up to 128 KiB, before it looks at a request, and keeps a buffer of that size as
//! long as the connection is open. Thousands of connections that send large bodies would take more memory for these
//! buffers than for the bodies.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The number of bytes that are read before they are looked at: the size of actix's buffer of a new connection, twice.
const READ_MAX: usize = 16 << 10;

/// A caller's connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    /// The bytes that were read since the reader last had to wait.
    read: usize,
}

impl Connection {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, read: 0 }
    }

    /// Returns the caller's address, if it is still connected.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= READ_MAX {
            // The reader looks at what it has, and then reads on.
            self.read = 0;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(task, buffer);
        self.read = match read {
            Poll::Pending => 0,
            Poll::Ready(_) => self.read + buffer.filled().len() - before,
        };
        ready!(read)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, net::Ipv4Addr};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_reader_waits_after_each_16_kib_and_loses_nothing() {
        const SENT: usize = 100 << 10;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(SENT).collect();
        caller.write_all(&sent).await.unwrap();
        caller.shutdown().await.unwrap();
        let mut connection = Connection::new(socket);
        let mut bytes = vec![0; SENT];
        // All bytes have arrived, so that only the bound makes a reader wait.
        let arrived = connection.socket.peek(&mut bytes).await.unwrap();
        assert!(arrived > READ_MAX, "{arrived}");
        let at_once = poll_fn(|task| {
            let mut read = 0;
            loop {
                let mut part = [0; 1000];
                let mut buffer = ReadBuf::new(&mut part);
                let Poll::Ready(result) = Pin::new(&mut connection).poll_read(task, &mut buffer)
                else {
                    return Poll::Ready(read);
                };
                result.unwrap();
                bytes[read..read + buffer.filled().len()].copy_from_slice(buffer.filled());
                read += buffer.filled().len();
            }
        });
        let read = at_once.await;
        assert!((READ_MAX..READ_MAX + 1000).contains(&read), "{read}");
        connection.read_exact(&mut bytes[read..]).await.unwrap();
        assert_eq!(connection.read(&mut [0; 1]).await.unwrap(), 0, "the end");
        assert_eq!(bytes, sent);
    }
}
