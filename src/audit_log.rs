//! The audit log: one line for each request that changes the service or deletes what a caller keeps here, and on request one for each
//! access to what callers keep.
//!
//! Lines are part of the log (target `kebne::audit`, level `info`), or written as JSON to a file of their own. A line says who did what,
//! and how it ended. It never contains a text of a caller. Requests that were refused are written too. Accesses by requests are found
//! here, by their paths, so that a new operation on what callers keep is written without further work; a call to a model has a line for
//! each thing that it used, which its stages name ([`access`]).

use std::{
    io::Write as _,
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use actix_web::{HttpRequest, http::Method};
use serde::Serialize;
use serde_json::Value;
use tracing_appender::non_blocking::NonBlocking;

use crate::{
    settings::{log::AuditLogSettings, server::Scope},
    surface::error::ApiError,
};

/// The target of the lines in `log.filter`.
pub(crate) const TARGET: &str = "kebne::audit";
/// The first parts of paths below which callers keep something.
const KEPT: [&str; 9] = [
    "sessions",
    "conversations",
    "responses",
    "files",
    "batches",
    "jobs",
    "vector_stores",
    "prompts",
    "privacy",
];

/// The writer of the file; unset without one.
static FILE: OnceLock<NonBlocking> = OnceLock::new();
/// `true` if accesses are written.
static ACCESSES: AtomicBool = AtomicBool::new(false);

/// Starts the file of the audit log. Called once, with the log.
pub(crate) fn start(writer: NonBlocking) {
    let _is_first = FILE.set(writer);
}

/// Sets whether accesses are written.
pub(crate) fn change(settings: &AuditLogSettings) {
    ACCESSES.store(settings.accesses, Relaxed);
}

/// Who did something.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Actor<'a> {
    /// The id of the request.
    pub request: &'a str,
    /// The name of the key; empty without keys.
    pub key: &'a str,
    /// The tenant of the key.
    pub tenant: &'a str,
    /// The address of the client.
    pub client: Option<IpAddr>,
}

/// An access to what a tenant keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Access<'a> {
    /// The kind of the thing, as in paths: `sessions`, `vector_stores`.
    pub object: &'a str,
    /// Its id; empty if the access is to a list.
    pub id: &'a str,
    /// The part of it, such as `turns`; empty for the thing itself. For `privacy` the query, which names the tenant and the user.
    pub part: &'a str,
    /// What is done: `list`, `read`, `write`, `search`, `export`, `erase`, or `call` for a call to a model.
    pub operation: &'static str,
}

impl<'a> Access<'a> {
    /// Returns the access that a request is; `None` if it is to nothing that callers keep.
    pub fn of(method: &Method, path: &'a str) -> Option<Self> {
        let path = ["/openai/v1/", "/openai/", "/v1/", "/"]
            .into_iter()
            .find_map(|prefix| path.strip_prefix(prefix))?;
        let mut parts = path.splitn(3, '/');
        let object = parts.next().filter(|object| KEPT.contains(object))?;
        let (id, part) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        // A response is created by a call to a model.
        if object == "responses" && id.is_empty() {
            return None;
        }
        let last = part.rsplit('/').next().unwrap_or("");
        let operation = match (method.as_str(), last) {
            (_, "search") => "search",
            (_, "export") => "export",
            ("GET" | "HEAD", _) if object == "privacy" && id == "export" => "export",
            ("GET" | "HEAD", _) if id.is_empty() => "list",
            ("GET" | "HEAD", _) => "read",
            ("DELETE", _) => "erase",
            _ => "write",
        };
        Some(Self {
            object,
            id,
            part,
            operation,
        })
    }
}

/// Writes an access, if accesses are written. `result` is the status of the answer, or a word if there was none.
pub fn access(actor: &Actor<'_>, access: &Access<'_>, status: Option<u16>, reason: &str) {
    if !ACCESSES.load(Relaxed) {
        return;
    }
    let line = AccessLine {
        timestamp: now(),
        event: "access",
        actor,
        access,
        status,
        reason,
    };
    if write_line(&line) {
        return;
    }
    let client = text(actor.client);
    tracing::info!(
        target: TARGET,
        request = actor.request,
        key = actor.key,
        tenant = actor.tenant,
        client,
        object = access.object,
        id = access.id,
        part = access.part,
        operation = access.operation,
        status,
        reason,
        "access",
    );
}

/// An access that has begun. It is written when it has ended, and when its caller leaves before.
pub(crate) struct Begun<'a> {
    actor: Actor<'a>,
    access: Option<Access<'a>>,
    status: Option<u16>,
    reason: &'static str,
}

impl<'a> Begun<'a> {
    /// Begins an access, if the request is one.
    pub(crate) fn new(actor: Actor<'a>, http: &'a HttpRequest) -> Self {
        let is_on = ACCESSES.load(Relaxed);
        let mut access = is_on
            .then(|| Access::of(http.method(), http.path()))
            .flatten();
        // Whose data it is about.
        if let Some(access) = access.as_mut().filter(|access| access.object == "privacy") {
            access.part = http.query_string();
        }
        Self {
            actor,
            access,
            status: None,
            reason: "cancelled",
        }
    }

    /// Ends it.
    pub(crate) fn end(&mut self, result: Result<u16, &ApiError>) {
        (self.status, self.reason) = match result {
            Ok(status) => (Some(status), ""),
            Err(error) => (Some(error.status().as_u16()), error.reason()),
        };
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(found) = &self.access {
            access(&self.actor, found, self.status, self.reason);
        }
    }
}

/// Returns `true` if a request is written in any case: those that need the scope `admin`, and deletions.
pub fn includes(scope: Scope, method: &Method) -> bool {
    scope == Scope::Admin || *method == Method::DELETE
}

/// Writes the line of a request that changes the service or deletes something.
pub fn write(http: &HttpRequest, actor: &Actor<'_>, result: Result<u16, &ApiError>) {
    let (status, reason) = match result {
        Ok(status) => (status, ""),
        Err(error) => (error.status().as_u16(), error.reason()),
    };
    let peer = text(actor.client);
    tracing::info!(
        target: TARGET,
        request = actor.request,
        key = actor.key,
        peer,
        method = http.method().as_str(),
        path = http.path(),
        status,
        reason,
        "an audited request ended",
    );
    write_line(&RequestLine {
        timestamp: now(),
        event: "request",
        actor,
        method: http.method().as_str(),
        path: http.path(),
        status,
        reason,
    });
}

/// Writes the report of an erasure.
pub fn erased(report: &Value) {
    tracing::info!(target: TARGET, %report, "data was erased");
    write_line(&ReportLine {
        timestamp: now(),
        event: "erasure",
        report,
    });
}

/// Writes a line to the file; returns `false` if there is none.
fn write_line(line: &impl Serialize) -> bool {
    let Some(writer) = FILE.get() else {
        return false;
    };
    let mut line = serde_json::to_string(line).unwrap_or_default();
    line.push('\n');
    // The writer drops and counts lines that it cannot take; it returns no error.
    let _taken = writer.clone().write_all(line.as_bytes());
    true
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

fn text(client: Option<IpAddr>) -> String {
    client.map_or_else(String::new, |client| client.to_string())
}

/// The line of an access.
#[derive(Serialize)]
struct AccessLine<'a> {
    timestamp: String,
    event: &'static str,
    #[serde(flatten)]
    actor: &'a Actor<'a>,
    #[serde(flatten)]
    access: &'a Access<'a>,
    status: Option<u16>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

/// The line of a request.
#[derive(Serialize)]
struct RequestLine<'a> {
    timestamp: String,
    event: &'static str,
    #[serde(flatten)]
    actor: &'a Actor<'a>,
    method: &'a str,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

/// The line of an erasure.
#[derive(Serialize)]
struct ReportLine<'a> {
    timestamp: String,
    event: &'static str,
    report: &'a Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'p>(method: &Method, path: &'p str) -> Option<[&'p str; 4]> {
        let access = Access::of(method, path)?;
        Some([access.object, access.id, access.part, access.operation])
    }

    #[test]
    fn the_access_of_a_request_is_found_in_its_path() {
        for (method, path, expected) in [
            (Method::GET, "/v1/sessions", ["sessions", "", "", "list"]),
            (Method::GET, "/sessions/s", ["sessions", "s", "", "read"]),
            (
                Method::GET,
                "/openai/v1/sessions/s/turns",
                ["sessions", "s", "turns", "read"],
            ),
            (
                Method::POST,
                "/openai/vector_stores/v/search",
                ["vector_stores", "v", "search", "search"],
            ),
            (
                Method::GET,
                "/v1/vector_stores/v/files/f/content",
                ["vector_stores", "v", "files/f/content", "read"],
            ),
            (
                Method::DELETE,
                "/v1/privacy/data",
                ["privacy", "data", "", "erase"],
            ),
            (Method::POST, "/v1/files", ["files", "", "", "write"]),
            (
                Method::GET,
                "/v1/sessions/s/export",
                ["sessions", "s", "export", "export"],
            ),
        ] {
            assert_eq!(of(&method, path), Some(expected), "{path}");
        }
        for path in [
            "/v1/models",
            "/v1/responses",
            "/metrics",
            "/v1/chat/completions",
        ] {
            assert_eq!(of(&Method::POST, path), None, "{path}");
        }
    }

    #[test]
    fn a_line_names_who_what_and_the_result() {
        let actor = Actor {
            request: "req_1",
            key: "laptop",
            tenant: "ann",
            client: Some([192, 0, 2, 7].into()),
        };
        let access = Access::of(&Method::GET, "/v1/sessions/s/turns").unwrap();
        let line = AccessLine {
            timestamp: String::new(),
            event: "access",
            actor: &actor,
            access: &access,
            status: Some(404),
            reason: "session_not_found",
        };
        let expected = r#"{"timestamp":"","event":"access","request":"req_1","key":"laptop","tenant":"ann","client":"192.0.2.7","object":"sessions","id":"s","part":"turns","operation":"read","status":404,"reason":"session_not_found"}"#;
        assert_eq!(serde_json::to_string(&line).unwrap(), expected);
    }
}
