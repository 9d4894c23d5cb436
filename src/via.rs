//! `Via` ([RFC 9110, 7.6.3](https://www.rfc-editor.org/rfc/rfc9110#section-7.6.3)): how a call is known that comes back to this process.
//!
//! Every request that is sent for a call names the gateways which the call has come through, this process last. A call that names this
//! process has made a circle, and is refused. Calls through other gateways are not: each process has a name of its own.
//!
//! The name is the one value of the program that all gateways of a process share, because it identifies the process. It is random, so that
//! nobody can have a call refused who has not got one from here.

use std::sync::{Arc, LazyLock};

use actix_web::http::header::{HeaderMap as CallerHeaders, VIA as CALLER_VIA};
use http::{HeaderMap, HeaderValue, header::VIA};
use memchr::memmem::Finder;

/// The name of this process.
static PSEUDONYM: LazyLock<String> = LazyLock::new(|| format!("kebne-{:016x}", fastrand::u64(..)));

/// The header of a call that has come through no other gateway.
static OWN: LazyLock<HeaderValue> = LazyLock::new(|| {
    let own = HeaderValue::try_from(received_by(&PSEUDONYM));
    // A name of letters, digits and a hyphen is the value of a header.
    own.unwrap_or(HeaderValue::from_static("1.1 kebne"))
});

/// Finds the name.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PSEUDONYM.as_bytes()));

/// Returns the member of `Via` for a gateway. HTTP/2 is named as its predecessor, because nothing depends on the version.
fn received_by(name: &str) -> String {
    format!("1.1 {name}")
}

/// Returns the header of what this process sends.
pub(crate) fn own() -> HeaderValue {
    OWN.clone()
}

/// Returns `true` if a request was sent by this process, directly or through others.
pub(crate) fn names_this_process(headers: &CallerHeaders) -> bool {
    let mut members = headers.get_all(CALLER_VIA);
    members.any(|member| FINDER.find(member.as_bytes()).is_some())
}

/// Adds this process to the gateways that a call has come through, if there are some.
pub(crate) fn extend(headers: &mut HeaderMap) {
    if headers.contains_key(VIA) {
        headers.append(VIA, own());
    }
}

/// Returns the gateways that a call had come through when it reached this process, of headers that [`extend`] has changed; `None` if there were none.
pub(crate) fn before(headers: Option<&HeaderMap>) -> Option<String> {
    let members = headers?.get_all(VIA).iter();
    let members = members.filter(|member| **member != *OWN);
    let members: Vec<&str> = members.filter_map(|member| member.to_str().ok()).collect();
    (!members.is_empty()).then(|| members.join(", "))
}

/// Returns the gateways that a call has come through, as a header of the calls that are made because of it; `None` if there are none but
/// this process.
pub(crate) fn of(headers: Option<&HeaderMap>) -> Option<Arc<HeaderMap>> {
    let headers = headers.filter(|headers| headers.contains_key(VIA))?;
    let members = headers.get_all(VIA).iter();
    let members = members.map(|member| (VIA, member.clone()));
    let mut via = HeaderMap::new();
    for (name, member) in members {
        via.append(name, member);
    }
    Some(Arc::new(via))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue as CallerValue};

    use super::*;

    fn of_caller(members: &[&str]) -> CallerHeaders {
        let mut headers = CallerHeaders::new();
        for member in members {
            let value = CallerValue::from_str(member).unwrap();
            headers.append(HeaderName::from_static("via"), value);
        }
        headers
    }

    #[test]
    fn only_calls_that_this_process_has_sent_are_known() {
        let own = own();
        let own = own.to_str().unwrap();
        assert!(own.starts_with("1.1 kebne-"), "{own}");
        for (members, is_known) in [
            (vec![], false),
            (vec!["1.1 nginx", "1.1 kebne-0123456789abcdef"], false),
            (vec![own], true),
            (vec!["1.1 nginx", own], true),
            (vec![&*format!("2 a, {own} (comment), 1.1 b")], true),
        ] {
            let known = names_this_process(&of_caller(&members));
            assert_eq!(known, is_known, "{members:?}");
        }
    }

    #[test]
    fn the_gateways_before_this_one_stay_named() {
        let mut headers = HeaderMap::new();
        extend(&mut headers);
        assert_eq!((headers.len(), of(Some(&headers))), (0, None));
        headers.append(VIA, HeaderValue::from_static("1.1 a"));
        headers.append("baggage", HeaderValue::from_static("b"));
        extend(&mut headers);
        let via = of(Some(&headers)).unwrap();
        let members: Vec<_> = via.get_all(VIA).iter().collect();
        assert_eq!(via.len(), 2);
        assert_eq!(before(Some(&headers)).as_deref(), Some("1.1 a"));
        assert_eq!(before(Some(&HeaderMap::new())), None);
        assert_eq!(members, [&HeaderValue::from_static("1.1 a"), &own()]);
    }
}
