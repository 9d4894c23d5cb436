//! The body of a response.

use bytes::{Buf, Bytes, BytesMut};
use httparse::Status;

use super::{Framing, Http1Error};

/// The longest line of a chunk's size, with its extensions, and the largest trailer, in bytes.
const LINE_MAX: usize = 16 << 10;

/// Finds the body in the bytes that follow a head.
#[derive(Debug)]
pub struct Body {
    state: State,
}

/// The result of one step.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The next bytes of the body, at least one.
    Data(Bytes),
    /// More bytes of the connection are needed.
    NeedsMore,
    /// The body has ended.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This number of bytes remains.
    Length(u64),
    /// The size of the next chunk is expected.
    ChunkSize,
    /// This number of bytes of the chunk remains.
    ChunkData(u64),
    /// The line end behind a chunk is expected.
    ChunkEnd,
    /// The lines behind the last chunk are expected.
    Trailer,
    UntilClose,
    Ended,
}

impl Body {
    /// Creates the reader of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Returns `true` once the body has ended.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Returns the number of bytes that remain; `None` if it is not known.
    pub fn rest(&self) -> Option<u64> {
        match self.state {
            State::Length(rest) => Some(rest),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// Takes the part of the body at the beginning of `buffer`. The data of several chunks that have arrived is returned
    /// together.
    ///
    /// # Errors
    /// Returns an error if a chunk is not valid.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Http1Error> {
        let mut first: Option<Bytes> = None;
        let mut joined = BytesMut::new();
        loop {
            let step = match self.step(buffer) {
                // The data before it is returned first; the next call finds the error again.
                Err(_) if first.is_some() || !joined.is_empty() => Decoded::NeedsMore,
                step => step?,
            };
            match step {
                Decoded::Data(data) => match first.take() {
                    None if joined.is_empty() => first = Some(data),
                    None => joined.extend_from_slice(&data),
                    Some(before) => {
                        joined.reserve(before.len() + data.len() + buffer.len());
                        joined.extend_from_slice(&before);
                        joined.extend_from_slice(&data);
                    }
                },
                last => {
                    return Ok(match first {
                        Some(data) => Decoded::Data(data),
                        None if joined.is_empty() => last,
                        None => Decoded::Data(joined.freeze()),
                    });
                }
            }
        }
    }

    /// Ends the body, because the connection was closed.
    ///
    /// # Errors
    /// Returns an error if the body is not complete.
    pub fn closed(&mut self) -> Result<(), Http1Error> {
        if matches!(self.state, State::UntilClose | State::Ended) {
            self.state = State::Ended;
            return Ok(());
        }
        Err(Http1Error::Incomplete)
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Http1Error> {
        loop {
            match self.state {
                State::Ended => return Ok(Decoded::Ended),
                _ if buffer.is_empty() => return Ok(Decoded::NeedsMore),
                State::UntilClose => return Ok(Decoded::Data(buffer.split().freeze())),
                State::Length(rest) => {
                    let (data, rest) = take(buffer, rest);
                    self.state = match rest {
                        0 => State::Ended,
                        rest => State::Length(rest),
                    };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkData(rest) => {
                    let (data, rest) = take(buffer, rest);
                    self.state = match rest {
                        0 => State::ChunkEnd,
                        rest => State::ChunkData(rest),
                    };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkSize => match httparse::parse_chunk_size(buffer) {
                    Ok(Status::Complete((line, size))) => {
                        buffer.advance(line);
                        self.state = match size {
                            0 => State::Trailer,
                            size => State::ChunkData(size),
                        };
                    }
                    Ok(Status::Partial) if buffer.len() <= LINE_MAX => {
                        return Ok(Decoded::NeedsMore);
                    }
                    Ok(Status::Partial) | Err(_) => return Err(Http1Error::Chunk),
                },
                State::ChunkEnd => match buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::ChunkSize;
                    }
                    [b'\r'] => return Ok(Decoded::NeedsMore),
                    _ => return Err(Http1Error::Chunk),
                },
                State::Trailer => match trailer(buffer)? {
                    Some(size) => {
                        buffer.advance(size);
                        self.state = State::Ended;
                    }
                    None => return Ok(Decoded::NeedsMore),
                },
            }
        }
    }
}

/// Takes at most `rest` bytes; returns them and the number of bytes that remain.
fn take(buffer: &mut BytesMut, rest: u64) -> (Bytes, u64) {
    let here = usize::try_from(rest)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    let left = rest.saturating_sub(u64::try_from(here).unwrap_or(rest));
    (buffer.split_to(here).freeze(), left)
}

/// Returns the size of the trailer, whose fields are ignored, with the empty line at its end; `None` if it is not complete.
fn trailer(buffer: &[u8]) -> Result<Option<usize>, Http1Error> {
    let mut start = 0;
    while let Some(length) = memchr::memchr(b'\n', &buffer[start..]) {
        let line = &buffer[start..start + length];
        start += length + 1;
        if matches!(line, b"\r" | b"") {
            return Ok(Some(start));
        }
    }
    if buffer.len() > LINE_MAX {
        return Err(Http1Error::Chunk);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: &str = "5\r\nhello\r\n1;ext=1\r\n \r\nA\r\n0123456789\r\n0\r\nx-t: y\r\n\r\n";

    /// Decodes bytes that arrive in these parts; returns the body, the bytes behind it, and the error.
    fn decode<'b>(
        framing: Framing,
        parts: impl Iterator<Item = &'b [u8]>,
    ) -> Result<(Vec<u8>, Vec<u8>), Http1Error> {
        let (mut body, mut buffer) = (Body::new(framing), BytesMut::new());
        let mut data = Vec::new();
        for part in parts {
            buffer.extend_from_slice(part);
            while let Decoded::Data(more) = body.decode(&mut buffer)? {
                data.extend_from_slice(&more);
            }
        }
        if !body.has_ended() {
            body.closed()?;
        }
        Ok((data, buffer.to_vec()))
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_its_bytes_arrive(size in 1..70_usize) {
            let text = format!("{CHUNKED}HTTP");
            let expected = (b"hello 0123456789".to_vec(), b"HTTP".to_vec());
            let decoded = decode(Framing::Chunked, text.as_bytes().chunks(size));
            prop_assert_eq!(decoded, Ok(expected));
            let decoded = decode(Framing::Length(6), b"abcdefghi".chunks(size));
            prop_assert_eq!(decoded, Ok((b"abcdef".to_vec(), b"ghi".to_vec())));
            let decoded = decode(Framing::UntilClose, b"abc".chunks(size));
            prop_assert_eq!(decoded, Ok((b"abc".to_vec(), Vec::new())));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 1..50_usize) {
            let decoded = decode(Framing::Chunked, bytes.chunks(size));
            prop_assert!(decoded.is_err() || !bytes.is_empty());
        }
    }

    #[test]
    fn chunks_that_have_arrived_are_returned_together() {
        let mut buffer = BytesMut::from(CHUNKED);
        let mut body = Body::new(Framing::Chunked);
        let data = body.decode(&mut buffer).unwrap();
        assert_eq!(data, Decoded::Data(Bytes::from_static(b"hello 0123456789")));
        assert!(body.has_ended(), "the end is known without another step");
        assert_eq!(body.decode(&mut buffer).unwrap(), Decoded::Ended);
    }

    #[test]
    fn one_chunk_is_not_copied() {
        let mut buffer = BytesMut::from("5\r\nhello\r\n");
        let place = buffer[3..].as_ptr();
        let data = Body::new(Framing::Chunked).decode(&mut buffer).unwrap();
        assert!(matches!(data, Decoded::Data(data) if data.as_ptr() == place));
    }

    #[test]
    fn what_is_cut_or_damaged_is_an_error() {
        for end in 0..CHUNKED.len() {
            let cut = decode(Framing::Chunked, [&CHUNKED.as_bytes()[..end]].into_iter());
            assert_eq!(cut, Err(Http1Error::Incomplete), "{end}");
        }
        let cut = decode(Framing::Length(3), [&b"ab"[..]].into_iter());
        assert_eq!(cut, Err(Http1Error::Incomplete));
        for wrong in [
            "x\r\n",
            "5\r\nhelloX\r\n",
            "-1\r\n",
            "fffffffffffffffff\r\n",
            "5\nhello",
        ] {
            let damaged = decode(Framing::Chunked, [wrong.as_bytes()].into_iter());
            assert_eq!(damaged, Err(Http1Error::Chunk), "{wrong}");
        }
        let long = format!("5;{}", "x".repeat(LINE_MAX));
        let long = decode(Framing::Chunked, [long.as_bytes()].into_iter());
        assert_eq!(long, Err(Http1Error::Chunk));
        let long = format!("0\r\nx: {}", "y".repeat(LINE_MAX));
        let long = decode(Framing::Chunked, [long.as_bytes()].into_iter());
        assert_eq!(long, Err(Http1Error::Chunk));
    }

    #[test]
    fn the_data_before_damage_is_returned() {
        let mut buffer = BytesMut::from("5\r\nhello\r\nx\r\n");
        let mut body = Body::new(Framing::Chunked);
        let data = Decoded::Data(Bytes::from_static(b"hello"));
        assert_eq!(body.decode(&mut buffer), Ok(data));
        assert_eq!(body.decode(&mut buffer), Err(Http1Error::Chunk));
    }

    #[test]
    fn the_rest_of_a_body_is_known_if_its_length_is() {
        let mut buffer = BytesMut::from("ab");
        let mut body = Body::new(Framing::Length(5));
        assert_eq!(
            body.decode(&mut buffer).unwrap(),
            Decoded::Data(Bytes::from_static(b"ab"))
        );
        assert_eq!(body.rest(), Some(3));
        assert_eq!(Body::new(Framing::Chunked).rest(), None);
    }
}
