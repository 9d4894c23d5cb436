//! The head of a response.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use httparse::{ParserConfig, Response, Status};

use super::{HEAD_SIZE_MAX, HEADERS_MAX, Http1Error};

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// The status; never one of the interim statuses (1xx).
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// How the end of the body is found.
    pub framing: Framing,
    /// `true` if the connection can be used again after the body.
    pub keeps_open: bool,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its length in bytes.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// Takes the head of the response to a request with `method` from the beginning of `buffer`. Interim responses before it
/// are skipped. Returns `None` if the head is not complete yet.
///
/// # Errors
/// Returns an error if the head is not valid or is too large.
pub fn read_head(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, Http1Error> {
    loop {
        let Some(head) = read_one(buffer, method)? else {
            return Ok(None);
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Http1Error::Switched);
        }
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
    }
}

/// The positions of one header in the head.
#[derive(Clone, Copy, Default)]
struct Place {
    name: (usize, usize),
    value: (usize, usize),
}

fn read_one(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, Http1Error> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = Response::new(&mut []);
    let config = ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, buffer, &mut slots);
    let size = match parsed {
        Ok(Status::Complete(size)) if size <= HEAD_SIZE_MAX => size,
        Ok(Status::Partial) if buffer.len() < HEAD_SIZE_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Http1Error::HeadTooLarge),
        Err(_) => return Err(Http1Error::Head),
    };
    let code = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = code.ok_or(Http1Error::Head)?;
    let is_11 = response.version == Some(1);
    let mut places = [Place::default(); HEADERS_MAX];
    let count = response.headers.len();
    for (place, field) in places.iter_mut().zip(response.headers.iter()) {
        *place = Place {
            name: range_in(buffer, field.name.as_bytes()),
            value: range_in(buffer, field.value),
        };
    }
    let bytes = buffer.split_to(size).freeze();
    let mut headers = HeaderMap::with_capacity(count);
    for Place { name, value } in &places[..count] {
        let name = HeaderName::from_bytes(&bytes[name.0..name.1]);
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.0..value.1));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Http1Error::Head);
        };
        headers.append(name, value);
    }
    let framing = framing(status, method, &headers, is_11)?;
    let keeps_open = framing != Framing::UntilClose && stays_open(&headers, is_11);
    Ok(Some(Head {
        status,
        headers,
        framing,
        keeps_open,
    }))
}

/// Returns the positions of `part`, which is a part of `whole`.
fn range_in(whole: &[u8], part: &[u8]) -> (usize, usize) {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    let start = start.min(whole.len());
    (start, (start + part.len()).min(whole.len()))
}

/// Determines how the end of a body is found (RFC 9112, section 6.3).
fn framing(
    status: StatusCode,
    method: &Method,
    headers: &HeaderMap,
    is_11: bool,
) -> Result<Framing, Http1Error> {
    let is_empty = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    if is_empty || *method == Method::HEAD || status.is_informational() {
        return Ok(Framing::Length(0));
    }
    if let Some(encoding) = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .next_back()
    {
        let text = encoding.to_str().map_err(|_| Http1Error::Head)?;
        let last = text.rsplit(',').next().unwrap_or("").trim();
        return match (is_11, last.eq_ignore_ascii_case("chunked")) {
            (false, _) => Err(Http1Error::Head),
            (true, true) => Ok(Framing::Chunked),
            (true, false) => Ok(Framing::UntilClose),
        };
    }
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| Http1Error::Length)?;
        for part in text.split(',') {
            let part = part.trim();
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let number = part.parse::<u64>().ok().filter(|_| is_number);
            let number = number.ok_or(Http1Error::Length)?;
            if length.is_some_and(|before| before != number) {
                return Err(Http1Error::Length);
            }
            length = Some(number);
        }
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

/// Returns `true` if the server keeps the connection open after the response.
fn stays_open(headers: &HeaderMap, is_11: bool) -> bool {
    let mut stays = is_11;
    for value in headers.get_all(header::CONNECTION) {
        let text = value.to_str().unwrap_or("close");
        for option in text.split(',').map(str::trim) {
            if option.eq_ignore_ascii_case("close") {
                return false;
            }
            stays |= option.eq_ignore_ascii_case("keep-alive");
        }
    }
    stays
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, Http1Error> {
        read_head(&mut BytesMut::from(text), &Method::POST)
    }

    fn whole(text: &str) -> Head {
        read(text).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_read_wherever_it_is_cut() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A:  b \r\nX-A: c\r\nX-E:\r\n\r\nabc";
        let end = text.len() - 3;
        for cut in 0..end {
            assert!(read(&text[..cut]).unwrap().is_none(), "{cut}");
        }
        let mut buffer = BytesMut::from(text);
        let head = read_head(&mut buffer, &Method::POST).unwrap().unwrap();
        assert_eq!(
            (head.status, head.framing),
            (StatusCode::OK, Framing::Length(3))
        );
        assert!(head.keeps_open);
        let values: Vec<_> = head.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["b", "c"]);
        assert_eq!(head.headers["x-e"], "");
        assert_eq!(&buffer[..], b"abc");
    }

    #[test]
    fn interim_responses_are_skipped_and_a_switch_is_refused() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        let head = whole(&format!("{interim}HTTP/1.1 204 No Content\r\n\r\n"));
        assert_eq!(head.status, StatusCode::NO_CONTENT);
        assert!(!head.headers.contains_key("link"));
        assert!(read(interim).unwrap().is_none());
        let switch = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        assert_eq!(read(switch).unwrap_err(), Http1Error::Switched);
    }

    #[test]
    fn the_end_of_a_body_is_found_as_the_standard_says() {
        let framing = |lines: &str| read(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        let ok = |lines: &str| framing(lines).unwrap().unwrap().framing;
        assert_eq!(ok(""), Framing::UntilClose);
        assert_eq!(ok("transfer-encoding: gzip, Chunked\r\n"), Framing::Chunked);
        assert_eq!(
            ok("transfer-encoding: chunked\r\ncontent-length: 3\r\n"),
            Framing::Chunked
        );
        assert_eq!(ok("transfer-encoding: gzip\r\n"), Framing::UntilClose);
        assert_eq!(
            ok("content-length: 3, 3\r\ncontent-length: 3\r\n"),
            Framing::Length(3)
        );
        for wrong in ["3, 4", "-1", "+3", "x", "", "99999999999999999999"] {
            let error = framing(&format!("content-length: {wrong}\r\n")).unwrap_err();
            assert_eq!(error, Http1Error::Length, "{wrong}");
        }
        let old = read("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(old.unwrap_err(), Http1Error::Head);
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
        let head = read_head(&mut buffer, &Method::HEAD).unwrap().unwrap();
        assert_eq!(head.framing, Framing::Length(0));
    }

    #[test]
    fn a_connection_stays_open_unless_one_side_says_otherwise() {
        let open = |version: &str, lines: &str| {
            let text = format!("HTTP/1.{version} 200 OK\r\ncontent-length: 0\r\n{lines}\r\n");
            whole(&text).keeps_open
        };
        assert!(open("1", ""));
        assert!(open("1", "connection: keep-alive\r\n"));
        assert!(!open("1", "connection: x, Close\r\n"));
        assert!(!open(
            "1",
            "connection: keep-alive\r\nconnection: close\r\n"
        ));
        assert!(!open("0", ""));
        assert!(open("0", "connection: Keep-Alive\r\n"));
        assert!(!whole("HTTP/1.1 200 OK\r\n\r\n").keeps_open);
    }

    #[test]
    fn what_is_no_head_or_too_large_is_refused() {
        for text in [
            "x",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20x OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        ] {
            assert_eq!(read(text).unwrap_err(), Http1Error::Head, "{text}");
        }
        let many = "a: b\r\n".repeat(HEADERS_MAX + 1);
        let many = read(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"));
        assert_eq!(many.unwrap_err(), Http1Error::HeadTooLarge);
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_SIZE_MAX));
        assert_eq!(read(&long).unwrap_err(), Http1Error::HeadTooLarge);
    }
}
