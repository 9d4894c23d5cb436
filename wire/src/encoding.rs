//! Decodes compressed bodies, requested or not, within a bound.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

/// The reason why a compressed body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The encoding is not supported.
    #[error("the content encoding `{0}` is not supported; use `gzip`, `deflate` or `identity`")]
    Unknown(String),
    /// The bytes are not valid in that encoding.
    #[error("the body is not valid `{0}`")]
    Damaged(&'static str),
    /// The body ended before its encoding was complete.
    #[error("the `{0}` body is incomplete")]
    Incomplete(&'static str),
    /// The decoded body is larger than allowed.
    #[error("the decoded body is larger than {0} bytes")]
    TooLarge(usize),
}

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder {
    inner: Inner,
    /// The largest allowed number of decoded bytes.
    max: usize,
}

#[derive(Debug)]
enum Inner {
    Gzip(MultiGzDecoder<Bounded>),
    Deflate(ZlibDecoder<Bounded>),
}

/// Holds the bytes decoded since the last call, and refuses more than the bound.
#[derive(Debug)]
struct Bounded {
    out: Vec<u8>,
    left: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large"));
        };
        self.left = left;
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// Creates the decoder of a body with the given `content-encoding` and at most `max` decoded bytes. Returns `None`
    /// if the body is not encoded.
    ///
    /// # Errors
    /// Returns an error if the encoding is not supported.
    pub fn new(encoding: &str, max: usize) -> Result<Option<Self>, EncodingError> {
        let out = Bounded {
            out: Vec::new(),
            left: max,
        };
        let inner = match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => return Ok(None),
            "gzip" | "x-gzip" => Inner::Gzip(MultiGzDecoder::new(out)),
            "deflate" => Inner::Deflate(ZlibDecoder::new(out)),
            other => return Err(EncodingError::Unknown(other.chars().take(40).collect())),
        };
        Ok(Some(Self { inner, max }))
    }

    /// Takes the next bytes and returns the bytes decoded so far.
    ///
    /// # Errors
    /// Returns an error if the bytes are invalid or the decoded body exceeds the bound.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes, EncodingError> {
        let written = match &mut self.inner {
            Inner::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Inner::Deflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
        };
        written.map_err(|error| self.error(&error))?;
        Ok(self.take())
    }

    /// Takes the end of the body and returns the rest.
    ///
    /// # Errors
    /// Returns an error if the body is incomplete.
    pub fn finish(&mut self) -> Result<Bytes, EncodingError> {
        let finished = match &mut self.inner {
            Inner::Gzip(decoder) => decoder.try_finish(),
            Inner::Deflate(decoder) => decoder.try_finish(),
        };
        let name = self.name();
        match finished {
            Ok(()) => Ok(self.take()),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(self.error(&error)),
            Err(_) => Err(EncodingError::Incomplete(name)),
        }
    }

    fn take(&mut self) -> Bytes {
        let bounded = match &mut self.inner {
            Inner::Gzip(decoder) => decoder.get_mut(),
            Inner::Deflate(decoder) => decoder.get_mut(),
        };
        Bytes::from(std::mem::take(&mut bounded.out))
    }

    fn name(&self) -> &'static str {
        match self.inner {
            Inner::Gzip(_) => "gzip",
            Inner::Deflate(_) => "deflate",
        }
    }

    fn error(&self, error: &io::Error) -> EncodingError {
        if error.kind() == io::ErrorKind::FileTooLarge {
            EncodingError::TooLarge(self.max)
        } else {
            EncodingError::Damaged(self.name())
        }
    }
}

/// Decodes a whole body.
///
/// # Errors
/// See [`EncodingError`].
pub fn decode(encoding: &str, body: Bytes, max: usize) -> Result<Bytes, EncodingError> {
    let Some(mut decoder) = Decoder::new(encoding, max)? else {
        return Ok(body);
    };
    let mut decoded = decoder.push(&body)?.to_vec();
    decoded.extend_from_slice(&decoder.finish()?);
    Ok(Bytes::from(decoded))
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_encoding_is_decoded_in_any_pieces() {
        let text = b"data: {}\n\n".repeat(50);
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(&text).unwrap();
        let two = [gzip(&text[..100]), gzip(&text[100..])].concat();
        for (encoding, bytes) in [
            ("gzip", gzip(&text)),
            (" X-GZIP", two),
            ("deflate", deflate.finish().unwrap()),
        ] {
            for piece in [1, 7, bytes.len()] {
                let mut decoder = Decoder::new(encoding, 1000).unwrap().unwrap();
                let mut decoded = Vec::new();
                for chunk in bytes.chunks(piece) {
                    decoded.extend_from_slice(&decoder.push(chunk).unwrap());
                }
                decoded.extend_from_slice(&decoder.finish().unwrap());
                assert_eq!(decoded, text, "{encoding} in pieces of {piece}");
            }
            assert_eq!(decode(encoding, bytes.into(), 1000).unwrap(), text);
        }
        assert!(Decoder::new("identity", 1).unwrap().is_none());
    }

    #[test]
    fn what_is_cut_damaged_too_large_or_unknown_is_an_error() {
        let bomb = gzip(&vec![b'x'; 1 << 20]);
        assert_eq!(
            decode("gzip", bomb.clone().into(), 1000),
            Err(EncodingError::TooLarge(1000))
        );
        let cut = bomb[..bomb.len() / 2].to_vec();
        assert_eq!(
            decode("gzip", cut.into(), 2 << 20),
            Err(EncodingError::Incomplete("gzip"))
        );
        assert_eq!(
            decode("gzip", Bytes::from_static(b"{}{}{}{}{}{}"), 1000),
            Err(EncodingError::Damaged("gzip"))
        );
        assert_eq!(
            decode("br", Bytes::new(), 1000),
            Err(EncodingError::Unknown("br".to_owned()))
        );
    }
}
