//! The request log: one line for each ended call, as text or JSON, on standard error or in a file.
//!
//! A line says who called, which model and lanes were used, how long each part took and how the call ended. It never
//! contains a prompt, an answer or a key. Lines are written by a thread of their own, and dropped and counted when
//! nobody takes them.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::Write,
    net::IpAddr,
    sync::{OnceLock, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use kebne_cache::Bypass;
use kebne_guard::words;
use kebne_lane::Ending;
use kebne_quota::Money;
use serde::Serialize;
use tracing_appender::non_blocking::NonBlocking;

use crate::{
    cost::Consumed,
    record::{CallRecord, RouteNote},
    settings::{LogFormat, log::RequestLogSettings},
};

/// The target of the request log in `log.filter`, where the lines go to standard error.
pub(crate) const TARGET: &str = "kebne::call";

static LOG: OnceLock<RequestLog> = OnceLock::new();

/// The request log of this process.
#[derive(Debug)]
struct RequestLog {
    writer: NonBlocking,
    format: LogFormat,
    choice: RwLock<Choice>,
}

/// Which calls are written.
#[derive(Clone, Copy, Debug)]
struct Choice {
    sample: f64,
    keeps_failures: bool,
}

impl Choice {
    const NONE: Self = Self {
        sample: 0.0,
        keeps_failures: false,
    };
}

/// Starts the request log, which is written to `writer`. Called once, with the log. It writes no call until
/// [`change`] says which.
pub(crate) fn start(format: LogFormat, writer: NonBlocking) {
    let log = RequestLog {
        writer,
        format,
        choice: RwLock::new(Choice::NONE),
    };
    let _is_first = LOG.set(log);
}

/// Sets which calls are written; none if the log is not visible.
pub(crate) fn change(settings: &RequestLogSettings, is_visible: bool) {
    let Some(log) = LOG.get() else {
        return;
    };
    let choice = if is_visible {
        Choice {
            sample: settings.sample,
            keeps_failures: settings.failures_always,
        }
    } else {
        Choice::NONE
    };
    *log.choice.write().unwrap_or_else(PoisonError::into_inner) = choice;
}

/// Writes the line of a call, if the log is on and the call is in the sample.
pub fn write(record: &CallRecord) {
    let Some(log) = LOG.get() else {
        return;
    };
    let choice = *log.choice.read().unwrap_or_else(PoisonError::into_inner);
    let is_failure = record.ending != Ending::Success;
    let is_kept = (is_failure && choice.keeps_failures) || choice.sample >= 1.0;
    if !is_kept && fastrand::f64() >= choice.sample {
        return;
    }
    let line = match log.format {
        LogFormat::Text => text(record, SystemTime::now()),
        LogFormat::Json => json(record, SystemTime::now()),
    };
    // The writer drops and counts lines that it cannot take; it returns no error.
    let _taken = log.writer.clone().write_all(line.as_bytes());
}

/// One line of JSON. Times are in milliseconds.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    message: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "str::is_empty")]
    key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tenant: &'a str,
    surface: &'static str,
    operation: &'static str,
    stream: bool,
    model: &'a str,
    lane: &'a str,
    status: Option<u16>,
    ending: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    guard: String,
    attempts: usize,
    attempted: Vec<Attempt<'a>>,
    queue_ms: f64,
    cold_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_token_ms: Option<f64>,
    total_ms: f64,
    /// Present if something was searched for the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<usize>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    steps_ms: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    /// In units of the currency of the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Money>,
    /// How the cache had the call answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved_cost: Option<Money>,
    /// Present if the server did not report all tokens.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cost_estimated: bool,
}

/// One attempt in a line of JSON.
#[derive(Serialize)]
struct Attempt<'a> {
    lane: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    wake: bool,
    /// The beginning, from the arrival of the call.
    at_ms: f64,
    took_ms: f64,
}

fn json(record: &CallRecord, now: SystemTime) -> String {
    let causes = record.causes();
    let attempted = record.trail.attempts.iter().zip(causes);
    let attempted = attempted.map(|(attempt, (outcome, reason))| {
        let ended = attempt.ended.map_or(record.ended, |(at, _)| at);
        Attempt {
            lane: record.trail.lanes.get(attempt.lane).map_or("", |name| name),
            outcome,
            reason,
            wake: attempt.is_wake,
            at_ms: millis(attempt.sent.saturating_duration_since(record.opened)),
            took_ms: millis(ended.saturating_duration_since(attempt.sent)),
        }
    });
    let line = Line {
        timestamp: humantime::format_rfc3339_millis(now).to_string(),
        message: "call",
        id: &record.id,
        trace: record.span.or(record.trace).map(|trace| trace.trace()),
        client: record.client,
        key: &record.key,
        tenant: &record.tenant,
        surface: record.surface,
        operation: record.operation,
        stream: record.is_streamed,
        model: &record.model,
        lane: record.lane(),
        status: record.status,
        ending: record.ending.label(),
        reason: record.reason,
        prompt: record.prompt.as_ref().map(|used| used.chosen.reference()),
        route: record.route.as_ref().map(RouteNote::label),
        guard: words(&record.hits),
        attempts: record.attempts(),
        attempted: attempted.collect(),
        queue_ms: millis(record.trail.queued),
        cold_ms: millis(record.trail.cold),
        first_token_ms: record.first_token().map(millis),
        total_ms: millis(record.total()),
        chunks: record.steps.map(|steps| steps.retrieved.chunks),
        steps_ms: record
            .steps()
            .map(|(step, time)| (step, millis(time)))
            .collect(),
        input_tokens: record.usage.input,
        cached_tokens: record.usage.cached,
        output_tokens: record.usage.output,
        cost: record.consumed.cost,
        cache: record.cache.map(|cache| cache.outcome.label()),
        cache_reason: record
            .cache
            .and_then(|cache| cache.bypass)
            .map(Bypass::label),
        cache_age_seconds: record.cache.and_then(|cache| cache.age),
        saved_tokens: saved(record).map(|saved| saved.tokens),
        saved_cost: saved(record).and_then(|saved| saved.cost),
        cost_estimated: is_cost_estimated(record),
    };
    let mut line = serde_json::to_string(&line).unwrap_or_default();
    line.push('\n');
    line
}

fn text(record: &CallRecord, now: SystemTime) -> String {
    let mut line = String::with_capacity(320);
    // Writing to a string cannot fail.
    let _complete = write_text(record, now, &mut line);
    line.push('\n');
    line
}

fn write_text(record: &CallRecord, now: SystemTime, line: &mut String) -> fmt::Result {
    let now = humantime::format_rfc3339_millis(now);
    write!(line, "{now} CALL id={}", Value(&record.id))?;
    if let Some(trace) = record.span.or(record.trace) {
        write!(line, " trace={}", trace.trace())?;
    }
    if let Some(client) = record.client {
        write!(line, " client={client}")?;
    }
    for (name, value) in [("key", &record.key), ("tenant", &record.tenant)] {
        if !value.is_empty() {
            write!(line, " {name}={}", Value(value))?;
        }
    }
    let stream = if record.is_streamed { " stream" } else { "" };
    write!(line, " surface={}{stream}", record.surface)?;
    if let Some(route) = &record.route {
        write!(line, " route={}", Value(&route.label()))?;
    }
    write!(line, " model={}", Value(&record.model))?;
    write!(line, " lane={}", Value(record.lane()))?;
    match record.status {
        Some(status) => write!(line, " status={status}")?,
        None => line.push_str(" status=-"),
    }
    write!(line, " ending={}", record.ending.label())?;
    if !record.reason.is_empty() {
        write!(line, " reason={}", record.reason)?;
    }
    if let Some(prompt) = &record.prompt {
        write!(line, " prompt={}", Value(&prompt.chosen.reference()))?;
    }
    if !record.hits.is_empty() {
        write!(line, " guard={}", Value(&words(&record.hits)))?;
    }
    write_attempts(record, line)?;
    write!(line, " queue_ms={}", millis(record.trail.queued))?;
    if !record.trail.cold.is_zero() {
        write!(line, " cold_ms={}", millis(record.trail.cold))?;
    }
    if let Some(first) = record.first_token() {
        write!(line, " first_token_ms={}", millis(first))?;
    }
    write!(line, " total_ms={}", millis(record.total()))?;
    if let Some(steps) = record.steps {
        write!(line, " chunks={}", steps.retrieved.chunks)?;
    }
    for (step, time) in record.steps() {
        write!(line, " {step}_ms={}", millis(time))?;
    }
    let usage = record.usage;
    for (name, tokens) in [
        ("input_tokens", usage.input),
        ("cached_tokens", usage.cached),
        ("output_tokens", usage.output),
    ] {
        if let Some(tokens) = tokens {
            write!(line, " {name}={tokens}")?;
        }
    }
    if let Some(cost) = record.consumed.cost {
        write!(line, " cost={cost}")?;
    }
    if is_cost_estimated(record) {
        line.push_str(" cost_estimated");
    }
    write_cache(record, line)
}

/// Writes what the cache did with the call.
fn write_cache(record: &CallRecord, line: &mut String) -> fmt::Result {
    let Some(cache) = record.cache else {
        return Ok(());
    };
    write!(line, " cache={}", cache.outcome.label())?;
    if let Some(reason) = cache.bypass {
        write!(line, " cache_reason={}", reason.label())?;
    }
    if let Some(age) = cache.age {
        write!(line, " cache_age_seconds={age}")?;
    }
    if let Some(saved) = saved(record) {
        write!(line, " saved_tokens={}", saved.tokens)?;
        if let Some(cost) = saved.cost {
            write!(line, " saved_cost={cost}")?;
        }
    }
    Ok(())
}

/// Returns what a call saved that was answered without a backend.
fn saved(record: &CallRecord) -> Option<Consumed> {
    let cache = record.cache?;
    (cache.saved != Consumed::default()).then_some(cache.saved)
}

/// Returns `true` if a call has a cost that is not computed from reported tokens alone.
fn is_cost_estimated(record: &CallRecord) -> bool {
    record.consumed.cost.is_some() && record.consumed.is_estimated
}

/// Writes the number of attempts, and how they went unless all succeeded. Those in a row that went alike are written
/// once, with their number.
fn write_attempts(record: &CallRecord, line: &mut String) -> fmt::Result {
    write!(line, " attempts={}", record.attempts())?;
    let is_plain = |(outcome, _): (&str, &str)| outcome == "success";
    if record.causes().all(is_plain) {
        return Ok(());
    }
    line.push_str(" attempted=");
    let mut causes = record.causes().peekable();
    let mut comma = "";
    while let Some(cause) = causes.next() {
        let mut count = 1;
        while causes.next_if_eq(&cause).is_some() {
            count += 1;
        }
        let (outcome, reason) = cause;
        let slash = if reason.is_empty() { "" } else { "/" };
        write!(line, "{comma}{outcome}{slash}{reason}")?;
        if count > 1 {
            write!(line, "*{count}")?;
        }
        comma = ",";
    }
    Ok(())
}

/// A value of a line of text, in quotes if it could be read as something else.
struct Value<'a>(&'a str);

impl fmt::Display for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
        if !self.0.is_empty() && self.0.bytes().all(is_plain) {
            return formatter.write_str(self.0);
        }
        write!(formatter, "{:?}", self.0)
    }
}

/// Returns milliseconds with one digit after the point.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use kebne_lane::TrailReport;
    use kebne_wire::usage::Usage;
    use tokio::time::Instant;

    use super::*;

    fn record() -> CallRecord {
        let opened = Instant::now();
        CallRecord {
            id: "req_1".into(),
            trace: None,
            span: None,
            client: Some([192, 0, 2, 7].into()),
            stages: Vec::new(),
            key: "a key=\"x\"".to_owned(),
            tenant: String::new(),
            surface: "chat",
            operation: "chat",
            is_streamed: true,
            model: "m".to_owned(),
            trail: TrailReport {
                lanes: vec!["lane".into()],
                queued: Duration::from_micros(1_250),
                answered: Some(opened + Duration::from_millis(20)),
                ..TrailReport::default()
            },
            opened,
            begun: None,
            ended: opened + Duration::from_secs(1),
            usage: Usage {
                input: Some(9),
                output: Some(3),
                ..Usage::default()
            },
            consumed: Consumed {
                tokens: 12,
                cost: Some(Money::from_nano(12_500)),
                is_estimated: true,
            },
            status: Some(200),
            retry_after: None,
            ending: Ending::Success,
            reason: "",
            hits: kebne_guard::Hits::new(),
            cache: None,
            prompt: None,
            route: None,
            session: None,
            steps: None,
        }
    }

    #[test]
    fn a_line_of_text_can_be_split_at_its_spaces_outside_quotes() {
        let line = text(&record(), SystemTime::UNIX_EPOCH);
        let expected = "1970-01-01T00:00:00.000Z CALL id=req_1 client=192.0.2.7 key=\"a key=\\\"x\\\"\" surface=chat stream model=m \
            lane=lane status=200 ending=success attempts=0 queue_ms=1.3 first_token_ms=20 total_ms=1000 \
            input_tokens=9 output_tokens=3 cost=0.0000125 cost_estimated\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_line_of_json_has_the_same_values() {
        let line = json(&record(), SystemTime::UNIX_EPOCH);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["key"], "a key=\"x\"");
        assert_eq!(value["client"], "192.0.2.7");
        assert_eq!(
            (&value["queue_ms"], &value["total_ms"]),
            (&1.3.into(), &1000.0.into())
        );
        assert_eq!(value.get("cached_tokens"), None);
        assert_eq!(value["cost"], 0.000_012_5);
        assert_eq!(value["cost_estimated"], true);
    }
}
