//! `Cache-Control` of a request (RFC 9111, section 5.2.1).

use std::time::Duration;

/// What a caller requires of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// The answer must be new; it is kept.
    pub no_cache: bool,
    /// Neither a kept answer nor an answer of another call is used, and the answer is not kept.
    pub no_store: bool,
    /// The answer must come from the cache.
    pub only_if_cached: bool,
    /// The greatest age of a kept answer.
    pub max_age: Option<Duration>,
    /// How long a kept answer may have expired; `None` if it must not have.
    pub max_stale: Option<Duration>,
}

impl Directives {
    /// Reads the header. Unknown directives do not count. A bound that cannot be read is taken as 0, as RFC 9111 (section 4.2.1) encourages for
    /// freshness; of several the strictest holds.
    pub fn read(header: &str) -> Self {
        let mut directives = Self::default();
        for directive in header.split(',') {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (directive.trim(), None),
            };
            let seconds = || value.and_then(seconds).unwrap_or_default();
            let least = |bound: Option<Duration>| {
                let seconds = seconds();
                Some(bound.map_or(seconds, |bound| bound.min(seconds)))
            };
            match name.to_ascii_lowercase().as_str() {
                "no-cache" => directives.no_cache = true,
                "no-store" => directives.no_store = true,
                "only-if-cached" => directives.only_if_cached = true,
                "max-age" => directives.max_age = least(directives.max_age),
                "max-stale" if value.is_none() => {
                    directives.max_stale = directives.max_stale.or(Some(Duration::MAX));
                }
                "max-stale" => directives.max_stale = least(directives.max_stale),
                _ => {}
            }
        }
        directives
    }

    /// Returns `true` if a kept answer may be used.
    pub fn may_look(&self) -> bool {
        !self.no_cache && !self.no_store
    }
}

/// Reads a number of seconds. One that is too large for a number is the greatest.
fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read() {
        let of = Directives::read;
        assert_eq!(of(""), Directives::default());
        assert_eq!(of("private, x=1"), Directives::default());
        for unreadable in ["-1", "abc", "", "+5", "1.5", "5 s"] {
            let header = format!("max-age={unreadable}, max-stale={unreadable}");
            let expected = Some(Duration::ZERO);
            assert_eq!(of(&header).max_age, expected, "{header}");
            assert_eq!(of(&header).max_stale, expected, "{header}");
        }
        assert_eq!(of("max-age").max_age, Some(Duration::ZERO));
        let strictest = of("max-age=5, max-age=60, max-stale=7, max-stale");
        assert_eq!(strictest.max_age, Some(Duration::from_secs(5)));
        assert_eq!(strictest.max_stale, Some(Duration::from_secs(7)));
        let greatest = of("max-age=99999999999999999999");
        assert_eq!(greatest.max_age, Some(Duration::MAX));
        let all = of("No-Cache, no-store ,only-if-cached,max-age=60, max-stale=\"5\"");
        let expected = Directives {
            no_cache: true,
            no_store: true,
            only_if_cached: true,
            max_age: Some(Duration::from_mins(1)),
            max_stale: Some(Duration::from_secs(5)),
        };
        assert_eq!(all, expected);
        assert_eq!(of("max-stale").max_stale, Some(Duration::MAX));
        assert!(of("max-age=0").may_look() && !of("no-store").may_look());
    }
}
