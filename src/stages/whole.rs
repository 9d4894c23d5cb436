//! A call whose answer is kept as a whole, and what its ending means for another attempt.

use std::{future::poll_fn, pin::Pin, time::Duration};

use actix_web::{
    body::{BoxBody, MessageBody as _},
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderMap},
    },
    web::Data,
};
use bytes::{Bytes, BytesMut};
use kebne_lane::Ending;

use crate::{
    cost::Consumed,
    stages::{Arrival, respond},
    state::State,
    surface::error::ApiError,
};

/// The wait before another attempt if the answer names none.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The status.
    pub(crate) status: StatusCode,
    /// The type of the body; empty if there is none.
    pub(crate) content_type: String,
    /// The body.
    pub(crate) body: Bytes,
    /// What the ending means.
    pub(crate) ending: Meaning,
    /// What the call has consumed.
    pub(crate) consumed: Consumed,
}

/// What the ending of a call means for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is the answer.
    Answer,
    /// It is final: another attempt would end in the same way.
    Final,
    /// There was no room or no backend, or the service stops: the call has not failed, and may be made after this time.
    Refused(Duration),
    /// The backend failed.
    Failed,
}

/// Serves a call and reads its answer to the end. An answer of more than `size_max` bytes is an error.
pub(crate) fn answer(
    state: &Data<State>,
    arrival: Arrival,
    size_max: usize,
) -> impl Future<Output = Answered> {
    answer_in_parts(state, arrival, size_max, |_| {})
}

/// As [`answer`]; each part of the answer is also given to `on_part` when it arrives.
pub(crate) async fn answer_in_parts(
    state: &Data<State>,
    arrival: Arrival,
    size_max: usize,
    on_part: impl FnMut(&[u8]),
) -> Answered {
    let (surface, id) = (arrival.surface, std::sync::Arc::clone(&arrival.id));
    let (response, notes) = respond(state, arrival).await;
    let (head, body) = response.into_parts();
    let read = read_body(body, size_max, on_part).await;
    let headers = head.headers();
    let content_type = headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|kind| kind.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let Some(body) = read else {
        let error = ApiError::result_too_large(size_max);
        return Answered {
            status: error.status(),
            content_type: "application/json".to_owned(),
            body: surface.error_body(&error, &id),
            ending: Meaning::Final,
            consumed: notes.consumed(),
        };
    };
    let ending = notes.ending().unwrap_or(Ending::Cancelled);
    Answered {
        status: head.status(),
        content_type,
        body,
        consumed: notes.consumed(),
        ending: meaning(ending, head.status(), headers),
    }
}

/// Reads a body to its end; `None` if it is larger than it may be. One that breaks off is an error that its call has noted.
async fn read_body(
    mut body: BoxBody,
    size_max: usize,
    mut on_part: impl FnMut(&[u8]),
) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(Ok(part)) = poll_fn(|task| Pin::new(&mut body).poll_next(task)).await {
        if whole.len() + part.len() > size_max {
            return None;
        }
        on_part(&part);
        whole.extend_from_slice(&part);
    }
    Some(whole.freeze())
}

/// Returns what the ending of a call means.
fn meaning(ending: Ending, status: StatusCode, headers: &HeaderMap) -> Meaning {
    let is_never = headers
        .get("x-should-retry")
        .is_some_and(|value| value == "false");
    let millis = headers.get("retry-after-ms");
    let millis = millis.and_then(|value| value.to_str().ok()?.parse().ok());
    let after = millis.map_or(AGAIN_AFTER, Duration::from_millis);
    // A call that has failed is not to be repeated at once, but a job is, later.
    match ending {
        Ending::Success if status.is_success() => Meaning::Answer,
        Ending::Success | Ending::Rejected => Meaning::Final,
        Ending::Shed if is_never => Meaning::Final,
        Ending::Shed | Ending::Drained | Ending::Cancelled | Ending::Withdrawn => {
            Meaning::Refused(after)
        }
        Ending::Error | Ending::Timeout | Ending::Panic => Meaning::Failed,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn an_ending_says_whether_a_job_is_tried_again() {
        let with = |name: &'static str, value: &'static str| {
            let name = HeaderName::from_static(name);
            HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
        };
        let none = HeaderMap::new();
        let never = with("x-should-retry", "false");
        let wait = with("retry-after-ms", "2500");
        let refused = |millis| Meaning::Refused(Duration::from_millis(millis));
        for (ending, status, headers, expected) in [
            (Ending::Success, 200, &none, Meaning::Answer),
            (Ending::Rejected, 400, &none, Meaning::Final),
            (Ending::Shed, 429, &wait, refused(2500)),
            (Ending::Shed, 503, &none, refused(1000)),
            (Ending::Shed, 429, &never, Meaning::Final),
            (Ending::Drained, 503, &none, refused(1000)),
            (Ending::Error, 502, &none, Meaning::Failed),
            (Ending::Error, 200, &none, Meaning::Failed),
            (Ending::Error, 502, &never, Meaning::Failed),
            (Ending::Timeout, 504, &none, Meaning::Failed),
            (Ending::Panic, 500, &none, Meaning::Failed),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let found = meaning(ending, status, headers);
            assert_eq!(found, expected, "{ending:?} {status}");
        }
    }
}
