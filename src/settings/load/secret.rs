//! Keys whose values are secrets or are easily mistaken for the place of one. Errors describe such values without
//! quoting them.

use super::path::Segment;

/// The keys. Values below them are secret, too.
const SECRETS: [&str; 14] = [
    "api_key_env",
    "api_key_file",
    "api_key_header",
    "base_url",
    "hash",
    "headers",
    "headers_file",
    "key_env",
    "key_file",
    "keys",
    "old_keys_env",
    "old_keys_file",
    "proxy",
    "wake_headers",
];

/// The tables whose keys are names of headers.
const HEADERS: [&str; 3] = ["headers", "headers_file", "wake_headers"];

/// The keys of an element of `server.keys` that are not secret.
const OPEN: [&str; 7] = [
    "models",
    "name",
    "names_tenants",
    "priority",
    "scopes",
    "tenant",
    "weight",
];

/// Returns `true` if the value at `path` must not be quoted.
pub(super) fn is_secret(path: &[Segment]) -> bool {
    let keys = || {
        path.iter().filter_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Index(_) => None,
        })
    };
    let is_open = keys().any(|key| key == "keys") && keys().any(|key| OPEN.contains(&key));
    keys().any(|key| SECRETS.contains(&key)) && !is_open
}

/// Returns the part of `path` that can be shown: not a whole header that was written in place of its name.
pub(super) fn shown(path: &[Segment]) -> &[Segment] {
    let is_table =
        |segment: &Segment| matches!(segment, Segment::Key(key) if HEADERS.contains(&key.as_str()));
    let Some(table) = path.iter().position(is_table) else {
        return path;
    };
    match path.get(table + 1) {
        Some(Segment::Key(name)) if http::HeaderName::try_from(name.as_str()).is_err() => {
            path.get(..=table).unwrap_or(path)
        }
        _ => path,
    }
}
