//! Headers of a backend's answer that are passed on to the caller: ids, rate limits, processing times.
//!
//! A setting determines which ones. Rate limits are passed on in the dialect of the caller: `OpenAI`'s
//! `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` with resets like `6m0s`, Anthropic's
//! `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}` with dates. Headers that describe the connection or
//! the body, that set cookies, or that the gateway sets itself are never passed on.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::quota::parse_span;

/// The largest number of headers of one answer that are passed on; servers send about a dozen of this kind.
const HEADERS_MAX: usize = 32;
/// The longest value that is passed on, in bytes.
const VALUE_SIZE_MAX: usize = 1024;
/// The shortest prefix that a pattern may have; a shorter one would match unrelated headers.
const PREFIX_MIN: usize = 3;

/// The header for the id that the backend gave the call, because `x-request-id` is the gateway's own.
pub const UPSTREAM_ID: HeaderName = HeaderName::from_static("x-kebne-upstream-request-id");

/// Headers that are never passed on, and prefixes of such headers.
const FORBIDDEN: [&str; 16] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "alt-svc",
    "cache-control",
    "date",
    "location",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
    "x-should-retry",
];
const FORBIDDEN_STARTS: [&str; 6] = [
    "access-control-",
    "content-",
    "proxy-",
    "retry-after",
    "sec-",
    "x-kebne-",
];

/// The reason why a text does not select headers that can be passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is neither a header name nor a prefix of one followed by `*`.
    #[error(
        "`{0}` is neither a header name nor a prefix of one (at least 3 characters) followed by `*`"
    )]
    NotAName(String),
    /// The header is never passed on.
    #[error(
        "`{0}` cannot be passed on: it belongs to the connection, to the body or to this gateway"
    )]
    Forbidden(String),
}

/// The headers that are passed on.
#[derive(Clone, Debug, Default)]
pub struct PassedHeaders {
    patterns: Vec<Pattern>,
}

/// A header name, or a prefix of several.
#[derive(Clone, Debug)]
enum Pattern {
    Name(HeaderName),
    Start(String),
}

/// The family of rate-limit headers that a caller reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitDialect {
    /// `x-ratelimit-limit-requests` and others.
    OpenAi,
    /// `anthropic-ratelimit-requests-limit` and others.
    Anthropic,
}

impl PassedHeaders {
    /// Reads header names, each of which may end with `*`.
    ///
    /// # Errors
    /// Returns an error if an item is not a name, or names a header that is never passed on.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let patterns = patterns.into_iter().map(Pattern::read);
        let patterns = patterns.collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Returns the headers of an answer that are passed on, up to 32 of at most 1 KiB each.
    pub fn of_answer(&self, headers: &HeaderMap) -> HeaderMap {
        let mut passed = HeaderMap::new();
        if self.patterns.is_empty() {
            return passed;
        }
        for (name, value) in headers {
            let fits = passed.len() < HEADERS_MAX && value.len() <= VALUE_SIZE_MAX;
            if fits && self.names(name) && !is_forbidden(name.as_str()) {
                let name = own_name(name);
                if name == UPSTREAM_ID {
                    // Servers that send both names mean one id.
                    passed.insert(name, value.clone());
                } else {
                    passed.append(name, value.clone());
                }
            }
        }
        passed
    }

    fn names(&self, name: &HeaderName) -> bool {
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::Name(own) => own == name,
            Pattern::Start(start) => name.as_str().starts_with(start),
        })
    }
}

impl Pattern {
    fn read(text: &str) -> Result<Self, PatternError> {
        let not_a_name = || PatternError::NotAName(text.to_owned());
        let start = text.strip_suffix('*');
        let name = HeaderName::try_from(start.unwrap_or(text)).map_err(|_| not_a_name())?;
        if name.as_str().contains('*') {
            return Err(not_a_name());
        }
        if is_forbidden(name.as_str()) {
            return Err(PatternError::Forbidden(text.to_owned()));
        }
        match start {
            Some(start) if start.len() < PREFIX_MIN => Err(not_a_name()),
            Some(_) => Ok(Self::Start(name.as_str().to_owned())),
            None => Ok(Self::Name(name)),
        }
    }
}

fn is_forbidden(name: &str) -> bool {
    FORBIDDEN.contains(&name) || FORBIDDEN_STARTS.iter().any(|start| name.starts_with(start))
}

/// Returns the name under which a header is passed on.
fn own_name(name: &HeaderName) -> HeaderName {
    match name.as_str() {
        "x-request-id" | "request-id" => UPSTREAM_ID,
        _ => name.clone(),
    }
}

/// Returns the id that the backend gave the call.
pub fn upstream_id(headers: &HeaderMap) -> Option<&str> {
    let names = [
        "x-request-id",
        "request-id",
        "x-amzn-requestid",
        "apim-request-id",
    ];
    let mut ids = names.into_iter().filter_map(|name| headers.get(name));
    ids.find_map(|id| id.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= 128)
}

/// Returns the headers with their rate limits in the given dialect; all others stay unchanged. A limit that cannot be
/// read is left out.
pub fn rate_limits_in(
    dialect: RateLimitDialect,
    headers: &HeaderMap,
    now: SystemTime,
) -> HeaderMap {
    let mut translated = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let Some((kind, part)) = foreign(dialect, name.as_str()) else {
            translated.append(name.clone(), value.clone());
            continue;
        };
        let name = match dialect {
            RateLimitDialect::OpenAi => format!("x-ratelimit-{part}-{kind}"),
            RateLimitDialect::Anthropic => format!("anthropic-ratelimit-{kind}-{part}"),
        };
        let value = match part {
            "reset" => value
                .to_str()
                .ok()
                .and_then(|reset| reset_in(dialect, reset, now)),
            _ => Some(value.clone()),
        };
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name), value) {
            translated.insert(name, value);
        }
    }
    translated
}

/// Adds the headers of a rate limit in the dialect of `OpenAI`. `kind` is `requests` or `tokens`, `units` are the limit and what
/// remains of it, and `reset` is the time until all of it can be used again.
pub fn add_rate_limit(headers: &mut HeaderMap, kind: &str, units: (u64, u64), reset: Duration) {
    let (limit, remaining) = (units.0.into(), units.1.into());
    let parts: [(&str, Option<HeaderValue>); 3] = [
        ("limit", Some(limit)),
        ("remaining", Some(remaining)),
        ("reset", HeaderValue::from_str(&span(reset)).ok()),
    ];
    for (part, value) in parts {
        let name = HeaderName::try_from(format!("x-ratelimit-{part}-{kind}"));
        if let (Ok(name), Some(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
}

/// Returns the kind and the part of a rate limit that is not in the dialect but has a counterpart in it.
fn foreign(dialect: RateLimitDialect, name: &str) -> Option<(&str, &str)> {
    let (kind, part) = match dialect {
        RateLimitDialect::OpenAi => name
            .strip_prefix("anthropic-ratelimit-")?
            .rsplit_once('-')?,
        RateLimitDialect::Anthropic => {
            let (part, kind) = name.strip_prefix("x-ratelimit-")?.split_once('-')?;
            (kind, part)
        }
    };
    let is_known = matches!(kind, "requests" | "tokens");
    (is_known && matches!(part, "limit" | "remaining" | "reset")).then_some((kind, part))
}

/// Returns the time of a reset in the dialect.
fn reset_in(dialect: RateLimitDialect, reset: &str, now: SystemTime) -> Option<HeaderValue> {
    let text = match dialect {
        RateLimitDialect::OpenAi => {
            let date = humantime::parse_rfc3339(reset.trim()).ok()?;
            span(date.duration_since(now).unwrap_or_default())
        }
        RateLimitDialect::Anthropic => {
            let date = now.checked_add(parse_span(reset.trim())?)?;
            // A whole second, rounded up so that it is not too early.
            let date = date.checked_add(Duration::from_nanos(999_999_999))?;
            // Formatting panics after the year 9999.
            let unix = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            (unix.as_secs() < 253_402_300_800)
                .then(|| humantime::format_rfc3339_seconds(date).to_string())?
        }
    };
    HeaderValue::try_from(text).ok()
}

/// Writes a span as Go does: `1.5s`, `6m0s`, `10h17m0s`, `120ms`.
fn span(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return format!("{}ms", span.as_millis());
    }
    let (hours, minutes) = (span.as_secs() / 3600, span.as_secs() / 60 % 60);
    let (seconds, millis) = (span.as_secs() % 60, span.subsec_millis());
    let mut text = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, _) => format!("{minutes}m"),
        _ => format!("{hours}h{minutes}m"),
    };
    text += &seconds.to_string();
    if millis > 0 {
        text += format!(".{millis:03}").trim_end_matches('0');
    }
    text + "s"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn only_what_is_named_goes_to_the_caller_and_never_what_belongs_to_the_connection() {
        let passed = PassedHeaders::of([
            "x-ratelimit-*",
            "OpenAI-Processing-MS",
            "x-request-id",
            "con*",
        ]);
        let answer = headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("openai-processing-ms", "12"),
            ("openai-organization", "secret"),
            ("x-request-id", "req_up"),
            ("content-type", "application/json"),
            ("connection", "close"),
        ]);
        let expected = headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("openai-processing-ms", "12"),
            ("x-kebne-upstream-request-id", "req_up"),
        ]);
        assert_eq!(passed.unwrap().of_answer(&answer), expected);
        assert!(PassedHeaders::default().of_answer(&answer).is_empty());
    }

    #[test]
    fn a_pattern_that_cannot_be_passed_on_is_an_error() {
        for text in ["", "*", "x-*", "a b", "x*y"] {
            let error = PassedHeaders::of([text]).unwrap_err();
            assert_eq!(error, PatternError::NotAName(text.to_owned()));
        }
        for text in ["Set-Cookie", "content-*", "content-length", "x-kebne-lane"] {
            let error = PassedHeaders::of([text]).unwrap_err();
            assert_eq!(error, PatternError::Forbidden(text.to_owned()));
        }
    }

    #[test]
    fn the_number_and_the_size_of_headers_are_bounded() {
        let passed = PassedHeaders::of(["x-a*"]).unwrap();
        let mut answer = HeaderMap::new();
        for number in 0..90 {
            let name = HeaderName::try_from(format!("x-a{number}")).unwrap();
            answer.insert(name, HeaderValue::from_static("1"));
        }
        assert_eq!(passed.of_answer(&answer).len(), HEADERS_MAX);
        let long = HeaderValue::try_from("x".repeat(VALUE_SIZE_MAX + 1)).unwrap();
        let answer = HeaderMap::from_iter([(HeaderName::from_static("x-a"), long)]);
        assert!(passed.of_answer(&answer).is_empty());
    }

    #[test]
    fn rate_limits_are_written_in_the_dialect_of_the_caller() {
        let now = humantime::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let openai = headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("x-ratelimit-reset-requests", "1.2s"),
            ("openai-processing-ms", "12"),
        ]);
        let anthropic = headers(&[
            ("anthropic-ratelimit-requests-limit", "60"),
            ("anthropic-ratelimit-tokens-remaining", "149984"),
            ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:06:00Z"),
            ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:02Z"),
            ("openai-processing-ms", "12"),
        ]);
        let translated = rate_limits_in(RateLimitDialect::Anthropic, &openai, now);
        assert_eq!(translated, anthropic);
        let back = rate_limits_in(RateLimitDialect::OpenAi, &anthropic, now);
        assert_eq!(back["x-ratelimit-reset-tokens"], "6m0s");
        assert_eq!(back["x-ratelimit-reset-requests"], "2s");
        for (dialect, own) in [
            (RateLimitDialect::OpenAi, &openai),
            (RateLimitDialect::Anthropic, &anthropic),
        ] {
            assert_eq!(&rate_limits_in(dialect, own, now), own);
        }
        let odd = headers(&[
            ("x-ratelimit-reset-tokens", "soon"),
            ("x-ratelimit-limit-images", "3"),
        ]);
        let translated = rate_limits_in(RateLimitDialect::Anthropic, &odd, now);
        assert_eq!(translated, headers(&[("x-ratelimit-limit-images", "3")]));
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in [
            "0ms",
            "120ms",
            "1s",
            "1.5s",
            "6m0s",
            "10h17m0s",
            "1h0m0.25s",
        ] {
            assert_eq!(span(parse_span(text).unwrap()), text);
        }
        let huge = headers(&[("x-ratelimit-reset-tokens", "1e18")]);
        let now = SystemTime::UNIX_EPOCH;
        assert!(rate_limits_in(RateLimitDialect::Anthropic, &huge, now).is_empty());
    }
}
