//! Reads the parts of an error that decide its class.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::{
    classify::{
        ESTIMATE_MAX, STATUS_OF_TYPE, TEXT_MAX,
        words::{BEYOND_ACCOUNT, FLAGGED},
    },
    error::{ErrorView, error_in, value_of},
    quota,
};

/// The parts of an error body that decide its class.
#[derive(Debug, Default)]
pub(super) struct ErrorText {
    /// The message, type and code in lower case.
    pub(super) text: String,
    /// The value of `estimated_time`.
    pub(super) estimated: Option<Duration>,
    /// The type, the code and the reasons only, in lower case.
    kind: String,
    /// The retry time in the details of the error (`google.rpc.RetryInfo`).
    delay: Option<Duration>,
    /// The time of the reset, which OpenRouter sends in the body.
    reset_at: Option<SystemTime>,
    /// `true` if the details name a quota of a day.
    pub(super) is_daily: bool,
    /// `true` if the error lists what was wrong with the content of the prompt.
    is_moderation: bool,
    /// A status that the body contains.
    pub(super) status: Option<u16>,
    /// `true` if the body names a cause beyond a path that does not exist.
    pub(super) has_cause: bool,
}

impl ErrorText {
    pub(super) fn read(body: &[u8]) -> Self {
        let Some(whole) = value_of(body) else {
            let start = &body[..body.len().min(TEXT_MAX)];
            return Self {
                has_cause: names_model(body),
                text: String::from_utf8_lossy(start).to_lowercase(),
                ..Self::default()
            };
        };
        // Gemini's OpenAI surface wraps the object in a list.
        let whole = &whole;
        let value = whole.get(0).unwrap_or(whole);
        let error = error_in(value);
        let mut text = error.as_str().unwrap_or_default().to_lowercase();
        for holder in [error, value] {
            for key in [
                "message",
                "type",
                "code",
                "status",
                "error_type",
                "error_code",
                "detail",
                "__type",
            ] {
                if let Some(word) = holder.get(key).and_then(Value::as_str) {
                    text.push('\n');
                    text.push_str(&word.to_lowercase());
                }
            }
        }
        if let Some(code) = error.pointer("/details/error_code").and_then(Value::as_str) {
            text.push('\n');
            text.push_str(&code.to_lowercase());
        }
        let estimate = value
            .get("estimated_time")
            .or_else(|| error.get("estimated_time"));
        let estimated = estimate
            .and_then(Value::as_f64)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let view = ErrorView::of(whole).unwrap_or_default();
        let kind = [view.kind.as_deref(), view.code.as_deref()].map(Option::unwrap_or_default);
        let details = Details::of(error);
        let kind = format!("{}\n{}", kind.join("\n"), details.reasons).to_lowercase();
        let nothing = matches!(
            view.message.as_str(),
            "" | "Not Found" | "Method Not Allowed"
        );
        Self {
            text,
            estimated: estimated.map(|estimated| estimated.min(ESTIMATE_MAX)),
            has_cause: !nothing || kind.trim() != "" || names_model(body),
            kind,
            delay: details.delay,
            reset_at: reset_at(error),
            is_daily: details.is_daily,
            is_moderation: is_set(error.pointer("/metadata/reasons")),
            status: view.status,
        }
    }

    /// Returns the status that corresponds to the type or the code.
    pub(super) fn status_of_type(&self) -> Option<u16> {
        let named = |words: &&[&str]| words.iter().any(|word| self.kind.contains(word));
        let found = STATUS_OF_TYPE.iter().find(|(_, words)| named(words));
        found.map(|(status, _)| *status)
    }

    pub(super) fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text.contains(word))
    }

    /// Returns `true` if the type, the code or a reason contains one of the words.
    pub(super) fn has_code(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.kind.contains(word))
    }

    /// Returns `true` if the message begins with one of the words.
    pub(super) fn begins_with(&self, words: &[&str]) -> bool {
        let start = self.text.trim_start();
        let start = start.strip_prefix("bad request: ").unwrap_or(start);
        words.iter().any(|word| start.starts_with(word))
    }

    /// Returns `true` if the prompt was refused for its content.
    pub(super) fn is_flagged(&self) -> bool {
        self.is_moderation || self.has(&FLAGGED)
    }

    /// Returns `true` if a line begins and ends with these words.
    pub(super) fn has_line(&self, start: &str, end: &str) -> bool {
        let mut lines = self.text.lines();
        lines.any(|line| line.starts_with(start) && line.ends_with(end))
    }

    /// Returns `true` if the account can never carry out the request, whenever it is sent: it is larger than the limit
    /// ("Limit 30000, Requested 34000"), or its output costs more than the rest of the credits.
    pub(super) fn is_beyond_account(&self) -> bool {
        let number = |word: &str| self.number_after(word);
        let is_over_limit = match (number("limit "), number("requested ")) {
            (Some(limit), Some(requested)) => limit > 0 && requested > limit,
            _ => false,
        };
        let has_credits = number("can only afford ") != Some(0);
        is_over_limit || (has_credits && self.begins_with(&BEYOND_ACCOUNT))
    }

    /// Returns the first number that follows a word; commas between its digits are skipped.
    fn number_after(&self, word: &str) -> Option<u64> {
        let mut places = self.text.match_indices(word);
        places.find_map(|(at, _)| {
            let digits = self.text[at + word.len()..].bytes();
            let digits = digits.take_while(|byte| byte.is_ascii_digit() || *byte == b',');
            let digits: String = digits
                .filter(|byte| *byte != b',')
                .map(char::from)
                .collect();
            digits.parse().ok()
        })
    }

    /// Returns the retry time of the details, or that in texts such as "try again in 1.2s", "retry in 10h17m" and "retry
    /// after 2 seconds".
    pub(super) fn clock(&self, now: SystemTime) -> Option<Duration> {
        let reset = self.reset_at.or_else(|| self.date());
        let reset = reset.filter(|_| now != SystemTime::UNIX_EPOCH);
        let reset = reset.and_then(|reset| reset.duration_since(now).ok());
        if let Some(known) = self.delay.or(reset) {
            return Some(known);
        }
        let words = ["again in ", "retry in ", "retry after ", "again after "];
        let mut rests = words
            .iter()
            .filter_map(|words| Some(self.text.split_once(words)?.1));
        let mut rest = rests.next()?.split_whitespace();
        let end = ['.', ',', ';', ')'];
        let span = quota::parse_span(rest.next()?.trim_end_matches(end))?;
        let unit = rest.next().unwrap_or_default();
        let factors = [
            ("ms", 0.001),
            ("milli", 0.001),
            ("min", 60.0),
            ("hour", 3600.0),
        ];
        let factor = factors.iter().find(|(name, _)| unit.starts_with(name));
        let seconds = span.as_secs_f64() * factor.map_or(1.0, |(_, factor)| *factor);
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Returns the date in Anthropic's "You will regain access on 2027-01-01 at 00:00 UTC".
    fn date(&self) -> Option<SystemTime> {
        let (_, rest) = self.text.split_once("regain access on ")?;
        let (day, rest) = rest.split_once(" at ")?;
        let (time, _) = rest.split_once(" utc")?;
        humantime::parse_rfc3339(&format!("{day}T{time}:00Z")).ok()
    }
}

/// The details of an error in Google's form (`google.rpc.Status`).
#[derive(Default)]
struct Details {
    /// The machine-readable reasons, separated by line ends.
    reasons: String,
    delay: Option<Duration>,
    is_daily: bool,
}

impl Details {
    fn of(error: &Value) -> Self {
        let mut details = Self::default();
        let items = error.get("details").and_then(Value::as_array);
        for item in items.into_iter().flatten() {
            if let Some(reason) = item.get("reason").and_then(Value::as_str) {
                details.reasons.push_str(reason);
                details.reasons.push('\n');
            }
            let delay = item.get("retryDelay").and_then(Value::as_str);
            details.delay = details.delay.or(delay.and_then(quota::parse_span));
            let violations = item.get("violations").and_then(Value::as_array);
            let ids = violations.into_iter().flatten();
            let mut ids = ids.filter_map(|violation| violation.get("quotaId")?.as_str());
            details.is_daily |= ids.any(|id| id.contains("PerDay"));
        }
        details
    }
}

/// Returns `X-RateLimit-Reset` of the headers in OpenRouter's `metadata`, in milliseconds since 1970.
fn reset_at(error: &Value) -> Option<SystemTime> {
    let headers = error.pointer("/metadata/headers")?.as_object()?;
    let mut headers = headers.iter();
    let (_, reset) = headers.find(|(name, _)| name.eq_ignore_ascii_case("x-ratelimit-reset"))?;
    let millis = reset
        .as_u64()
        .or_else(|| reset.as_str()?.trim().parse().ok())?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

/// Returns `true` if the words of a refusal mention a model.
fn names_model(body: &[u8]) -> bool {
    let view = ErrorView::of_refusal(body);
    view.is_some_and(|view| view.message.to_lowercase().contains("model"))
}

fn is_set(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null())
}
