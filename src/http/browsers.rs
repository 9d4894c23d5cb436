//! Protection from web pages that reach the gateway through the browser of a visitor.
//!
//! Without API keys the loopback address is the only protection, and a browser on the same machine reaches it for any
//! page that its user visits. A page can do so in two ways. It can use its own host name and make it resolve to
//! 127.0.0.1 (DNS rebinding), which the `Host` header shows. It can post a form or run a script, which `Origin` and
//! the content type show. With keys neither helps a page, because it does not know the key.
//!
//! Pages of other origins may read answers (CORS) only if `server.cors_origins` contains the origin.

use std::net::IpAddr;

use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{RequestHead, ServiceRequest, ServiceResponse},
    http::{
        Method, Uri,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, HOST,
            HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
        },
    },
    middleware::Next,
    web::Data,
};

use crate::{
    client_address::came_by_tls, http::visit::respond, settings::ServerSettings, state::State,
    surface::error::ApiError,
};

/// Seconds for which a browser may remember that an origin is allowed.
const REMEMBERED_SECONDS: u32 = 600;
/// The methods that a page of another origin may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE");
/// Headers that a page of another origin may read: all, as `*` says. Browsers that do not know it read those that are named.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, x-kebne-reason, x-kebne-model, x-kebne-lane, \
     x-kebne-fallback, x-kebne-attempts, x-kebne-waited-ms, x-kebne-omitted, x-kebne-session-turn, \
     x-kebne-history-turns, x-kebne-history-left-out, x-kebne-summary-turns, x-kebne-facts, x-kebne-recalled-turns, \
     x-kebne-cache, age, *",
);

/// Refuses requests of foreign pages, and marks answers that an allowed page may read.
pub(super) async fn guard<B: MessageBody + 'static>(
    http: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(state) = http.app_data::<Data<State>>().cloned() else {
        return next
            .call(http)
            .await
            .map(ServiceResponse::map_into_boxed_body);
    };
    let settings = state.settings.get();
    if let Err(error) = check_head(http.request().head(), &settings) {
        let response = respond(http.request(), Err(error));
        return Ok(http.into_response(response));
    }
    let Some(origin) = allowed_origin(http.headers(), &settings) else {
        let mut response = next.call(http).await?.map_into_boxed_body();
        if !settings.cors_origins.is_empty() {
            vary(response.headers_mut());
        }
        return Ok(response);
    };
    if http.method() == Method::OPTIONS
        && http.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    {
        let mut response = HttpResponse::NoContent().finish();
        allow(response.headers_mut(), origin);
        permit(response.headers_mut(), http.headers());
        return Ok(http.into_response(response));
    }
    let mut response = next.call(http).await?.map_into_boxed_body();
    allow(response.headers_mut(), origin);
    Ok(response)
}

/// Checks the head of a request to a gateway without keys.
///
/// # Errors
/// Returns a 403 if the request may come from a foreign page.
pub(super) fn check_head(head: &RequestHead, settings: &ServerSettings) -> Result<(), ApiError> {
    if !settings.keys.is_empty() {
        return Ok(());
    }
    let headers = head.headers();
    let is_secure = settings.tls.is_on() || came_by_tls(head.peer_addr, headers, settings);
    check(&head.method, headers, &head.uri, (is_secure, settings))
}

/// Checks the headers in which a browser gives the source of a request.
fn check(
    method: &Method,
    headers: &HeaderMap,
    target: &Uri,
    (is_secure, settings): (bool, &ServerSettings),
) -> Result<(), ApiError> {
    let named = headers
        .get_all(HOST)
        .map(|host| host.to_str().unwrap_or(""));
    for host in named.chain(target.host()) {
        let host = without_port(host);
        if !is_loopback(host)
            && !settings
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(host))
        {
            return Err(ApiError::foreign_host());
        }
    }
    let has_origin = headers.contains_key(ORIGIN);
    let is_foreign = if has_origin {
        !is_own_origin(headers, is_secure)
    } else {
        is_of_another_site(method, headers)
    };
    if is_foreign && allowed_origin(headers, settings).is_none() {
        return Err(ApiError::foreign_origin());
    }
    let types = headers.get_all(CONTENT_TYPE);
    let mut types = types.map(|value| value.to_str().unwrap_or(""));
    let takes_forms = takes_forms(target.path());
    let allowed = |kind: &str| is_json(kind) || (takes_forms && is_form(kind));
    if method == Method::POST && !types.all(allowed) {
        return Err(ApiError::not_json());
    }
    Ok(())
}

/// Returns `true` if the request comes from a page of this gateway, whose pages come by TLS or not.
fn is_own_origin(headers: &HeaderMap, is_secure: bool) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if is_secure { "https://" } else { "http://" };
    let own = text(ORIGIN).and_then(|origin| origin.strip_prefix(scheme));
    own.is_some_and(|own| text(HOST).is_some_and(|host| host.eq_ignore_ascii_case(own)))
}

/// Returns `true` if a page of another site sends the request without an `Origin`, as for an image or a script. A link
/// that a person follows is not counted.
fn is_of_another_site(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_link = method == Method::GET && text("sec-fetch-mode") == Some("navigate");
    matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")) && !is_link
}

/// Returns the origin of a request if its pages may read answers.
fn allowed_origin(headers: &HeaderMap, settings: &ServerSettings) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let text = origin.to_str().ok()?;
    let mut known = settings.cors_origins.iter();
    known
        .any(|known| known == "*" || known.eq_ignore_ascii_case(text))
        .then(|| origin.clone())
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    vary(headers);
}

/// Tells caches that answers differ by origin.
fn vary(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

/// Answers the preflight request that a browser sends before the request itself.
fn permit(headers: &mut HeaderMap, asked: &HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        let varies = HeaderValue::from_static("Access-Control-Request-Headers");
        headers.append(VARY, varies);
    }
    headers.insert(
        ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from(REMEMBERED_SECONDS),
    );
}

/// Returns the host of `host:port` or `[host]:port`.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Returns `true` for the operations whose body is a form with a file. A page of another origin can send a form
/// without a preflight request; the check of the origin refuses it.
fn takes_forms(path: &str) -> bool {
    let operations = [
        "/audio/transcriptions",
        "/audio/translations",
        "/files",
        "/documents",
    ];
    operations.iter().any(|end| path.ends_with(end))
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("multipart/form-data")
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim();
    // Lines of JSON are sent to imports.
    let types = [
        "application/json",
        "application/jsonl",
        "application/x-ndjson",
    ];
    types.iter().any(|kind| essence.eq_ignore_ascii_case(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a request with these headers at a gateway without keys.
    fn reason(method: &str, headers: &[(&str, &str)], settings: &ServerSettings) -> &'static str {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            map.append(name, HeaderValue::try_from(*value).unwrap());
        }
        let method = Method::try_from(method).unwrap();
        let secure = (settings.tls.is_on(), settings);
        match check(&method, &map, &Uri::from_static("/"), secure) {
            Ok(()) => "fine",
            Err(error) => error.reason(),
        }
    }

    #[test]
    fn what_clients_on_this_machine_send_is_let_in() {
        let settings = ServerSettings::default();
        for host in [
            "localhost",
            "localhost:8080",
            "LOCALHOST",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
        ] {
            let json = [
                ("host", host),
                ("content-type", "application/json; charset=utf-8"),
            ];
            assert_eq!(reason("POST", &json, &settings), "fine", "{host}");
            assert_eq!(
                reason("GET", &[("host", host)], &settings),
                "fine",
                "{host}"
            );
        }
        let own = [
            ("host", "127.0.0.1:8080"),
            ("origin", "http://127.0.0.1:8080"),
        ];
        assert_eq!(reason("GET", &own, &settings), "fine");
    }

    #[test]
    fn the_own_pages_of_a_gateway_with_tls_come_by_tls() {
        let mut settings = ServerSettings::default();
        settings.tls.cert = "cert.pem".into();
        for (origin, seen) in [
            ("https://localhost:8080", "fine"),
            ("http://localhost:8080", "origin_not_allowed"),
        ] {
            let headers = [("host", "localhost:8080"), ("origin", origin)];
            assert_eq!(reason("GET", &headers, &settings), seen, "{origin}");
        }
    }

    #[test]
    fn what_a_browser_sends_for_a_foreign_page_is_refused() {
        let settings = ServerSettings::default();
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "0.0.0.0",
            "[::2]",
        ] {
            assert_eq!(
                reason("GET", &[("host", host)], &settings),
                "host_not_allowed",
                "{host}"
            );
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(reason("GET", &two, &settings), "host_not_allowed");
        for origin in [
            "http://evil.example",
            "null",
            "https://127.0.0.1:8080",
            "http://127.0.0.1:8081",
            "http://localhost:8080",
        ] {
            let post = [
                ("host", "127.0.0.1:8080"),
                ("origin", origin),
                ("content-type", "application/json"),
            ];
            assert_eq!(
                reason("POST", &post, &settings),
                "origin_not_allowed",
                "{origin}"
            );
        }
        for site in ["cross-site", "same-site"] {
            let image = [
                ("host", "localhost:8080"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", "no-cors"),
            ];
            assert_eq!(reason("GET", &image, &settings), "origin_not_allowed");
            let link = [
                ("host", "localhost:8080"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", "navigate"),
            ];
            assert_eq!(reason("GET", &link, &settings), "fine");
            assert_eq!(reason("POST", &link, &settings), "origin_not_allowed");
        }
        for site in ["same-origin", "none"] {
            let own = [("host", "localhost:8080"), ("sec-fetch-site", site)];
            assert_eq!(reason("GET", &own, &settings), "fine");
        }
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "text/plain; application/json",
        ] {
            let post = [("host", "localhost"), ("content-type", content_type)];
            assert_eq!(
                reason("POST", &post, &settings),
                "unsupported_content_type",
                "{content_type}"
            );
        }
    }

    #[test]
    fn hosts_and_origins_can_be_allowed() {
        let settings = ServerSettings {
            hosts: vec!["kebne.internal".to_owned()],
            cors_origins: vec!["https://app.example".to_owned()],
            ..ServerSettings::default()
        };
        let asked = [
            ("host", "Kebne.internal:80"),
            ("origin", "https://app.example"),
        ];
        assert_eq!(reason("GET", &asked, &settings), "fine");
        let other = [
            ("host", "kebne.internal"),
            ("origin", "https://app.example.evil"),
        ];
        assert_eq!(reason("GET", &other, &settings), "origin_not_allowed");
    }
}
