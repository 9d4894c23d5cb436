//! The head of a request.

use bytes::BytesMut;
use http::{HeaderMap, Method, header};

/// Appends the head of a request to `out`. A `host` is added unless `headers` has one, and a `content-length` unless the
/// method has no body and `length` is 0. Headers that `http` has validated cannot break the head.
pub fn write_request(
    out: &mut BytesMut,
    method: &Method,
    target: &str,
    host: &str,
    headers: &HeaderMap,
    length: usize,
) {
    let lines = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    let values: usize = lines.sum();
    out.reserve(96 + method.as_str().len() + target.len() + host.len() + values + length);
    out.extend_from_slice(method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !headers.contains_key(header::HOST) {
        line(out, b"host", host.as_bytes());
    }
    for (name, value) in headers {
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if length > 0 || !has_no_body(method) {
        let mut digits = [0; 20];
        line(out, b"content-length", decimal(length, &mut digits));
    }
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn has_no_body(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::DELETE].contains(method)
}

/// Writes a number at the end of `digits` and returns its digits.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    &digits[start..]
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn written(method: &Method, headers: &HeaderMap, length: usize) -> String {
        let mut out = BytesMut::new();
        write_request(&mut out, method, "/v1/x?y=1", "h:80", headers, length);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_head_has_one_host_and_one_length() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("*/*"));
        headers.insert("content-length", HeaderValue::from_static("9"));
        headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        assert_eq!(
            written(&Method::POST, &headers, 120),
            "POST /v1/x?y=1 HTTP/1.1\r\nhost: h:80\r\naccept: */*\r\ncontent-length: 120\r\n\r\n"
        );
        headers.insert("host", HeaderValue::from_static("other"));
        let own = written(&Method::POST, &headers, 0);
        assert!(
            own.contains("\r\nhost: other\r\n") && !own.contains("h:80"),
            "{own}"
        );
        assert!(own.contains("\r\ncontent-length: 0\r\n"), "{own}");
    }

    #[test]
    fn a_method_without_a_body_has_no_length() {
        let none = written(&Method::GET, &HeaderMap::new(), 0);
        assert_eq!(none, "GET /v1/x?y=1 HTTP/1.1\r\nhost: h:80\r\n\r\n");
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 65_535, usize::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
