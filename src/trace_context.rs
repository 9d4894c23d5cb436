//! The W3C trace context of a call, from its `traceparent` header.
//!
//! <https://www.w3.org/TR/trace-context/>

use std::fmt;

/// The position of a call in the trace of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The id of the trace.
    pub trace_id: [u8; 16],
    /// The id of the span that is the parent of the next one.
    pub span_id: [u8; 8],
    /// `true` if the trace is recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads the value of a `traceparent` header. Returns `None` if it is not valid: the caller then has no trace.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().splitn(5, '-');
        let version = lower_hex::<1>(fields.next()?)?;
        let trace_id = lower_hex(fields.next()?)?;
        let span_id = lower_hex(fields.next()?)?;
        let [flags] = lower_hex::<1>(fields.next()?)?;
        // Later versions may have more fields.
        let is_known = version == [0] && fields.next().is_none();
        let is_later = version != [0] && version != [0xff];
        let is_set = trace_id != [0; 16] && span_id != [0; 8];
        (is_set && (is_known || is_later)).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & 1 == 1,
        })
    }

    /// Returns the id of the trace as text.
    pub fn trace(&self) -> String {
        hex::encode(self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (hex::encode(self.trace_id), hex::encode(self.span_id));
        let flags = u8::from(self.is_sampled);
        write!(formatter, "00-{trace}-{span}-{flags:02x}")
    }
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_header_is_read_and_others_are_no_trace() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(text).unwrap();
        assert!(context.is_sampled);
        assert_eq!(context.trace(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.to_string(), text);
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more";
        assert!(!TraceContext::parse(later).unwrap().is_sampled);
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
