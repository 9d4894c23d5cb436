//! Redirects that are followed: those to the same server that keep the method and the body (307 and 308).
//!
//! Servers send them if a slash is missing at the end of a path. A redirect to another server is not followed, because
//! the key would be sent to it.

use http::header;
use kebne_wire::redact;
use reqwest::Url;

use crate::backend::upstream::response::Response;

/// The number of redirects that are followed one after another.
pub(super) const HOPS_MAX: usize = 2;

/// Returns the destination of a redirect, if it is followed.
pub(super) fn target(from: &Url, response: &Response) -> Option<Url> {
    let keeps_the_body = matches!(response.status().as_u16(), 307 | 308);
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    let target = from.join(location).ok().filter(|_| keeps_the_body)?;
    is_same_server(from, &target).then_some(target)
}

/// Returns the destination of any redirect, for a log.
pub(super) fn location(response: &Response) -> Option<String> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    let shown = redact::url(location);
    response
        .status()
        .is_redirection()
        .then(|| shown.chars().take(200).collect())
}

fn is_same_server(from: &Url, to: &Url) -> bool {
    let is_same_port = from.port_or_known_default() == to.port_or_known_default();
    let becomes_secure = from.scheme() == "http" && to.scheme() == "https" && to.port().is_none();
    from.host() == to.host() && ((from.scheme() == to.scheme() && is_same_port) || becomes_secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_server_gets_the_key() {
        let from = Url::parse("http://host:8000/v1/chat").unwrap();
        for (to, is_same) in [
            ("/v1/chat/", true),
            ("http://host:8000/x", true),
            ("https://host/x", true),
            ("http://host/x", false),
            ("http://other:8000/x", false),
            ("//other/x", false),
            ("https://host:9000/x", false),
        ] {
            let target = from.join(to).unwrap();
            assert_eq!(is_same_server(&from, &target), is_same, "{to}");
        }
        let secure = Url::parse("https://host/v1").unwrap();
        assert!(!is_same_server(
            &secure,
            &Url::parse("http://host/v1").unwrap()
        ));
    }
}
