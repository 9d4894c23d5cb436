//! Looks whether a call has an answer already, or another call is about to get it.
//!
//! The stage comes after the guards, so that what was masked is masked in the key and a refused question finds nothing, and before the budget:
//! an answer that costs nothing must not be refused for lack of money. What is found is replayed by the stage `Lane`.

mod fly;
mod judge;
mod keep;
mod ride;
mod semantic;

use std::{sync::Arc, time::Duration};

use actix_web::{
    http::header::{HeaderName, HeaderValue},
    web::Data,
};
use kebne_cache::{
    Bypass, Call as Facts, Canonical, Directives, Form, Freshness, Place, freshness, may_cache,
};
use kebne_quota::Estimate;

use crate::{
    answer_cache::{Begun, Joined, KeptAnswer, Lead, ModelCache, Rider},
    cache_note::Outcome,
    llm::{AnswerUsage, Endpoint},
    stages::{Stage, account::Held, route::Routed, shape::Shaped},
    state::State,
    surface::error::ApiError,
};

#[cfg(feature = "mcp")]
use crate::stages::tools::Plan;
use keep::Keep;
pub(super) use ride::{Flyer, Ridden, ride};

/// Looks for an answer.
pub(super) struct Cache<'a> {
    state: &'a Data<State>,
    held: Held,
}

/// How a call gets its answer.
pub(super) enum Way {
    /// From a backend, as if there were no cache.
    Direct,
    /// From the cache, or with other calls.
    Shared(Box<Shared>),
    /// In several rounds, between which the gateway calls tools.
    #[cfg(feature = "mcp")]
    Rounds(Box<Plan>),
}

/// A call whose answer is shared or kept.
pub(super) struct Shared {
    /// What it reads the answer with.
    rider: Rider,
    /// Its duty to make the call, if it has it.
    lead: Option<Lead>,
    /// How the answer is kept.
    keep: Keep,
    /// What it has to reserve if it makes the call.
    estimate: Option<Estimate>,
    held: Held,
}

impl Way {
    /// Returns `true` if a backend is asked for this call as far as is known.
    pub(super) fn asks_a_backend(&self) -> bool {
        match self {
            Self::Direct => true,
            #[cfg(feature = "mcp")]
            Self::Rounds(_) => true,
            Self::Shared(shared) => shared.lead.is_some(),
        }
    }

    /// Returns `true` if the call is answered in rounds.
    pub(super) fn is_in_rounds(&self) -> bool {
        match self {
            #[cfg(feature = "mcp")]
            Self::Rounds(_) => true,
            Self::Direct | Self::Shared(_) => false,
        }
    }

    /// Sets what the call reserves if it has to make the call after all.
    pub(super) fn set_estimate(&mut self, estimate: Estimate) {
        if let Self::Shared(shared) = self {
            shared.estimate = Some(estimate);
        }
    }
}

impl<'a> Cache<'a> {
    pub(super) fn new(state: &'a Data<State>, held: Held) -> Self {
        Self { state, held }
    }
}

impl Stage for Cache<'_> {
    type In = Routed;
    type Out = Routed;

    async fn run(&self, mut routed: Routed) -> Result<Routed, ApiError> {
        let gateway = &self.state.gateway;
        let model = gateway.canonical(&routed.shaped.model);
        let model = model.map(|model| model.as_str().to_owned());
        let cache = model
            .as_deref()
            .and_then(|model| self.state.cache.of(model));
        let (Some(model), Some(cache)) = (model, cache) else {
            return Ok(routed);
        };
        let directives = routed.shaped.directives;
        // What an agent did once may not be done by it the next time.
        if routed.shaped.request.on_behalf.is_some() {
            return Ok(routed);
        }
        match self.plan(&routed, &model, &cache, directives).await? {
            Ok(keep) => self.find(&mut routed, keep, directives).await?,
            Err(reason) if directives.only_if_cached => {
                routed.shaped.call.notes.set_bypass(reason);
                return Err(ApiError::not_cached());
            }
            Err(reason) => routed.shaped.call.notes.set_bypass(reason),
        }
        Ok(routed)
    }
}

impl Cache<'_> {
    /// Returns where the answer of a call is kept, or why it is not.
    async fn plan(
        &self,
        routed: &Routed,
        model: &str,
        cache: &Arc<ModelCache>,
        directives: Directives,
    ) -> Result<Result<Keep, Bypass>, ApiError> {
        if directives.no_store {
            return Ok(Err(Bypass::Caller));
        }
        let shaped = &routed.shaped;
        let facts = facts_of(shaped);
        // What needs no look at the body goes first.
        let of_body = kebne_cache::Facts {
            temperature: Some(0.0),
            ..kebne_cache::Facts::default()
        };
        if let Err(reason) = may_cache(&cache.rules, &facts, &of_body) {
            return Ok(Err(reason));
        }
        let request = &shaped.request;
        let gateway = &self.state.gateway;
        let native = request.native.as_ref();
        let native = native.filter(|native| gateway.speaks(model, native.api));
        let body = native.map_or(&request.body, |native| &native.body).clone();
        let ignored = cache.rules.ignored_fields.clone();
        let (size, read) = (body.len(), move || Canonical::read(&body, &ignored));
        let Ok(canonical) = self.state.off_loop.read(size, read).await? else {
            return Ok(Err(Bypass::Unreadable));
        };
        if let Err(reason) = may_cache(&cache.rules, &facts, &canonical.facts) {
            return Ok(Err(reason));
        }
        let operation = match native {
            Some(_) => shaped.call.surface.name(),
            None => request.endpoint.operation(),
        };
        let tenant = shaped.call.notes.tenant();
        let guards = format!("{}/{}", cache.backends, routed.guards);
        let headers = counting_headers(request.headers.as_deref());
        let place = Place {
            owner: &shaped.caller.owner,
            tenant: &tenant,
            model,
            operation,
            streamed: request.stream,
            guards: &guards,
            headers: &headers,
        };
        let is_similar = cache.rules.semantic.enabled && request.endpoint == Endpoint::Chat;
        let group = place.group(&canonical).filter(|_| is_similar);
        Ok(Ok(Keep {
            owner: shaped.caller.owner.clone(),
            model: model.to_owned(),
            key: place.key(&canonical),
            cache: Arc::clone(cache),
            form: if request.stream {
                Form::Stream
            } else {
                Form::Whole
            },
            erasures: self.state.cache.erasures(),
            question: group.zip(canonical.question),
            vector: None,
            similar: None,
            behalf: shaped.behalf(),
        }))
    }

    /// Finds the answer of a call, or another call that is about to get it.
    async fn find(
        &self,
        routed: &mut Routed,
        mut keep: Keep,
        directives: Directives,
    ) -> Result<(), ApiError> {
        let notes = routed.shaped.call.notes.clone();
        let is_plain = directives == Directives::default();
        let mut found = None;
        if !is_plain && directives.may_look() {
            found = self.look(&keep, directives).await;
        }
        if directives.only_if_cached && found.is_none() {
            notes.set_cached(Outcome::Miss, None);
            return Err(ApiError::not_cached());
        }
        // One that does not wait for a cold backend must not wait for another call to it.
        let is_hasty = routed.shaped.options.refuse_when_cold;
        // A stream that its leader's deadline cuts off would be cut off for all.
        let is_cut = routed.shaped.options.bounds_stream && keep.form == Form::Stream;
        let flights = &self.state.cache.flights;
        let joined = match &found {
            None if keep.cache.rules.single_flight && directives.may_look() && !is_hasty => {
                flights.join(keep.key, !is_cut)
            }
            _ => flights.alone(),
        };
        let (mut lead, rider) = match joined {
            Joined::Leads(lead, rider) => (Some(lead), rider),
            Joined::Follows(rider) => (None, rider),
        };
        if lead.is_some() && is_plain {
            found = self.look(&keep, directives).await;
        }
        if lead.is_some() && found.is_none() && is_plain {
            found = semantic::find(self.state, &mut keep, routed.shaped.patience()).await;
        }
        notes.set_cached(Outcome::Coalesced, None);
        if let Some(leading) = &mut lead {
            notes.set_cached(Outcome::Miss, None);
            if let Some(found) = found {
                found.replay(leading);
                lead = None;
            }
        }
        routed.way = Way::Shared(Box::new(Shared {
            rider,
            lead,
            keep,
            estimate: None,
            held: self.held.clone(),
        }));
        Ok(())
    }

    /// Returns the kept answer of the same call.
    async fn look(&self, keep: &Keep, directives: Directives) -> Option<Found> {
        let store = &self.state.cache.store;
        let entry = store.look(&keep.owner, keep.key).await?;
        let rules = &keep.cache.rules;
        let age = Duration::from_millis(store.now().saturating_sub(entry.created));
        let outcome = match freshness(age, rules.ttl.0, rules.stale_max.0, &directives) {
            Freshness::Fresh => Outcome::Hit,
            Freshness::Stale => Outcome::Stale,
            Freshness::Expired => return None,
        };
        Found::read(&entry.body, outcome, age).filter(|found| found.answer.form == keep.form)
    }
}

/// A kept answer that is used.
#[derive(Debug)]
struct Found {
    answer: KeptAnswer,
    outcome: Outcome,
    age: Duration,
}

impl Found {
    fn read(body: &[u8], outcome: Outcome, age: Duration) -> Option<Self> {
        let answer = KeptAnswer::read(body)?;
        Some(Self {
            answer,
            outcome,
            age,
        })
    }

    /// Gives the answer to all who ride.
    fn replay(self, lead: &mut Lead) {
        let answer = self.answer;
        let model = HeaderValue::from_str(&answer.model).ok();
        let model = model.filter(|model| !model.is_empty());
        let headers: Vec<_> = model
            .map(|model| (HeaderName::from_static("x-kebne-model"), model))
            .into_iter()
            .collect();
        lead.begun(Begun {
            outcome: self.outcome,
            age: Some(self.age.as_secs()),
            lane: answer.lane,
            usage: AnswerUsage::Known(answer.usage),
            headers: (headers.clone(), headers),
        });
        lead.fill(answer.parts);
        lead.complete();
    }
}

/// The headers of a trace and of the way of a call: they differ from call to call, and no answer depends on them.
const OF_THE_WAY: [&str; 4] = ["traceparent", "tracestate", "baggage", "via"];

/// Returns the headers that are sent to the backend and may change its answer.
fn counting_headers(headers: Option<&http::HeaderMap>) -> Vec<(&str, &[u8])> {
    let headers = headers.into_iter().flatten();
    let counting = headers.filter(|(name, _)| !OF_THE_WAY.contains(&name.as_str()));
    counting
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

/// Returns what the rules need to know of a call besides its body.
fn facts_of(shaped: &Shaped) -> Facts {
    let request = &shaped.request;
    let is_cacheable_operation = matches!(
        request.endpoint,
        Endpoint::Chat | Endpoint::Completions | Endpoint::Embeddings
    );
    Facts {
        is_cacheable_operation,
        generates: request.endpoint.generates(),
        is_form: request.form.is_some(),
        has_session: shaped.follow.is_some() || shaped.sent.is_some(),
        is_kept: shaped.keep.is_some(),
        choices: request.choices,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_to_the_backend_counts_but_for_traces() {
        assert!(counting_headers(None).is_empty());
        let sent = [
            ("traceparent", "a"),
            ("tracestate", "b"),
            ("baggage", "c"),
            ("via", "1.1 a"),
            ("anthropic-beta", "context-1m"),
        ];
        let sent = sent.map(|(name, value)| {
            let value = http::HeaderValue::from_static(value);
            (http::HeaderName::from_static(name), value)
        });
        let headers: http::HeaderMap = sent.into_iter().collect();
        let expected: [(&str, &[u8]); 1] = [("anthropic-beta", b"context-1m")];
        assert_eq!(counting_headers(Some(&headers)), expected);
    }
}
