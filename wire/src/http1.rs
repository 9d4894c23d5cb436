//! HTTP/1.1 as a client uses it: the head of a request, the head of a response, and the body of a response (RFC 9112).
//!
//! It serves calls over plain connections, where a general client costs more than all other work of the call.

mod body;
mod head;
mod request;

pub use body::{Body, Decoded};
pub use head::{Framing, Head, read_head};
pub use request::write_request;

/// The largest head of a response, in bytes.
pub const HEAD_SIZE_MAX: usize = 256 << 10;
/// The largest number of headers of a response.
pub const HEADERS_MAX: usize = 128;

/// The reason why a response cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Http1Error {
    /// The head is not valid.
    #[error("the head of the response is not valid HTTP/1.1")]
    Head,
    /// The head is larger than [`HEAD_SIZE_MAX`], or has more than [`HEADERS_MAX`] headers.
    #[error("the head of the response is too large")]
    HeadTooLarge,
    /// The length of the body is not valid.
    #[error("the `content-length` of the response is not valid")]
    Length,
    /// A chunk of the body is not valid.
    #[error("a chunk of the response's body is not valid")]
    Chunk,
    /// The connection was closed before the end of the response.
    #[error("the connection was closed before the end of the response")]
    Incomplete,
    /// The server switched to another protocol, which was not requested.
    #[error("the server switched to another protocol")]
    Switched,
}
