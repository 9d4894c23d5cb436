//! The URLs of a backend in the forms that the clients need, made once for each path.

use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderValue, Uri, uri::PathAndQuery};
use reqwest::Url;

/// URLs that are kept; a dialect has fewer paths.
const URLS_MAX: usize = 32;

/// The URL of a request.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    /// The parts of a URL without TLS.
    pub(super) plain: Option<Plain>,
}

/// The parts of a URL without TLS.
#[derive(Debug)]
pub(super) struct Plain {
    /// The server to connect to.
    pub(super) server: Uri,
    /// The path and the query, which stand in the first line of a request.
    pub(super) origin: Uri,
    /// The value of the header `host`.
    pub(super) host: HeaderValue,
}

impl From<Url> for Target {
    fn from(url: Url) -> Self {
        let plain = Plain::of(&url);
        Self { url, plain }
    }
}

impl Plain {
    /// Returns `None` if the URL has another scheme than `http`.
    pub(super) fn of(url: &Url) -> Option<Self> {
        if url.scheme() != "http" {
            return None;
        }
        let authority = url.authority();
        let host = authority.rsplit('@').next().unwrap_or(authority);
        let server = Uri::builder()
            .scheme("http")
            .authority(host)
            .path_and_query("/");
        let mut origin = url.path().to_owned();
        if let Some(query) = url.query() {
            origin.push('?');
            origin.push_str(query);
        }
        Some(Self {
            server: server.build().ok()?,
            origin: PathAndQuery::try_from(origin).ok()?.into(),
            host: HeaderValue::from_str(host).ok()?,
        })
    }
}

/// The targets of one backend.
#[derive(Debug)]
pub(super) struct Targets {
    base_url: Url,
    known: RwLock<Vec<(String, Arc<Target>)>>,
}

impl Targets {
    pub(super) fn new(base_url: Url) -> Self {
        Self {
            base_url,
            known: RwLock::default(),
        }
    }

    pub(super) fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// Returns the target of a path that is called often.
    pub(super) fn get(&self, path: &str) -> Arc<Target> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, target)) = known.iter().find(|(known, _)| known == path) {
            return Arc::clone(target);
        }
        drop(known);
        let target = self.make(path);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < URLS_MAX {
            known.push((path.to_owned(), Arc::clone(&target)));
        }
        target
    }

    /// Appends a path to the base URL and keeps its query (`?api-version=…`).
    pub(super) fn make(&self, path: &str) -> Arc<Target> {
        if path.is_empty() {
            // It is called as it is, without a slash at its end.
            return Arc::new(Target::from(self.base_url.clone()));
        }
        let base = self.base_url.path().trim_end_matches('/');
        self.with_path(&format!("{base}/{path}"))
    }

    /// Returns the target of a path relative to the root of the API, without its version.
    pub(super) fn at_root(&self, path: &str) -> Arc<Target> {
        let base = self.base_url.path().trim_end_matches('/');
        let root = base.strip_suffix("/v1").unwrap_or(base);
        self.with_path(&format!("{root}{path}"))
    }

    fn with_path(&self, path: &str) -> Arc<Target> {
        let mut url = self.base_url.clone();
        url.set_path(path);
        Arc::new(url.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_tls_has_its_parts() {
        let targets = |url: &str| Targets::new(Url::parse(url).unwrap()).get("chat/completions");
        let target = targets("http://ann:pass@[::1]:8000/v1/?api-version=1|{}`\"");
        let plain = target.plain.as_ref().unwrap();
        assert_eq!(plain.server, "http://[::1]:8000/");
        assert_eq!(plain.host, "[::1]:8000");
        assert_eq!(plain.origin, "/v1/chat/completions?api-version=1|{}`%22");
        assert_eq!(targets("http://host").plain.as_ref().unwrap().host, "host");
        assert!(targets("https://host/v1").plain.is_none());
    }

    #[test]
    fn a_path_at_the_root_has_no_version() {
        let targets = Targets::new(Url::parse("http://host/x/v1/").unwrap());
        assert_eq!(
            targets.at_root("/api/ps").url.as_str(),
            "http://host/x/api/ps"
        );
    }
}
