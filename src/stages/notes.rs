//! The notes of the stages on a call, for its account: who made it, what it asked for, and how it ended.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use actix_web::http::header::HeaderValue;
use kebne_accounts::Reservation;
use kebne_guard::{Hits, words};
use kebne_lane::{Ending, Trail};
use kebne_quota::{Money, Room};
use kebne_wire::usage::Usage;
use tokio::time::Instant;

use crate::{
    cost::{Asked, ModelPrice},
    llm::{AnswerUsage, Endpoint},
    trace_context::TraceContext,
};

/// The notes on one call; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    key: RefCell<String>,
    tenant: RefCell<String>,
    model: RefCell<String>,
    trace: Cell<Option<TraceContext>>,
    span: Cell<Option<TraceContext>>,
    stages: RefCell<Vec<(&'static str, Instant)>>,
    operation: Cell<&'static str>,
    is_streamed: Cell<bool>,
    trail: Trail,
    usage: RefCell<AnswerUsage>,
    asked: Cell<Asked>,
    price: RefCell<Option<Arc<ModelPrice>>>,
    reservation: RefCell<Option<Reservation>>,
    room: Cell<Room>,
    hits: RefCell<Hits>,
    ending: Cell<Option<Ending>>,
    reason: Cell<Option<&'static str>>,
}

impl Notes {
    /// Records the name of the key.
    pub(super) fn set_key(&self, key: &str) {
        key.clone_into(&mut self.0.key.borrow_mut());
    }

    /// Records the tenant of the key, and the tenant below it that the caller named.
    pub(super) fn set_tenant(&self, of_key: &str, named: Option<&str>) {
        let mut tenant = self.0.tenant.borrow_mut();
        of_key.clone_into(&mut tenant);
        if let Some(named) = named {
            tenant.push('/');
            tenant.push_str(named);
        }
    }

    /// Creates the notes of a call with the trace of its caller and its own span.
    pub(super) fn new(trace: Option<TraceContext>, span: Option<TraceContext>) -> Self {
        let notes = Self::default();
        notes.0.trace.set(trace);
        notes.0.span.set(span);
        notes
    }

    /// Records that the call has passed a stage, if its trace is recorded.
    pub(super) fn passed(&self, stage: &'static str) {
        if self.span().is_some_and(|span| span.is_sampled) {
            self.0.stages.borrow_mut().push((stage, Instant::now()));
        }
    }

    /// Records the model by its own name, never by a name that exists only in a request.
    pub(super) fn set_model(&self, model: &str) {
        model.clone_into(&mut self.0.model.borrow_mut());
    }

    /// Records what the caller requested.
    pub(super) fn set_operation(&self, endpoint: Endpoint, is_streamed: bool) {
        self.0.operation.set(endpoint.operation());
        self.0.is_streamed.set(is_streamed);
    }

    /// Records where the tokens of the answer are found.
    pub(super) fn set_usage(&self, usage: AnswerUsage) {
        *self.0.usage.borrow_mut() = usage;
    }

    /// Records what is known of the consumption of the call before it is made.
    pub(super) fn set_asked(&self, asked: Asked) {
        self.0.asked.set(asked);
    }

    /// Records the price of the model.
    pub(super) fn set_price(&self, price: Option<&Arc<ModelPrice>>) {
        *self.0.price.borrow_mut() = price.cloned();
    }

    /// Returns the highest cost that the call can have with this many tokens; zero if its model has no price.
    pub(super) fn highest_cost(&self, input: u64, output: u64) -> Money {
        let price = self.0.price.borrow();
        let price = price.as_ref();
        price.map_or(Money::ZERO, |price| price.highest_cost(input, output))
    }

    /// Keeps what the call has reserved until it has ended.
    pub(super) fn set_reservation(&self, reservation: Reservation) {
        *self.0.reservation.borrow_mut() = Some(reservation);
    }

    pub(super) fn take_reservation(&self) -> Option<Reservation> {
        self.0.reservation.take()
    }

    /// Records what is left of the limits per minute of the key and its groups.
    pub(super) fn set_room(&self, room: Room) {
        self.0.room.set(room);
    }

    pub(super) fn room(&self) -> Room {
        self.0.room.get()
    }

    /// Records what guards have found.
    pub(super) fn add_hits(&self, hits: Hits) {
        if !hits.is_empty() {
            self.0.hits.borrow_mut().extend(hits);
        }
    }

    /// Returns what guards have found until now, in the form of a header; `None` if it is nothing.
    pub(super) fn hits_header(&self) -> Option<HeaderValue> {
        let hits = self.0.hits.borrow();
        let header = HeaderValue::from_str(&words(&hits)).ok()?;
        (!hits.is_empty()).then_some(header)
    }

    pub(super) fn take_hits(&self) -> Hits {
        self.0.hits.take()
    }

    /// Records the ending and its reason. Only the first call has an effect.
    pub(super) fn set_ending(&self, ending: Ending, reason: Option<&'static str>) {
        if self.0.ending.get().is_none() {
            self.0.ending.set(Some(ending));
            self.0.reason.set(reason);
        }
    }

    /// Returns the trail, to be followed by the lanes.
    pub(super) fn trail(&self) -> &Trail {
        &self.0.trail
    }

    pub(super) fn take_key(&self) -> String {
        self.0.key.take()
    }

    pub(super) fn take_tenant(&self) -> String {
        self.0.tenant.take()
    }

    pub(super) fn take_model(&self) -> String {
        self.0.model.take()
    }

    pub(super) fn trace(&self) -> Option<TraceContext> {
        self.0.trace.get()
    }

    pub(super) fn span(&self) -> Option<TraceContext> {
        self.0.span.get()
    }

    pub(super) fn take_stages(&self) -> Vec<(&'static str, Instant)> {
        self.0.stages.take()
    }

    pub(super) fn operation(&self) -> &'static str {
        self.0.operation.get()
    }

    pub(super) fn is_streamed(&self) -> bool {
        self.0.is_streamed.get()
    }

    /// Returns the tokens that the backend reported, and those that were counted in its stream.
    pub(super) fn usage(&self) -> (Usage, u32) {
        let usage = self.0.usage.borrow();
        (usage.known(), usage.arrived())
    }

    pub(super) fn asked(&self) -> Asked {
        self.0.asked.get()
    }

    pub(super) fn take_price(&self) -> Option<Arc<ModelPrice>> {
        self.0.price.take()
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.0.ending.get()
    }

    pub(super) fn reason(&self) -> &'static str {
        self.0.reason.get().unwrap_or("")
    }
}
