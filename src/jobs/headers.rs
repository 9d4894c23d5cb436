//! The headers that are kept with a job. Those with credentials are not: a job knows its key by the id.

use actix_web::http::header::HeaderMap;

/// The beginning of this gateway's own headers.
const OWN: &str = "x-kebne-";
/// Own headers that say what the job itself determines.
const NOT_KEPT: [&str; 2] = ["x-kebne-deadline-ms", "x-kebne-priority"];
/// Other headers that calls to models read.
const KEPT: [&str; 6] = [
    "content-type",
    "content-encoding",
    "cache-control",
    "anthropic-version",
    "anthropic-beta",
    "openai-organization",
];
/// Headers with credentials, which are not kept even if a condition of a route names them.
const SECRET: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
];

/// Returns `true` for a header, in lower case, that is kept with a job.
pub(crate) fn is_kept(name: &str) -> bool {
    (name.starts_with(OWN) && !NOT_KEPT.contains(&name)) || KEPT.contains(&name)
}

/// Returns the headers of a call that are kept with its job: those that calls read, and those that conditions of routes name.
pub(crate) fn kept(headers: &HeaderMap, routed_by: Vec<(String, String)>) -> Vec<(String, String)> {
    let own = headers.iter().filter(|(name, _)| is_kept(name.as_str()));
    let own = own.filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let mut all: Vec<(String, String)> = own.collect();
    for (name, value) in routed_by {
        let name = name.to_ascii_lowercase();
        if !SECRET.contains(&name.as_str()) && !is_kept(&name) {
            all.push((name, value));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn credentials_and_what_the_job_determines_are_not_kept() {
        let names = [
            "authorization",
            "x-api-key",
            "x-kebne-priority",
            "x-kebne-session",
            "content-type",
            "x-team",
        ];
        let headers = names.map(|name| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static("v"))
        });
        let routed = ["X-Team", "Authorization", "content-type"];
        let routed = routed.map(|name| (name.to_owned(), "v".to_owned()));
        let kept = kept(&HeaderMap::from_iter(headers), routed.to_vec());
        let mut names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "x-kebne-session", "x-team"]);
    }
}
