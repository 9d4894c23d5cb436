//! The account of a call: its record and its response.
//!
//! An account is opened before the first stage and closed exactly once, when it is dropped: at the end of the
//! response's body, with the handler if the caller has left, or by a panic. Each call is thereby counted under exactly
//! one ending.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    web::{Bytes, Data},
};
use kebne_lane::Ending;
use kebne_quota::Room;
use kebne_wire::passed_headers::add_rate_limit;
use tokio::time::Instant;

use crate::{
    cost::Consumed,
    record::CallRecord,
    stages::{Call, lane::Answer},
    state::State,
    surface::{Surface, error::ApiError, passed},
};

/// The open account of a call.
pub(super) struct Account {
    state: Data<State>,
    call: Call,
    opened: Instant,
    /// The status of the answer; `None` before there is an answer.
    status: Option<u16>,
    /// The wait that the answer asks for.
    retry_after: Option<Duration>,
    /// When the head of the answer was there.
    begun: Option<Instant>,
}

/// The body of a response, which closes the account when it is dropped.
struct Accounted {
    body: BoxBody,
    account: Account,
}

impl Account {
    /// Opens the account of a call that has just arrived.
    pub(super) fn open(state: &Data<State>, call: Call) -> Self {
        Self {
            state: state.clone(),
            call,
            opened: Instant::now(),
            status: None,
            retry_after: None,
            begun: None,
        }
    }

    /// Creates the response. The account is moved into its body.
    pub(super) fn settle(mut self, answer: Result<Answer, ApiError>) -> HttpResponse {
        let mut response = match answer {
            Ok(answer) => answer.into_response(),
            Err(error) => {
                self.call
                    .notes
                    .set_ending(error.ending(), Some(error.reason()));
                self.say_why(&error);
                error.response(self.call.surface, &self.call.id, fastrand::f64())
            }
        };
        if let Some(name) = self.call.surface.id_header()
            && let Ok(id) = HeaderValue::from_str(&self.call.id)
        {
            response.headers_mut().insert(name, id);
        }
        if let Some(hits) = self.call.notes.hits_header() {
            let name = HeaderName::from_static("x-kebne-guard");
            response.headers_mut().insert(name, hits);
        }
        // They take the place of the backend's own: a caller is bound by those of its key.
        for (name, value) in limits(self.call.surface, self.call.notes.room()) {
            response.headers_mut().insert(name, value);
        }
        self.status = Some(response.status().as_u16());
        self.retry_after = retry_after(response.headers());
        self.begun = Some(Instant::now());
        response.map_body(|_, body| {
            BoxBody::new(Accounted {
                body,
                account: self,
            })
        })
    }

    fn say_why(&self, error: &ApiError) {
        if let Some(detail) = error.detail() {
            tracing::warn!(request = %self.call.id, reason = error.reason(), detail, "a call failed");
        }
        tracing::debug!(request = %self.call.id, status = error.status().as_u16(), reason = error.reason(), "refused or failed");
    }
}

/// Returns the headers with what is left of the limits per minute of a key, in the dialect of its caller.
fn limits(surface: &dyn Surface, room: Room) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = http::HeaderMap::new();
    for (kind, left) in [("requests", room.requests), ("tokens", room.tokens)] {
        if let Some(left) = left {
            add_rate_limit(
                &mut headers,
                kind,
                (left.limit, left.remaining),
                left.full_in,
            );
        }
    }
    passed(surface, &headers)
}

/// Returns the wait that an answer asks for.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

impl Drop for Account {
    fn drop(&mut self) {
        let notes = &self.call.notes;
        let unfinished = if thread::panicking() {
            Ending::Panic
        } else {
            Ending::Cancelled
        };
        let ending = notes.ending().unwrap_or(unfinished);
        let (usage, arrived) = notes.usage();
        let mut record = CallRecord {
            id: Arc::clone(&self.call.id),
            trace: notes.trace(),
            span: notes.span(),
            stages: notes.take_stages(),
            client: self.call.client,
            key: notes.take_key(),
            tenant: notes.take_tenant(),
            surface: self.call.surface.name(),
            operation: notes.operation(),
            is_streamed: notes.is_streamed(),
            model: notes.take_model(),
            trail: notes.trail().take(),
            opened: self.opened,
            begun: self.begun,
            ended: Instant::now(),
            usage,
            consumed: Consumed::default(),
            status: self.status,
            retry_after: self.retry_after,
            ending,
            reason: notes.reason(),
            hits: notes.take_hits(),
        };
        let price = notes.take_price();
        record.consumed = Consumed::of(
            (&usage, arrived),
            notes.asked(),
            &record.trail,
            (price.as_deref(), record.lane()),
        );
        if let Some(reservation) = notes.take_reservation() {
            let consumed = &record.consumed;
            reservation.settle(consumed.tokens, consumed.cost.unwrap_or_default());
        }
        self.state.call_ended(&record);
    }
}

impl MessageBody for Accounted {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.body).poll_next(task);
        if matches!(next, Poll::Ready(None)) {
            this.account.call.notes.set_ending(Ending::Success, None);
        }
        next
    }
}
