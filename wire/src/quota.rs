//! Reads quotas and retry times from headers, in the four common dialects.
//!
//! `OpenAI`: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` with resets like `6m0s`. Anthropic:
//! `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}` with dates. IETF drafts: `RateLimit` with
//! `RateLimit-Policy`, and the older `ratelimit-{limit,remaining,reset}`. A header that cannot be read is
//! treated as absent.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use kebne_control::{BucketHint, QuotaHints};

/// The least number that is a Unix time in seconds and not a duration: in 2001.
const UNIX_MIN: u64 = 1_000_000_000;
/// The least number that is a Unix time in milliseconds.
const UNIX_MILLIS_MIN: u64 = 100_000_000_000;

/// Reads the state of the quotas for requests and tokens.
pub fn hints(headers: &HeaderMap, now: SystemTime) -> QuotaHints {
    // Every name below contains this; most answers have none of them.
    if !headers
        .keys()
        .any(|name| name.as_str().contains("ratelimit"))
    {
        return QuotaHints::default();
    }
    QuotaHints {
        requests: openai(headers, "requests", now)
            .or_else(|| anthropic(headers, "requests", now))
            .or_else(|| ietf(headers, now)),
        tokens: openai(headers, "tokens", now)
            .or_else(|| anthropic(headers, "tokens", now))
            .or_else(|| anthropic(headers, "output-tokens", now)),
    }
}

/// Returns how long the server asks callers to wait: `retry-after-ms`, `retry-after` (seconds or a date), or the reset
/// of a quota that is used up.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let millis = number(headers, "retry-after-ms").map(|millis| millis / 1000.0);
    let seconds = || number(headers, "retry-after");
    if let Some(seconds) = millis.or_else(seconds) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    if let Some(date) =
        text(headers, "retry-after").and_then(|date| httpdate::parse_http_date(date).ok())
    {
        return Some(date.duration_since(now).unwrap_or(Duration::ZERO));
    }
    let hints = hints(headers, now);
    let empty = [hints.requests, hints.tokens]
        .into_iter()
        .flatten()
        .filter(|bucket| bucket.remaining < 1.0);
    // A reset that is over is no reason to wait.
    let resets = empty.filter_map(|bucket| bucket.reset);
    resets.filter(|reset| !reset.is_zero()).max()
}

/// Reads a duration as Go writes it: `1s`, `6m0s`, `120ms`, `1.5s`, `10h17m`, or a number of seconds.
pub fn parse_span(text: &str) -> Option<Duration> {
    let bare = text
        .parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if bare.is_some() || text.is_empty() {
        return bare;
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(value * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    Some(sum)
}

/// Reads the time until a reset: a duration, a date as in RFC 3339, or a Unix time in seconds or milliseconds. A time
/// that is over is zero.
fn parse_reset(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(date) = humantime::parse_rfc3339(text) {
        return Some(date.duration_since(now).unwrap_or(Duration::ZERO));
    }
    let span = parse_span(text)?;
    let unix = match span.as_secs() {
        0..UNIX_MIN => return Some(span),
        UNIX_MIN..UNIX_MILLIS_MIN => span,
        _ => span / 1000,
    };
    let date = SystemTime::UNIX_EPOCH.checked_add(unix)?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

fn openai(headers: &HeaderMap, what: &str, now: SystemTime) -> Option<BucketHint> {
    let named = |part: &str| format!("x-ratelimit-{part}-{what}");
    Some(BucketHint {
        limit: number(headers, &named("limit"))?,
        remaining: number(headers, &named("remaining"))?,
        reset: text(headers, &named("reset")).and_then(|reset| parse_reset(reset, now)),
        window: None,
    })
}

fn anthropic(headers: &HeaderMap, what: &str, now: SystemTime) -> Option<BucketHint> {
    let named = |part: &str| format!("anthropic-ratelimit-{what}-{part}");
    let reset = text(headers, &named("reset")).and_then(|reset| parse_reset(reset, now));
    Some(BucketHint {
        limit: number(headers, &named("limit"))?,
        remaining: number(headers, &named("remaining"))?,
        reset,
        window: None,
    })
}

fn ietf(headers: &HeaderMap, now: SystemTime) -> Option<BucketHint> {
    if let Some(state) = text(headers, "ratelimit") {
        let policy = text(headers, "ratelimit-policy").unwrap_or_default();
        let remaining = parameter(state, "r")?;
        return Some(BucketHint {
            limit: parameter(policy, "q").unwrap_or(remaining),
            remaining,
            reset: parameter(state, "t")
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            window: parameter(policy, "w")
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .filter(|window| !window.is_zero()),
        });
    }
    Some(BucketHint {
        limit: number(headers, "ratelimit-limit")?,
        remaining: number(headers, "ratelimit-remaining")?,
        reset: text(headers, "ratelimit-reset").and_then(|reset| parse_reset(reset, now)),
        window: None,
    })
}

/// Returns the `key=number` of a structured field such as `"api";r=0;t=55`.
fn parameter(field: &str, key: &str) -> Option<f64> {
    let pairs = field
        .split([';', ','])
        .filter_map(|part| part.trim().split_once('='));
    let mut values = pairs
        .filter(|(name, _)| *name == key)
        .filter_map(|(_, value)| value.parse().ok());
    values.next().filter(|value: &f64| value.is_finite())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    let value: f64 = text(headers, name)?.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    fn bucket(limit: f64, remaining: f64, reset: u64, window: Option<u64>) -> BucketHint {
        BucketHint {
            limit,
            remaining,
            reset: Some(Duration::from_secs(reset)),
            window: window.map(Duration::from_secs),
        }
    }

    #[test]
    fn each_dialect_of_quota_headers_is_read() {
        let now = humantime::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let openai = headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        assert_eq!(
            hints(&openai, now).requests,
            Some(bucket(60.0, 59.0, 1, None))
        );
        assert_eq!(
            hints(&openai, now).tokens,
            Some(bucket(150_000.0, 149_984.0, 360, None))
        );
        let anthropic = headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:30Z"),
        ]);
        assert_eq!(
            hints(&anthropic, now).requests,
            Some(bucket(50.0, 0.0, 30, None))
        );
        assert_eq!(retry_after(&anthropic, now), Some(Duration::from_secs(30)));
        let ietf = headers(&[
            ("ratelimit", "\"api\";r=0;t=55"),
            ("ratelimit-policy", "\"fixed window\";\"api\";q=500;w=300"),
        ]);
        assert_eq!(
            hints(&ietf, now).requests,
            Some(bucket(500.0, 0.0, 55, Some(300)))
        );
    }

    #[test]
    fn a_clock_is_read_from_each_header_and_the_finer_one_wins() {
        let now = httpdate::parse_http_date("Thu, 01 Jan 2026 00:00:00 GMT").unwrap();
        let cases = [
            (headers(&[("retry-after", "7")]), Some(7_000)),
            (headers(&[("retry-after", "1.5")]), Some(1_500)),
            (
                headers(&[("retry-after", "7"), ("retry-after-ms", "250")]),
                Some(250),
            ),
            (
                headers(&[("retry-after", "Thu, 01 Jan 2026 00:00:09 GMT")]),
                Some(9_000),
            ),
            (
                headers(&[("retry-after", "Wed, 31 Dec 2025 00:00:00 GMT")]),
                Some(0),
            ),
            (headers(&[("retry-after", "-3")]), None),
            (headers(&[("retry-after", "soon")]), None),
        ];
        for (headers, millis) in cases {
            assert_eq!(
                retry_after(&headers, now),
                millis.map(Duration::from_millis),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn resets_are_durations_or_points_in_time() {
        let now = humantime::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        for (reset, millis) in [
            ("6m0s", Some(360_000)),
            ("20ms", Some(20)),
            ("0s", Some(0)),
            ("2026-01-01T00:00:30Z", Some(30_000)),
            ("2025-12-31T23:59:58Z", Some(0)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1767225605", Some(5_000)),
            ("1767225605000", Some(5_000)),
            ("1767225595", Some(0)),
            ("", None),
            ("NaN", None),
            ("soon", None),
        ] {
            let read = parse_reset(reset, now);
            assert_eq!(read, millis.map(Duration::from_millis), "{reset}");
        }
        let over = headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2025-12-31T23:59:58Z"),
        ]);
        assert_eq!(hints(&over, now).requests, Some(bucket(50.0, 0.0, 0, None)));
        assert_eq!(retry_after(&over, now), None);
    }

    #[test]
    fn spans_are_read_as_go_writes_them() {
        let cases = [
            ("1s", 1_000),
            ("6m0s", 360_000),
            ("120ms", 120),
            ("1.5s", 1_500),
            ("10h17m", 37_020_000),
            ("2", 2_000),
        ];
        for (text, millis) in cases {
            assert_eq!(
                parse_span(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "s", "1x", "-1s", "1e400s", "NaN", "inf"] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }
}
