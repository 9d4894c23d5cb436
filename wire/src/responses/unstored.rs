//! The last events of a response that was not kept although they say so.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::sse;

/// Returns complete events, with `store` set to `false` in each response that they contain.
pub fn not_stored(events: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(events.len() + 8);
    for event in sse::events(events) {
        match event.data.as_deref().and_then(corrected) {
            Some(data) => sse::write(event.name, &data, &mut out),
            None => out.extend_from_slice(&events[event.span]),
        }
    }
    out.freeze()
}

/// Returns the data of an event that contains a response that is stored.
fn corrected(data: &[u8]) -> Option<Bytes> {
    let mut data: Value = serde_json::from_slice(data).ok()?;
    let store = data.get_mut("response")?.get_mut("store")?;
    if *store != true {
        return None;
    }
    *store = false.into();
    Some(data.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_responses_change() {
        let delta =
            "event: response.output_text.delta\ndata: {\"delta\":\"\\\"store\\\":true\"}\n\n";
        let events = format!(
            "{delta}event: response.completed\ndata: {{\"response\":{{\"id\":\"r\",\"store\":true,\"output\":[]}}}}\n\n"
        );
        let expected = format!(
            "{delta}event: response.completed\ndata: {{\"response\":{{\"id\":\"r\",\"store\":false,\"output\":[]}}}}\n\n"
        );
        assert_eq!(not_stored(events.as_bytes()), expected);
        assert_eq!(not_stored(expected.as_bytes()), expected);
    }
}
