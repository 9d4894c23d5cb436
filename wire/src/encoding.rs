//! Decodes compressed bodies, requested or not, within a bound.
//!
//! The body of an answer is decoded by what it is, not by its label: servers send `content-encoding: gzip` with plain
//! JSON, compressed bodies without a label, and labels that are not encodings.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, GzDecoder, ZlibDecoder};

use crate::sniff;

/// The bytes with which every gzip member begins.
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// The bytes that are needed to know the encoding of an answer.
const START: usize = 2;

/// Encodings that are not supported, and that are not a slip of the label.
const UNSUPPORTED: [&str; 5] = ["br", "zstd", "compress", "x-compress", "dcb"];

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
    Gzip(GzDecoder<Bounded>),
    Deflate(ZlibDecoder<Bounded>),
    /// Deflate without the header of zlib, as some servers send it.
    RawDeflate(DeflateDecoder<Bounded>),
    /// After the last gzip member, with anything that is not one.
    Ended(Bounded),
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
            "gzip" | "x-gzip" => Inner::Gzip(GzDecoder::new(out)),
            "deflate" => Inner::Deflate(ZlibDecoder::new(out)),
            other => return Err(EncodingError::Unknown(other.chars().take(40).collect())),
        };
        Ok(Some(Self { inner, max }))
    }

    /// Creates the decoder of an answer's body that begins with `start`, whatever its `content-encoding` is. Returns `None`
    /// if the body is not encoded.
    ///
    /// # Errors
    /// Returns an error if the encoding is not supported.
    pub fn of_answer(label: &str, start: &[u8], max: usize) -> Result<Option<Self>, EncodingError> {
        let label = label.trim().to_ascii_lowercase();
        let is_text = || {
            let kind = sniff::kind_of(start);
            start.is_empty() || matches!(kind, Some(sniff::Kind::Json | sniff::Kind::Events))
        };
        if start.starts_with(&GZIP) {
            return Self::new("gzip", max);
        }
        match label.as_str() {
            "gzip" | "x-gzip" if !is_text() => Self::new("gzip", max),
            "deflate" if is_zlib(start) => Self::new("deflate", max),
            "deflate" if !is_text() => {
                let out = Bounded {
                    out: Vec::new(),
                    left: max,
                };
                let inner = Inner::RawDeflate(DeflateDecoder::new(out));
                Ok(Some(Self { inner, max }))
            }
            other if UNSUPPORTED.contains(&other) && !is_text() => {
                Err(EncodingError::Unknown(label))
            }
            _ => Ok(None),
        }
    }

    /// Takes the next bytes and returns the bytes decoded so far.
    ///
    /// # Errors
    /// Returns an error if the bytes are invalid or the decoded body exceeds the bound.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes, EncodingError> {
        let written = match &mut self.inner {
            Inner::Gzip(_) => self.gunzip(bytes),
            Inner::Deflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Inner::RawDeflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Inner::Ended(_) => Ok(()),
        };
        written.map_err(|error| self.error(&error))?;
        Ok(self.take())
    }

    /// Decodes the members of a gzip body. What follows the last one is ignored: some servers fill it up with zeros.
    fn gunzip(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Inner::Gzip(decoder) = &mut self.inner {
            if bytes.is_empty() {
                return decoder.flush();
            }
            match decoder.write(bytes)? {
                0 => {
                    decoder.try_finish()?;
                    let left = decoder.get_ref().left;
                    let out = std::mem::take(&mut decoder.get_mut().out);
                    let rest = Bounded { out, left };
                    self.inner = if bytes.starts_with(&GZIP[..1]) {
                        Inner::Gzip(GzDecoder::new(rest))
                    } else {
                        Inner::Ended(rest)
                    };
                }
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }

    /// Takes the end of the body and returns the rest.
    ///
    /// # Errors
    /// Returns an error if the body is incomplete.
    pub fn finish(&mut self) -> Result<Bytes, EncodingError> {
        let finished = match &mut self.inner {
            Inner::Gzip(decoder) => decoder.try_finish(),
            Inner::Deflate(decoder) => decoder.try_finish(),
            Inner::RawDeflate(decoder) => decoder.try_finish(),
            Inner::Ended(_) => Ok(()),
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
            Inner::RawDeflate(decoder) => decoder.get_mut(),
            Inner::Ended(rest) => rest,
        };
        Bytes::from(std::mem::take(&mut bounded.out))
    }

    fn name(&self) -> &'static str {
        match self.inner {
            Inner::Gzip(_) | Inner::Ended(_) => "gzip",
            Inner::Deflate(_) | Inner::RawDeflate(_) => "deflate",
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

/// Returns `true` once enough of a body has arrived to know its encoding.
pub fn is_known(start: &[u8]) -> bool {
    start.len() >= START
}

/// Returns `true` if bytes begin with the header of zlib.
fn is_zlib(start: &[u8]) -> bool {
    let [first, second, ..] = start else {
        return false;
    };
    first & 0x0F == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
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
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
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
    fn an_answer_is_decoded_by_what_it_is() {
        let text = br#"{"choices":[]}"#;
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let zlib = zlib.finish().unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(text).unwrap();
        let raw = raw.finish().unwrap();
        let filled = [gzip(text), vec![0; 9]].concat();
        let two = [gzip(&text[..5]), gzip(&text[5..])].concat();
        let cases: [(&str, Vec<u8>); 14] = [
            ("", text.to_vec()),
            ("identity", text.to_vec()),
            ("utf-8", text.to_vec()),
            ("gzip", text.to_vec()),
            ("deflate", text.to_vec()),
            ("br", text.to_vec()),
            ("", gzip(text)),
            ("deflate", gzip(text)),
            ("GZIP ", gzip(text)),
            ("gzip", filled),
            ("gzip", two),
            ("deflate", zlib),
            ("deflate", raw),
            ("utf-8", b"plain".to_vec()),
        ];
        for (label, body) in cases {
            for piece in [1, 3, body.len()] {
                let start = &body[..piece.max(START)];
                let mut decoder = Decoder::of_answer(label, start, 1000).unwrap();
                let mut decoded = Vec::new();
                for chunk in body.chunks(piece) {
                    decoded.extend_from_slice(&match &mut decoder {
                        Some(decoder) => decoder.push(chunk).unwrap(),
                        None => Bytes::copy_from_slice(chunk),
                    });
                }
                if let Some(mut decoder) = decoder {
                    decoded.extend_from_slice(&decoder.finish().unwrap());
                }
                let expected = if body == b"plain" { &body[..] } else { text };
                assert_eq!(decoded, expected, "{label} in pieces of {piece}");
            }
        }
        assert!(matches!(
            Decoder::of_answer("br", b"\x1b\x0d", 1000),
            Err(EncodingError::Unknown(_))
        ));
        let mut damaged = Decoder::of_answer("gzip", b"\x00\x01", 1000)
            .unwrap()
            .unwrap();
        assert!(
            damaged
                .push(b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a")
                .is_err()
        );
        let cut = [gzip(text), gzip(text)[..12].to_vec()].concat();
        let mut cut_member = Decoder::of_answer("gzip", &cut, 1000).unwrap().unwrap();
        cut_member.push(&cut).unwrap();
        assert_eq!(cut_member.finish(), Err(EncodingError::Incomplete("gzip")));
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
