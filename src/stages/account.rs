//! The account of a call: its record and its response.
//!
//! An account is opened before the first stage and closed exactly once, when it is dropped: at the end of the
//! response's body, with the handler if the caller has left, or by a panic. Each call is thereby counted under exactly
//! one ending.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    http::header::{AGE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    web::{Bytes, Data},
};
use kebne_lane::Ending;
use kebne_quota::Room;
use kebne_wire::passed_headers::add_rate_limit;
use tokio::time::Instant;

use crate::{
    audit_log::{self, Access, Actor},
    cost::Consumed,
    record::CallRecord,
    stages::{Call, lane::Answer},
    state::State,
    surface::{Surface, error::ApiError, passed},
};

/// The open account of a call. When it is dropped the call has ended, and its record is made unless a call that it leads goes on for others.
pub(super) struct Account(Rc<Open>);

/// Keeps the account of a call open: what the call still causes counts for it.
#[derive(Clone)]
pub(super) struct Held {
    _open: Rc<Open>,
}

struct Open {
    state: Data<State>,
    call: Call,
    opened: Instant,
    /// The status of the answer; `None` before there is an answer.
    status: Cell<Option<u16>>,
    /// The wait that the answer asks for.
    retry_after: Cell<Option<Duration>>,
    /// When the head of the answer was there.
    begun: Cell<Option<Instant>>,
    /// When the call had ended for its caller.
    ended: Cell<Option<Instant>>,
}

/// The body of a response, which closes the account when it is dropped.
struct Accounted {
    body: BoxBody,
    account: Account,
}

impl Account {
    /// Opens the account of a call that has just arrived.
    pub(super) fn open(state: &Data<State>, call: Call) -> Self {
        Self(Rc::new(Open {
            state: state.clone(),
            call,
            opened: Instant::now(),
            status: Cell::new(None),
            retry_after: Cell::new(None),
            begun: Cell::new(None),
            ended: Cell::new(None),
        }))
    }

    /// Returns what keeps the account open.
    pub(super) fn held(&self) -> Held {
        Held {
            _open: Rc::clone(&self.0),
        }
    }

    /// Creates the response. The account is moved into its body.
    pub(super) fn settle(self, answer: Result<Answer, ApiError>) -> HttpResponse {
        let open = &*self.0;
        let (call, notes) = (&open.call, &open.call.notes);
        let mut response = match answer {
            Ok(answer) => answer.into_response(),
            Err(error) => {
                notes.set_ending(error.ending(), Some(error.reason()));
                open.say_why(&error);
                error.response(call.surface, &call.id, fastrand::f64())
            }
        };
        if let Some(name) = call.surface.id_header()
            && let Ok(id) = HeaderValue::from_str(&call.id)
        {
            response.headers_mut().insert(name, id);
        }
        if let Some(hits) = notes.hits_header() {
            let name = HeaderName::from_static("x-kebne-guard");
            response.headers_mut().insert(name, hits);
        }
        if let Some((outcome, age)) = notes.cached() {
            let headers = response.headers_mut();
            let name = HeaderName::from_static("x-kebne-cache");
            headers.insert(name, HeaderValue::from_static(outcome));
            if let Some(age) = age {
                headers.insert(AGE, age.into());
            }
        }
        if let Some(prompt) = notes.prompt_header() {
            let name = HeaderName::from_static("x-kebne-prompt-version");
            response.headers_mut().insert(name, prompt);
        }
        if let Some(route) = notes.route_header() {
            let name = HeaderName::from_static("x-kebne-route");
            response.headers_mut().insert(name, route);
        }
        // They take the place of the backend's own: a caller is bound by those of its key.
        for (name, value) in limits(call.surface, notes.room()) {
            response.headers_mut().insert(name, value);
        }
        open.status.set(Some(response.status().as_u16()));
        open.retry_after.set(retry_after(response.headers()));
        open.begun.set(Some(Instant::now()));
        response.map_body(|_, body| {
            BoxBody::new(Accounted {
                body,
                account: self,
            })
        })
    }
}

impl Open {
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
        let unfinished = if thread::panicking() {
            Ending::Panic
        } else {
            Ending::Cancelled
        };
        self.0.call.notes.set_ending(unfinished, None);
        self.0.ended.set(Some(Instant::now()));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let notes = &self.call.notes;
        let (usage, arrived) = notes.usage();
        let price = notes.take_price();
        let accessed = notes.take_accessed();
        let mut sessions = accessed.iter().filter(|(object, _)| *object == "sessions");
        let mut record = CallRecord {
            id: Arc::clone(&self.call.id),
            trace: notes.trace(),
            span: notes.span(),
            stages: notes.take_stages(),
            client: self.call.client,
            key: notes.take_key(),
            tenant: notes.take_tenant(),
            session: sessions.next().map(|(_, id)| id.clone()),
            surface: self.call.surface.name(),
            operation: notes.operation(),
            is_streamed: notes.is_streamed(),
            model: notes.take_model(),
            trail: notes.trail().take(),
            opened: self.opened,
            begun: self.begun.get(),
            ended: self.ended.get().unwrap_or_else(Instant::now),
            usage,
            consumed: Consumed::default(),
            status: self.status.get(),
            retry_after: self.retry_after.get(),
            ending: notes.ending().unwrap_or(Ending::Cancelled),
            reason: notes.reason(),
            hits: notes.take_hits(),
            cache: notes.cache_note(price.as_deref()),
            prompt: notes.take_prompt(),
            route: notes.take_route(),
            steps: notes.steps(),
        };
        record.consumed = Consumed::of(
            (&usage, arrived),
            notes.asked(),
            &record.trail,
            (price.as_deref(), record.lane()),
        );
        notes.set_consumed(record.consumed);
        if let Some(reservation) = notes.take_reservation() {
            let consumed = &record.consumed;
            reservation.settle(consumed.tokens, consumed.cost.unwrap_or_default());
        }
        audit(&record, accessed);
        self.state.call_ended(&record);
    }
}

/// Writes what a call has used to the audit log.
fn audit(record: &CallRecord, accessed: Vec<(&'static str, String)>) {
    let tenant = record.tenant.split('/').next().unwrap_or_default();
    let actor = Actor {
        request: &record.id,
        key: &record.key,
        tenant,
        client: record.client,
    };
    for (object, id) in accessed {
        let access = Access {
            object,
            id: &id,
            part: "",
            operation: "call",
        };
        audit_log::access(&actor, &access, record.status, record.reason);
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
            this.account.0.call.notes.set_ending(Ending::Success, None);
        }
        next
    }
}
