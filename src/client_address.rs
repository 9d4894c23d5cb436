//! Whom a request comes from: the address of its connection, or the one that a trusted proxy names.
//!
//! Any caller can write the headers of a proxy, so they count only if the connection comes from one of
//! `server.trusted_proxies`. Proxies append, so the list is read from its end: the first address that is not itself a trusted
//! proxy is the client. What stands before it may be forged and is not read.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName};

use crate::settings::{ClientHeader, Network, ServerSettings};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Returns the address of the client; `None` if the connection is already gone.
pub fn client(
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    settings: &ServerSettings,
) -> Option<IpAddr> {
    let mut address = peer?.ip().to_canonical();
    if !is_trusted(address, &settings.trusted_proxies) {
        return Some(address);
    }
    let mut named = named(headers, settings.trusted_header).into_iter().rev();
    while is_trusted(address, &settings.trusted_proxies)
        && let Some(Some(before)) = named.next()
    {
        address = before;
    }
    Some(address)
}

/// Returns `true` if a trusted proxy says that its caller used TLS.
pub fn came_by_tls(
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    settings: &ServerSettings,
) -> bool {
    let is_trusted = peer.is_some_and(|peer| is_trusted(peer.ip(), &settings.trusted_proxies));
    let protocol = match settings.trusted_header {
        _ if !is_trusted => None,
        ClientHeader::XForwardedFor => items(headers, &X_FORWARDED_PROTO).pop(),
        ClientHeader::Forwarded => items(headers, &FORWARDED)
            .last()
            .and_then(|last| parameter(last, "proto")),
    };
    protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("https"))
}

fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Returns the addresses that a header names; `None` for what is not an address, such as `unknown`.
fn named(headers: &HeaderMap, header: ClientHeader) -> Vec<Option<IpAddr>> {
    match header {
        ClientHeader::XForwardedFor => {
            let items = items(headers, &X_FORWARDED_FOR).into_iter();
            items.map(|item| address(&item)).collect()
        }
        ClientHeader::Forwarded => {
            let items = items(headers, &FORWARDED).into_iter();
            let parameters = items.map(|item| parameter(&item, "for"));
            parameters.map(|node| address(&node?)).collect()
        }
    }
}

/// Returns the items of a list in a header, which may stand in several lines.
fn items(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).filter_map(|line| line.to_str().ok());
    let items = lines.flat_map(|line| outside_quotes(line, ','));
    items.map(|item| item.trim().to_owned()).collect()
}

/// Splits a text at a separator that does not stand in quotes.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |letter| {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        letter == separator && !is_quoted
    })
}

/// Returns a parameter of an element of `Forwarded`.
fn parameter(element: &str, name: &str) -> Option<String> {
    let mut pairs = outside_quotes(element, ';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// Reads an address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse().ok().or_else(with_port).or_else(bare);
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.7:4711";

    fn settings(header: ClientHeader) -> ServerSettings {
        ServerSettings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
            trusted_header: header,
            ..ServerSettings::default()
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn client_of(peer: &str, lines: &[(&str, &str)], header: ClientHeader) -> String {
        let peer = Some(peer.parse().unwrap());
        let client = client(peer, &headers(lines), &settings(header));
        client.unwrap().to_string()
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let forged = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
        for header in [ClientHeader::XForwardedFor, ClientHeader::Forwarded] {
            assert_eq!(client_of("9.9.9.9:1", &forged, header), "9.9.9.9");
            assert_eq!(client_of(PROXY, &forged, header), "1.1.1.1");
            assert_eq!(client_of("[::ffff:10.1.1.1]:9", &forged, header), "1.1.1.1");
            assert_eq!(client_of(PROXY, &[], header), "10.0.0.7");
        }
        let untrusting = ServerSettings::default();
        let peer = Some("127.0.0.1:1".parse().unwrap());
        let client = client(peer, &headers(&forged), &untrusting).unwrap();
        assert_eq!(client.to_string(), "127.0.0.1");
        assert_eq!(super::client(None, &headers(&forged), &untrusting), None);
    }

    #[test]
    fn the_list_is_read_from_its_end_up_to_the_first_address_that_no_proxy_has() {
        for (lines, client) in [
            // What the caller wrote itself stands first.
            (vec!["6.6.6.6, 2.2.2.2"], "2.2.2.2"),
            (vec!["6.6.6.6, 2.2.2.2, 10.1.1.1"], "2.2.2.2"),
            (vec!["6.6.6.6", "2.2.2.2", "10.1.1.1, ::1"], "2.2.2.2"),
            (vec!["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
            (vec!["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1"),
            (vec!["2.2.2.2:5000"], "2.2.2.2"),
            (vec!["[2001:db8::1]:5000"], "2001:db8::1"),
            (vec!["2001:db8::1"], "2001:db8::1"),
            (vec![""], "10.0.0.7"),
        ] {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            let seen = client_of(PROXY, &lines, ClientHeader::XForwardedFor);
            assert_eq!(seen, client, "{lines:?}");
        }
    }

    #[test]
    fn the_elements_of_forwarded_are_read() {
        for (line, client) in [
            (
                "for=6.6.6.6, for=2.2.2.2;proto=https;by=10.0.0.1",
                "2.2.2.2",
            ),
            ("For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=\"[2001:db8::1]\"; proto=http", "2001:db8::1"),
            ("proto=https;for=2.2.2.2,for=10.1.1.1", "2.2.2.2"),
            ("for=2.2.2.2;host=\"a,b;for=6.6.6.6\"", "2.2.2.2"),
            ("for=_hidden", "10.0.0.7"),
            ("for=6.6.6.6, proto=https", "10.0.0.7"),
        ] {
            let seen = client_of(PROXY, &[("forwarded", line)], ClientHeader::Forwarded);
            assert_eq!(seen, client, "{line}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_that_its_caller_used_tls() {
        let lines = [
            ("x-forwarded-proto", "http, https"),
            ("forwarded", "for=2.2.2.2;proto=HTTPS"),
        ];
        for header in [ClientHeader::XForwardedFor, ClientHeader::Forwarded] {
            let by_tls = |peer: &str| {
                let peer = Some(peer.parse().unwrap());
                came_by_tls(peer, &headers(&lines), &settings(header))
            };
            assert!(by_tls(PROXY));
            assert!(!by_tls("9.9.9.9:1"));
        }
    }
}
