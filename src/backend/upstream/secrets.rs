//! The secrets that the gateway itself sends to a backend. A backend may repeat them in the text of an error.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use kebne_lane::Failure;
use reqwest::Url;

/// What stands in place of a secret.
const MASK: &str = "***";
/// Shorter values are not masked, because ordinary text would contain them.
const LENGTH_MIN: usize = 6;
/// Parts of the names of headers whose values are secrets.
const NAMES: [&str; 6] = ["auth", "key", "token", "secret", "cookie", "password"];

/// The values to be masked, the longest first.
#[derive(Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Returns the secrets of the headers and of URLs: their passwords and the values of their queries.
    pub(crate) fn of(headers: &[&HeaderMap], urls: &[&str]) -> Self {
        let headers = headers.iter().flat_map(|headers| headers.iter());
        let sent = headers.filter(|(name, value)| value.is_sensitive() || is_secret(name));
        let sent = sent.filter_map(|(_, value)| value.to_str().ok());
        // The scheme in front of a credential is not secret.
        let sent = sent.filter_map(|value| value.split_whitespace().next_back());
        let mut values: Vec<String> = sent.map(str::to_owned).collect();
        for url in urls.iter().filter_map(|url| Url::parse(url).ok()) {
            values.extend(url.password().map(str::to_owned));
            values.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        }
        Self::of_values(values)
    }

    /// Adds secrets.
    #[cfg(feature = "mcp")]
    pub(crate) fn add(&mut self, values: impl IntoIterator<Item = String>) {
        let known = std::mem::take(&mut self.0);
        *self = Self::of_values(known.into_iter().chain(values));
    }

    /// Returns the secrets among values: those that are not too short.
    pub(crate) fn of_values(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = values.into_iter().collect();
        values.retain(|value| value.len() >= LENGTH_MIN);
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values)
    }

    /// Masks the secrets in the message and the body of a failure.
    pub(crate) fn hide_in(&self, failure: &mut Failure) {
        if let Some(masked) = self.masked(&failure.message) {
            failure.message = masked;
        }
        if let Some(body) = &mut failure.body {
            self.hide(body);
        }
    }

    /// Masks the secrets in the body of an error.
    pub(super) fn hide(&self, body: &mut Bytes) {
        if let Some(masked) = self.masked(&String::from_utf8_lossy(body)) {
            *body = masked.into();
        }
    }

    /// Returns the text with its secrets masked; `None` if it has none.
    fn masked(&self, text: &str) -> Option<String> {
        let mut found = self
            .0
            .iter()
            .filter(|secret| text.contains(secret.as_str()));
        let first = found.next()?;
        let masked = text.replace(first, MASK);
        Some(found.fold(masked, |text, secret| text.replace(secret, MASK)))
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Secrets({})", self.0.len())
    }
}

fn is_secret(name: &HeaderName) -> bool {
    NAMES.iter().any(|part| name.as_str().contains(part))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_it_stands_and_other_values_are_not() {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_static("Bearer plainpassword77");
        key.set_sensitive(true);
        headers.insert("x-other", key);
        headers.insert("api-key", HeaderValue::from_static("token-abc123"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-api-key", HeaderValue::from_static("short"));
        let urls = ["http://ann:opensesame@host/v1?sig=s1gnature"];
        let secrets = Secrets::of(&[&headers], &urls);
        for (given, shown) in [
            ("asplainpassword77x", Some("as***x")),
            ("up-token-abc123, token-abc123", Some("up-***, ***")),
            ("opensesame s1gnature", Some("*** ***")),
            ("ann application/json short", None),
        ] {
            assert_eq!(secrets.masked(given).as_deref(), shown, "{given}");
        }
    }
}
