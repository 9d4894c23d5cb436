//! The address of a backend, which may contain a user name, a password or a key in its query.
//!
//! The address is printed without them; only the client of the backend sees it whole.

use std::fmt;

use kebne_wire::redact;
use serde::{Deserialize, Serialize};

/// An address as it is set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Creates an address without checking it.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// Returns the whole address, including secrets.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&redact::url(&self.0))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", redact::url(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_way_of_printing_shows_a_secret() {
        let url = BaseUrl::new("https://user:pass@host/v1?key=abc&api-version=1");
        for shown in [format!("{url}"), format!("{url:?}")] {
            assert!(shown.contains("host/v1?key=***&api-version=1"), "{shown}");
            assert!(!shown.contains("pass") && !shown.contains("abc"), "{shown}");
        }
        assert!(url.expose().contains("pass"));
    }
}
