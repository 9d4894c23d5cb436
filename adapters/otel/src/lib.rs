//! Sends spans that have ended to an OpenTelemetry collector: OTLP over HTTP, in protobuf.
//!
//! A thread of the SDK sends the spans in batches. Putting spans into its queue never waits; when the queue is full they
//! are dropped. No global tracer is used: the caller creates each span as a value once the work that it describes has ended.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt, thread,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
    },
};

/// Where and how spans are sent.
#[derive(Clone)]
pub struct Options {
    /// The address of the collector, such as `http://127.0.0.1:4318`. The path of traces is added.
    pub endpoint: String,
    /// Headers that the collector requires, such as a key.
    pub headers: HashMap<String, String>,
    /// The name of the service in the resource of the spans.
    pub service_name: String,
    /// The version of the service in the resource of the spans.
    pub service_version: &'static str,
    /// The spans that may wait to be sent; beyond that spans are dropped.
    pub queue_max: usize,
    /// The time between two batches.
    pub send_every: Duration,
    /// The time in which the collector must take a batch.
    pub timeout: Duration,
}

/// The reason why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The exporter cannot be made of the options.
    #[error("the exporter of traces cannot be made: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The HTTP client cannot be made.
    #[error("the HTTP client of traces cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    /// The HTTP client could not be made, because the thread that makes it failed.
    #[error("the HTTP client of traces cannot be made")]
    Thread,
}

/// One span that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// The name.
    pub name: Cow<'static, str>,
    /// Whose work it is.
    pub side: Side,
    /// The id of the trace.
    pub trace_id: [u8; 16],
    /// The id of the span.
    pub span_id: [u8; 8],
    /// The parent; `None` for the root of a trace.
    pub parent: Option<Parent>,
    /// The beginning.
    pub start: SystemTime,
    /// The end.
    pub end: SystemTime,
    /// Facts about the work. Names are fixed in the code.
    pub attributes: Vec<(&'static str, Value)>,
    /// The reason, if the work failed.
    pub error: Option<Cow<'static, str>>,
}

/// The parent of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The id of the parent.
    pub span_id: [u8; 8],
    /// `true` if another service has made it.
    pub is_remote: bool,
}

/// The part of a service that a span belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A request that was served.
    Server,
    /// A request that was sent.
    Client,
    /// Work inside the service.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number.
    Count(i64),
    /// A number, such as a time in seconds.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// The way of spans to the collector.
pub struct Traces {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl Traces {
    /// Starts the thread that sends spans. No connection is made yet.
    ///
    /// # Errors
    /// Returns an error if the options cannot be used.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client(options.timeout)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(traces_url(&options.endpoint))
            .with_headers(options.headers)
            .with_timeout(options.timeout)
            .build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(options.queue_max)
            .with_max_export_batch_size(options.queue_max.clamp(1, BATCH_MAX))
            .with_scheduled_delay(options.send_every)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let resource = Resource::builder()
            .with_service_name(options.service_name)
            .with_attribute(KeyValue::new("service.version", options.service_version))
            .build();
        processor.set_resource(&resource);
        Ok(Self {
            processor,
            scope: InstrumentationScope::builder("kebne").build(),
        })
    }

    /// Puts a span into the queue, or drops it if the queue is full.
    pub fn export(&self, span: Span) {
        self.processor.on_end(self.data(span));
    }

    /// Sends the spans that wait, for at most `timeout`. Further spans are dropped. Returns `false` if some could not be
    /// sent. It waits: call it where waiting is allowed.
    pub fn stop(&self, timeout: Duration) -> bool {
        self.processor.shutdown_with_timeout(timeout).is_ok()
    }

    fn data(&self, span: Span) -> SpanData {
        let attributes = span.attributes.into_iter();
        let attributes = attributes.map(|(name, value)| match value {
            Value::Text(text) => KeyValue::new(name, text),
            Value::Count(count) => KeyValue::new(name, count),
            Value::Number(number) => KeyValue::new(name, number),
            Value::Flag(flag) => KeyValue::new(name, flag),
        });
        let parent = span.parent;
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(span.trace_id),
                SpanId::from_bytes(span.span_id),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent
                .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span_id)),
            parent_span_is_remote: parent.is_some_and(|parent| parent.is_remote),
            span_kind: match span.side {
                Side::Server => SpanKind::Server,
                Side::Client => SpanKind::Client,
                Side::Internal => SpanKind::Internal,
            },
            name: span.name,
            start_time: span.start,
            end_time: span.end,
            attributes: attributes.collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span
                .error
                .map_or(Status::Unset, |description| Status::Error { description }),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// The spans of one request to the collector at most.
const BATCH_MAX: usize = 512;

/// Creates the client, which blocks: the exporter uses it on a thread of its own, which has no reactor.
fn client(timeout: Duration) -> Result<reqwest::blocking::Client, StartError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have installed the provider first; it is the same one.
        let _same = rustls::crypto::ring::default_provider().install_default();
    }
    let builder = reqwest::blocking::Client::builder()
        .no_proxy()
        .timeout(timeout);
    // It has a runtime of its own, which must not be started inside another one.
    let made = thread::spawn(move || builder.build()).join();
    Ok(made.map_err(|_| StartError::Thread)??)
}

/// Returns the URL of traces for the address of a collector.
fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// Without the headers, which may be keys.
impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("service_name", &self.service_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Traces").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_added_once() {
        for (endpoint, url) in [
            ("http://a:4318", "http://a:4318/v1/traces"),
            ("http://a:4318/", "http://a:4318/v1/traces"),
            ("http://a/otlp/v1/traces", "http://a/otlp/v1/traces"),
        ] {
            assert_eq!(traces_url(endpoint), url);
        }
    }
}
