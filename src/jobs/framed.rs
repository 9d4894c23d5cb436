//! A head as one line of JSON, and behind it a body as it is. So a body is neither escaped nor read.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// Returns a head and a body as one text.
pub(super) fn write(head: &impl Serialize, body: &[u8]) -> Vec<u8> {
    // Strings and numbers are always written.
    let mut bytes = serde_json::to_vec(head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    bytes
}

/// Returns the head and the body of a text; `None` if there is no head of this kind.
pub(super) fn read<T: DeserializeOwned>(bytes: Vec<u8>) -> Option<(T, Bytes)> {
    let end = memchr::memchr(b'\n', &bytes)?;
    let head = serde_json::from_slice(&bytes[..end]).ok()?;
    Some((head, Bytes::from(bytes).slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_any_bytes_is_read_as_it_was_written() {
        for body in [&b""[..], b"\n\xff\n", b"{\"a\": 1}"] {
            let bytes = write(&("a\nb", 7), body);
            let (head, read): ((String, u8), Bytes) = read(bytes).unwrap();
            assert_eq!((head.0.as_str(), head.1, &read[..]), ("a\nb", 7, body));
        }
        assert!(read::<u8>(b"7".to_vec()).is_none());
        assert!(read::<u8>(b"x\nbody".to_vec()).is_none());
    }
}
