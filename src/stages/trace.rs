//! The headers of a caller that are sent to its backend: the W3C trace context, the features that it asks for, and the gateways that the
//! call has come through.

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::{trace_context::TraceContext, via};

/// The header with the trace of a call.
const TRACEPARENT: &str = "traceparent";

/// Headers of a caller that are sent to the backend, each with all its lines: the trace of the call, the features of Anthropic's API that
/// it requests, and the gateways that it has come through.
const FORWARDED: [&str; 5] = [TRACEPARENT, "tracestate", "baggage", "anthropic-beta", VIA];
/// The gateways that a call has come through.
const VIA: &str = "via";

/// Returns the trace of a caller; `None` if it sent none that is valid.
pub(super) fn of(headers: &HeaderMap) -> Option<TraceContext> {
    let value = headers.get(TRACEPARENT)?.to_str().ok()?;
    TraceContext::parse(value)
}

/// Returns the headers that are sent to the backend with a call: those of its caller, and the call's own span in the
/// place of its caller's, if it has one.
pub(super) fn forwarded(
    headers: &HeaderMap,
    span: Option<TraceContext>,
) -> Option<Arc<http::HeaderMap>> {
    let mut forwarded = http::HeaderMap::new();
    for name in FORWARDED {
        append(&mut forwarded, name, headers);
    }
    if let Some(first) = forwarded.get(TRACEPARENT).cloned() {
        // A trace has one; backends refuse several.
        forwarded.insert(TRACEPARENT, first);
    }
    if let Some(span) = span
        && let Ok(value) = http::HeaderValue::from_str(&span.to_string())
    {
        forwarded.insert(TRACEPARENT, value);
    }
    via::extend(&mut forwarded);
    (!forwarded.is_empty()).then(|| Arc::new(forwarded))
}

/// Returns the gateways that a call has come through, this one included; `None` if there are none but this one.
pub(super) fn gateways(headers: &HeaderMap) -> Option<Arc<http::HeaderMap>> {
    let mut gateways = http::HeaderMap::new();
    append(&mut gateways, VIA, headers);
    via::extend(&mut gateways);
    (!gateways.is_empty()).then(|| Arc::new(gateways))
}

/// Adds all lines of a header.
fn append(to: &mut http::HeaderMap, name: &'static str, headers: &HeaderMap) {
    // A static name needs no allocation.
    for value in headers.get_all(HeaderName::from_static(name)) {
        if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
            to.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of_caller(sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            let value = HeaderValue::from_static(value);
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn the_own_span_takes_the_place_of_the_callers() {
        let headers = HeaderMap::new();
        assert_eq!(forwarded(&headers, None), None);
        let headers = of_caller(&[
            (TRACEPARENT, CALLER),
            ("tracestate", "a=b"),
            ("cookie", "c"),
        ]);
        let passed = forwarded(&headers, None).unwrap();
        assert_eq!(passed.len(), 2);
        assert_eq!(passed[TRACEPARENT], CALLER);
        let span = TraceContext {
            span_id: [1; 8],
            ..of(&headers).unwrap()
        };
        let own = forwarded(&headers, Some(span)).unwrap();
        let expected = "00-0af7651916cd43dd8448eb211c80319c-0101010101010101-01";
        assert_eq!(own[TRACEPARENT], expected);
        assert_eq!(own["tracestate"], "a=b");
    }

    #[test]
    fn every_line_of_a_header_is_sent() {
        let headers = of_caller(&[
            ("anthropic-beta", "context-1m"),
            ("tracestate", "a=b"),
            ("anthropic-beta", "fast-mode"),
            ("tracestate", "c=d"),
            ("baggage", "e=f"),
            ("baggage", "g=h"),
            ("via", "1.1 other"),
            (TRACEPARENT, CALLER),
            (TRACEPARENT, "00-x"),
        ]);
        let sent = forwarded(&headers, None).unwrap();
        let lines = |name: &str| {
            let lines = sent.get_all(name).iter();
            lines.map(|line| line.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(lines("anthropic-beta"), ["context-1m", "fast-mode"]);
        assert_eq!(lines("tracestate"), ["a=b", "c=d"]);
        assert_eq!(lines("baggage"), ["e=f", "g=h"]);
        assert_eq!(lines(TRACEPARENT), [CALLER]);
        assert_eq!(lines("via").len(), 2);
        assert_eq!(gateways(&headers).unwrap().len(), 2);
        assert_eq!(gateways(&HeaderMap::new()), None);
    }
}
