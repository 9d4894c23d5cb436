//! The notes of the stages on a call, for its account: who made it, what it asked for, and how it ended.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_web::http::header::HeaderValue;
use kebne_accounts::Reservation;
use kebne_cache::Bypass;
use kebne_guard::{Hits, words};
use kebne_lane::{Ending, Trail};
use kebne_quota::{Money, Room};
use kebne_wire::usage::Usage;
use tokio::time::Instant;

use crate::{
    cache_note::{CacheNote, Outcome},
    cost::{Asked, Consumed, ModelPrice},
    llm::{AnswerUsage, Endpoint},
    record::{PromptUse, Retrieved, RouteNote, Steps},
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
    route: RefCell<Option<RouteNote>>,
    room: Cell<Room>,
    hits: RefCell<Hits>,
    cache: Cell<Option<Cached>>,
    /// What a shared or kept answer took of the lane that gave it.
    saved: RefCell<Option<(AnswerUsage, String)>>,
    prompt: RefCell<Option<PromptUse>>,
    accessed: RefCell<Vec<(&'static str, String)>>,
    is_dry_run: Cell<bool>,
    parts: RefCell<Vec<(&'static str, u64)>>,
    fetched: Cell<Duration>,
    retrieved: Cell<Option<Retrieved>>,
    sent: Cell<Option<Instant>>,
    consumed: Cell<Consumed>,
    ending: Cell<Option<Ending>>,
    reason: Cell<Option<&'static str>>,
}

/// What the cache did with the call.
#[derive(Clone, Copy, Debug)]
struct Cached {
    outcome: Outcome,
    bypass: Option<Bypass>,
    age: Option<u64>,
}

impl Notes {
    /// Records how the cache has the call answered. The last record counts.
    pub(super) fn set_cached(&self, outcome: Outcome, age: Option<u64>) {
        self.0.cache.set(Some(Cached {
            outcome,
            bypass: None,
            age,
        }));
    }

    /// Records why the cache is not used.
    pub(super) fn set_bypass(&self, reason: Bypass) {
        self.0.cache.set(Some(Cached {
            outcome: Outcome::Bypass,
            bypass: Some(reason),
            age: None,
        }));
    }

    /// Records what the answer that is used took of a lane.
    pub(super) fn set_saved(&self, usage: AnswerUsage, lane: &str) {
        *self.0.saved.borrow_mut() = Some((usage, lane.to_owned()));
    }

    /// Returns how the cache has the call answered, and the age of a kept answer in seconds.
    pub(super) fn cached(&self) -> Option<(&'static str, Option<u64>)> {
        let cached = self.0.cache.get()?;
        Some((cached.outcome.label(), cached.age))
    }

    /// Returns what the cache did with the call, with what the call saved if it succeeded.
    pub(super) fn cache_note(&self, price: Option<&ModelPrice>) -> Option<CacheNote> {
        let cached = self.0.cache.get()?;
        let saved = self.0.saved.borrow();
        let is_answered = self.ending() == Some(Ending::Success);
        let saved = saved.as_ref().filter(|_| is_answered).map(|(usage, lane)| {
            let tokens = (&usage.known(), usage.arrived());
            Consumed::of_answered(tokens, self.asked(), (price, lane))
        });
        Some(CacheNote {
            outcome: cached.outcome,
            bypass: cached.bypass,
            age: cached.age,
            saved: saved.unwrap_or_default(),
        })
    }

    /// Records what the call has consumed, when it has ended.
    pub(super) fn set_consumed(&self, consumed: Consumed) {
        self.0.consumed.set(consumed);
    }

    /// Returns what the call has consumed; nothing before its account is closed.
    pub(super) fn consumed(&self) -> Consumed {
        self.0.consumed.get()
    }

    /// Records the name of the key.
    pub(super) fn set_key(&self, key: &str) {
        key.clone_into(&mut self.0.key.borrow_mut());
    }

    /// Returns the tenant below that of the key that the caller named.
    pub(super) fn named_tenant(&self, of_key: &str) -> Option<String> {
        let tenant = self.0.tenant.borrow();
        let named = tenant.strip_prefix(of_key)?.strip_prefix('/')?;
        Some(named.to_owned())
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

    /// Records the prompt that the call got.
    pub(super) fn set_prompt(&self, prompt: PromptUse) {
        *self.0.prompt.borrow_mut() = Some(prompt);
    }

    /// Returns the prompt that the call got, as a header.
    pub(super) fn prompt_header(&self) -> Option<HeaderValue> {
        let prompt = self.0.prompt.borrow();
        HeaderValue::try_from(prompt.as_ref()?.chosen.reference()).ok()
    }

    pub(super) fn take_prompt(&self) -> Option<PromptUse> {
        // A dry run is no call with the prompt: it is not counted, and has no outcome.
        self.0.prompt.take().filter(|_| !self.is_dry_run())
    }

    /// Records that the call uses something that its caller keeps: its kind, as in paths, and its id. The audit log has a line for each.
    pub(super) fn accessed(&self, object: &'static str, id: &str) {
        self.0.accessed.borrow_mut().push((object, id.to_owned()));
    }

    pub(super) fn take_accessed(&self) -> Vec<(&'static str, String)> {
        self.0.accessed.take()
    }

    /// Records that the call is only shown and not sent.
    pub(super) fn set_dry_run(&self) {
        self.0.is_dry_run.set(true);
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.0.is_dry_run.get()
    }

    /// Records, in a dry run, the tokens of a part that a stage has put into the call.
    pub(super) fn part(&self, name: &'static str, tokens: impl FnOnce() -> u64) {
        if self.is_dry_run() {
            self.0.parts.borrow_mut().push((name, tokens()));
        }
    }

    pub(super) fn take_parts(&self) -> Vec<(&'static str, u64)> {
        self.0.parts.take()
    }

    /// Records the decision of a route.
    pub(super) fn set_route(&self, note: RouteNote) {
        *self.0.route.borrow_mut() = Some(note);
    }

    /// Returns `true` if a route has chosen the model.
    pub(super) fn is_routed(&self) -> bool {
        self.0.route.borrow().is_some()
    }

    /// Returns the route that has chosen the model, and its rule.
    pub(super) fn route(&self) -> Option<(String, String)> {
        let note = self.0.route.borrow();
        let note = note.as_ref()?;
        Some((note.route.clone(), note.rule.clone()))
    }

    /// Returns the route and its rule, in the form of a header.
    pub(super) fn route_header(&self) -> Option<HeaderValue> {
        let route = self.0.route.borrow();
        HeaderValue::from_str(&route.as_ref()?.label()).ok()
    }

    pub(super) fn take_route(&self) -> Option<RouteNote> {
        self.0.route.take()
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

    /// Adds time in which sessions and earlier responses were read.
    pub(super) fn add_fetched(&self, time: Duration) {
        self.0.fetched.set(self.0.fetched.get() + time);
    }

    /// Records what was found for the call.
    pub(super) fn set_retrieved(&self, retrieved: Retrieved) {
        self.0.retrieved.set(Some(retrieved));
    }

    /// Records that the call is given to its lanes.
    pub(super) fn set_sent(&self) {
        self.0.sent.set(Some(Instant::now()));
    }

    /// Returns the times of the steps of a call for which something was searched.
    pub(super) fn steps(&self) -> Option<Steps> {
        let retrieved = self.0.retrieved.get()?;
        Some(Steps {
            fetch: self.0.fetched.get(),
            retrieved,
            sent: self.0.sent.get(),
        })
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

    /// Returns the tenant, with the tenant that the caller named after a slash.
    pub(super) fn tenant(&self) -> String {
        self.0.tenant.borrow().clone()
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
