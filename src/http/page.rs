//! `GET /` and `GET /page/{file}`: the live page. Its files hold nothing secret, so they need no key; what they show does.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
    web::{Data, Path},
};

use crate::{http::visit::respond, state::State, surface::error::ApiError};

/// Nothing inline, nothing of another origin, no frame around the page, and no text that becomes code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// `GET /`.
pub(super) async fn index(http: HttpRequest, state: Data<State>) -> HttpResponse {
    file(&http, &state, "index.html")
}

/// `GET /page/{file}`.
pub(super) async fn part(
    http: HttpRequest,
    state: Data<State>,
    name: Path<String>,
) -> HttpResponse {
    file(&http, &state, &name)
}

fn file(http: &HttpRequest, state: &State, name: &str) -> HttpResponse {
    let Some((file, tag)) = state.page.file(name) else {
        let message = format!("the page has no file `{name}`");
        return respond(http, Err(ApiError::not_found(message)));
    };
    let mut response = if has(http.headers(), tag) {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::ETAG, tag))
        // A browser asks each time whether its copy is still good, so a new program shows its own page at once.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(("cross-origin-opener-policy", "same-origin"))
        .insert_header(("cross-origin-resource-policy", "same-origin"));
    if has(http.headers(), tag) {
        return response.finish();
    }
    response.content_type(file.content_type).body(file.text)
}

/// Returns `true` if the caller has the file of this tag.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH);
    let known = known.filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
