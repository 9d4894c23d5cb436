//! The W3C trace context of a call: read from its caller, and sent to its backend.

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderValue};

use crate::trace_context::TraceContext;

/// The header with the trace of a call.
const TRACEPARENT: &str = "traceparent";

/// Headers of a caller that are sent to the backend: the trace of the call, and the features of Anthropic's API that
/// it requests.
const FORWARDED: [&str; 4] = [TRACEPARENT, "tracestate", "baggage", "anthropic-beta"];

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
        let value = headers.get(name).map(HeaderValue::as_bytes);
        if let Some(Ok(value)) = value.map(http::HeaderValue::from_bytes) {
            forwarded.insert(name, value);
        }
    }
    if let Some(span) = span
        && let Ok(value) = http::HeaderValue::from_str(&span.to_string())
    {
        forwarded.insert(TRACEPARENT, value);
    }
    (!forwarded.is_empty()).then(|| Arc::new(forwarded))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_own_span_takes_the_place_of_the_callers() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded(&headers, None), None);
        for (name, value) in [
            (TRACEPARENT, CALLER),
            ("tracestate", "a=b"),
            ("cookie", "c"),
        ] {
            let name = HeaderName::try_from(name).unwrap();
            headers.insert(name, HeaderValue::from_static(value));
        }
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
}
