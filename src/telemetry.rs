//! The traces of calls, for an OpenTelemetry collector: one span per call, with children for each stage, each attempt and the
//! time to the first token.
//!
//! The spans are made from the record of a call when it has ended; only the ids are chosen when it arrives, because its
//! backend must receive them. Names of attributes are those of OpenTelemetry where it has one, and are all in this module.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use kebne_lane::Ending;
use kebne_otel::{Options, Parent, Side, Span, StartError, Traces, Value};
use tokio::time::Instant;

use crate::{
    record::{CallRecord, RouteNote},
    settings::{
        Environment, NotUtf8, TelemetrySettings,
        secret_file::{self, SecretFileError},
    },
    trace_context::TraceContext,
};

const OPERATION: &str = "gen_ai.operation.name";
const PROVIDER: &str = "gen_ai.provider.name";
const MODEL: &str = "gen_ai.request.model";
const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
const STATUS: &str = "http.response.status_code";
const ERROR_TYPE: &str = "error.type";
const REQUEST_ID: &str = "kebne.request.id";
const KEY: &str = "kebne.key";
const TENANT: &str = "kebne.tenant";
const ROUTE: &str = "kebne.route";
const ENDING: &str = "kebne.ending";
const REASON: &str = "kebne.reason";
const LANE: &str = "kebne.lane";
const OUTCOME: &str = "kebne.attempt.outcome";
const IS_WAKE: &str = "kebne.attempt.wake";
const QUEUE_WAIT: &str = "kebne.queue.wait";
const COLD_WAIT: &str = "kebne.cold.wait";
const STREAM: &str = "kebne.stream";

/// The stage in which attempts are made.
const LANE_STAGE: &str = "lane";

/// The time in which the last spans are sent when the service ends.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// The reason why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The value of a header cannot be read.
    #[error("`telemetry.headers_env`: {0}")]
    Header(#[from] NotUtf8),
    /// The file of a header cannot be read.
    #[error("`telemetry.headers_file`: {0}")]
    File(#[from] SecretFileError),
    /// The variable of a header is not set.
    #[error("`telemetry.headers_env`: the variable of the header `{0}` is not set")]
    NoHeader(String),
    /// The exporter cannot be made.
    #[error("telemetry: {0}")]
    Start(#[from] StartError),
}

/// The traces of this process.
#[derive(Debug)]
pub struct Telemetry {
    traces: Traces,
    sample: f64,
}

impl Telemetry {
    /// Starts to send traces; `None` if the settings name no collector.
    ///
    /// # Errors
    /// Returns an error if a header cannot be read or the exporter cannot be made.
    pub fn start(
        settings: &TelemetrySettings,
        environment: &dyn Environment,
    ) -> Result<Option<Self>, TelemetryError> {
        if settings.endpoint.is_empty() {
            return Ok(None);
        }
        let mut headers = HashMap::new();
        for (name, variable) in &settings.headers_env {
            let value = environment.get(variable)?;
            let value = value.ok_or_else(|| TelemetryError::NoHeader(name.clone()))?;
            headers.insert(name.clone(), value);
        }
        for (name, path) in &settings.headers_file {
            headers.insert(name.clone(), secret_file::read(path)?);
        }
        let traces = Traces::start(Options {
            endpoint: settings.endpoint.clone(),
            headers,
            service_name: settings.service_name.clone(),
            service_version: env!("CARGO_PKG_VERSION"),
            queue_max: settings.queue_max,
            send_every: settings.send_every.0,
            timeout: settings.timeout.0,
        })?;
        Ok(Some(Self {
            traces,
            sample: settings.sample,
        }))
    }

    /// Returns the span of a new call. It belongs to the caller's trace, and is recorded if the caller's is; a call
    /// without a trace begins one.
    pub fn begin(&self, caller: Option<TraceContext>) -> TraceContext {
        let span_id = fastrand::u64(1..).to_be_bytes();
        match caller {
            Some(caller) => TraceContext { span_id, ..caller },
            None => TraceContext {
                trace_id: fastrand::u128(1..).to_be_bytes(),
                span_id,
                is_sampled: fastrand::f64() < self.sample,
            },
        }
    }

    /// Sends the spans of an ended call, if it is recorded.
    pub fn call_ended(&self, record: &CallRecord) {
        let Some(own) = record.span.filter(|own| own.is_sampled) else {
            return;
        };
        let clock = Clock::now();
        let maker = Maker { record, own, clock };
        for span in maker.spans() {
            self.traces.export(span);
        }
    }

    /// Sends the spans that wait. It may wait for two seconds.
    pub fn stop(&self) {
        if !self.traces.stop(STOP_WITHIN) {
            tracing::warn!("the last traces could not be sent");
        }
    }
}

/// Converts instants of this process to the time of day.
struct Clock {
    now: Instant,
    today: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self {
            now: Instant::now(),
            today: SystemTime::now(),
        }
    }

    fn at(&self, instant: Instant) -> SystemTime {
        let ago = self.now.saturating_duration_since(instant);
        self.today.checked_sub(ago).unwrap_or(self.today)
    }
}

/// Makes the spans of one call.
struct Maker<'a> {
    record: &'a CallRecord,
    own: TraceContext,
    clock: Clock,
}

impl Maker<'_> {
    /// Returns the spans of the call: its own first.
    fn spans(&self) -> Vec<Span> {
        let record = self.record;
        let mut spans = vec![call(record, self.own, &self.clock)];
        let mut parent_of_attempts = self.own.span_id;
        let mut from = record.opened;
        for (name, until) in &record.stages {
            let stage = self.child(name, self.own.span_id, from, *until);
            if *name == LANE_STAGE {
                parent_of_attempts = stage.span_id;
            }
            spans.push(stage);
            from = *until;
        }
        if let Some(begun) = record.begun {
            spans.push(self.child("deliver", self.own.span_id, begun, record.ended));
        }
        self.attempts(parent_of_attempts, &mut spans);
        spans
    }

    /// Adds the spans of the attempts, and of the time to the first token of the one that answered.
    fn attempts(&self, parent: [u8; 8], spans: &mut Vec<Span>) {
        let trail = &self.record.trail;
        for (attempt, (outcome, reason)) in trail.attempts.iter().zip(self.record.causes()) {
            let ended = attempt.ended.map_or(self.record.ended, |(at, _)| at);
            let mut span = self.child("attempt", parent, attempt.sent, ended);
            span.side = Side::Client;
            let lane = trail.lanes.get(attempt.lane);
            let lane = lane.map_or_else(String::new, ToString::to_string);
            span.attributes = vec![
                (LANE, lane.into()),
                (OUTCOME, outcome.into()),
                (IS_WAKE, Value::Flag(attempt.is_wake)),
            ];
            if !reason.is_empty() {
                span.attributes.push((REASON, reason.into()));
            }
            if outcome != "success" {
                span.attributes.push((ERROR_TYPE, outcome.into()));
                span.error = Some(outcome.into());
            }
            let first = attempt.answered.filter(|_| self.record.is_streamed);
            let first =
                first.map(|first| self.child("first token", span.span_id, attempt.sent, first));
            spans.push(span);
            spans.extend(first);
        }
    }

    fn child(&self, name: &'static str, parent: [u8; 8], from: Instant, until: Instant) -> Span {
        Span {
            name: name.into(),
            side: Side::Internal,
            trace_id: self.own.trace_id,
            span_id: fastrand::u64(1..).to_be_bytes(),
            parent: Some(Parent {
                span_id: parent,
                is_remote: false,
            }),
            start: self.clock.at(from),
            end: self.clock.at(until),
            attributes: Vec::new(),
            error: None,
        }
    }
}

/// Returns the span of the call itself.
fn call(record: &CallRecord, own: TraceContext, clock: &Clock) -> Span {
    let name = match (record.operation, &*record.model) {
        ("", _) => record.surface.into(),
        (operation, "") => operation.into(),
        (operation, model) => format!("{operation} {model}").into(),
    };
    let route = record.route.as_ref().map(RouteNote::label);
    let route = route.unwrap_or_default();
    let mut attributes: Vec<(&'static str, Value)> = vec![
        (PROVIDER, "kebne".into()),
        (REQUEST_ID, record.id.to_string().into()),
        (ENDING, record.ending.label().into()),
        (STREAM, Value::Flag(record.is_streamed)),
        (QUEUE_WAIT, Value::Number(record.trail.queued.as_secs_f64())),
        (COLD_WAIT, Value::Number(record.trail.cold.as_secs_f64())),
    ];
    for (name, text) in [
        (MODEL, record.model.as_str()),
        (OPERATION, record.operation),
        (KEY, &record.key),
        (TENANT, &record.tenant),
        (ROUTE, &route),
        (REASON, record.reason),
        (LANE, record.lane()),
    ] {
        if !text.is_empty() {
            attributes.push((name, text.to_owned().into()));
        }
    }
    let usage = record.usage;
    for (name, count) in [
        (INPUT_TOKENS, usage.input),
        (CACHED_TOKENS, usage.cached),
        (OUTPUT_TOKENS, usage.output),
        (STATUS, record.status.map(u64::from)),
    ] {
        if let Some(count) = count {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            attributes.push((name, Value::Count(count)));
        }
    }
    // A caller's own mistake is no error of the server's span.
    let is_error = !matches!(
        record.ending,
        Ending::Success | Ending::Rejected | Ending::Cancelled
    );
    if is_error {
        attributes.push((ERROR_TYPE, record.ending.label().into()));
    }
    Span {
        name,
        side: Side::Server,
        trace_id: own.trace_id,
        span_id: own.span_id,
        parent: record.trace.map(|caller| Parent {
            span_id: caller.span_id,
            is_remote: true,
        }),
        start: clock.at(record.opened),
        end: clock.at(record.ended),
        attributes,
        error: is_error.then(|| record.reason.into()),
    }
}
