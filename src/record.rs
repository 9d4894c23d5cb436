//! The record of one ended call: who made it, what happened to it, and how it ended.
//!
//! `Account` makes one record per call, and [`State::call_ended`](crate::state::State::call_ended) hands it to its
//! readers. A record never contains a prompt, an answer or a key.

use std::{net::IpAddr, sync::Arc, time::Duration};

use kebne_context::prompts::{CallNote, Chosen};
use kebne_guard::Hits;
use kebne_lane::{Ending, TrailReport};
use kebne_wire::usage::Usage;
use tokio::time::Instant;

use crate::{cache_note::CacheNote, cost::Consumed, trace_context::TraceContext};

/// What was found for a call, and how long the steps took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retrieved {
    /// The chunks that were put into the prompt.
    pub chunks: usize,
    /// The vectors of the question.
    pub embed: Duration,
    /// The search.
    pub search: Duration,
    /// The order by a model.
    pub rerank: Duration,
    /// The prompt.
    pub assemble: Duration,
}

/// The steps of a call for which something was searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The time in which sessions and earlier responses were read.
    pub fetch: Duration,
    /// What was found.
    pub retrieved: Retrieved,
    /// When the call was given to its lanes; `None` if it was refused before.
    pub sent: Option<Instant>,
}

/// One ended call to a model.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// The id of the request.
    pub id: Arc<str>,
    /// The trace of the caller, if it sent one.
    pub trace: Option<TraceContext>,
    /// The call's own span; `None` if this process sends no traces.
    pub span: Option<TraceContext>,
    /// The stages that the call has passed, each with the time at which it had; empty if no traces are recorded.
    pub stages: Vec<(&'static str, Instant)>,
    /// The address of the client; `None` if its connection was already gone.
    pub client: Option<IpAddr>,
    /// The name of the caller's key; empty without keys, or before the caller was known.
    pub key: String,
    /// The tenant, with the tenant that the caller named after a slash; empty without either.
    pub tenant: String,
    /// The session of the call.
    pub session: Option<String>,
    /// The name of the caller's dialect and operation.
    pub surface: &'static str,
    /// The operation as OpenTelemetry names it, such as `chat`; empty before the body was read.
    pub operation: &'static str,
    /// `true` if the caller requested a stream.
    pub is_streamed: bool,
    /// The model by its own name; empty if it is not known.
    pub model: String,
    /// The lanes and attempts.
    pub trail: TrailReport,
    /// When the request had arrived.
    pub opened: Instant,
    /// When the head of the answer was ready; `None` if the caller left before.
    pub begun: Option<Instant>,
    /// When the call had ended.
    pub ended: Instant,
    /// The tokens that the backend reported.
    pub usage: Usage,
    /// What the call counts for in budgets, and its cost.
    pub consumed: Consumed,
    /// The status of the answer; `None` if the caller left before there was one.
    pub status: Option<u16>,
    /// The wait that a refusal asked for in `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The ending.
    pub ending: Ending,
    /// The reason code of an ending other than a success; it may be empty.
    pub reason: &'static str,
    /// What guards have found: names of rules, never texts.
    pub hits: Hits,
    /// What the cache did; `None` if the model's answers are not kept.
    pub cache: Option<CacheNote>,
    /// The prompt that the call got.
    pub prompt: Option<PromptUse>,
    /// The decision of the route, if the caller named one as its model.
    pub route: Option<RouteNote>,
    /// The steps before the model was asked; `None` if nothing was searched.
    pub steps: Option<Steps>,
}

/// The prompt that a call got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptUse {
    /// The prompt and its version.
    pub chosen: Chosen,
    /// The owner of the call.
    pub owner: String,
    /// The session of the call.
    pub session: Option<String>,
}

impl PromptUse {
    /// Returns the note for the store of prompts.
    pub fn note(&self, id: &str) -> CallNote {
        CallNote {
            owner: self.owner.clone(),
            call: id.to_owned(),
            session: self.session.clone(),
            prompt: self.chosen.name.clone(),
            version: self.chosen.version.clone(),
        }
    }
}

/// The decision of a route: all of them names of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteNote {
    /// The route.
    pub route: String,
    /// The rule that decided; `default` if none matched.
    pub rule: String,
    /// The model.
    pub target: String,
}

impl RouteNote {
    /// Returns the route and the rule, as headers and logs show them.
    pub fn label(&self) -> String {
        format!("{}/{}", self.route, self.rule)
    }
}

impl CallRecord {
    /// Returns the time from the arrival to the end.
    pub fn total(&self) -> Duration {
        self.ended.saturating_duration_since(self.opened)
    }

    /// Returns the time from the arrival to the first part of a streamed answer.
    pub fn first_token(&self) -> Option<Duration> {
        let answered = self.trail.answered.filter(|_| self.is_streamed)?;
        Some(answered.saturating_duration_since(self.opened))
    }

    /// Returns the mean time between two tokens of a streamed answer, after the first one.
    pub fn time_per_token(&self) -> Option<Duration> {
        let answered = self.trail.answered.filter(|_| self.is_streamed)?;
        let more = self.usage.output_tokens()?.checked_sub(1)?;
        let took = self.ended.saturating_duration_since(answered);
        took.checked_div(more)
    }

    /// Returns the steps of a call for which something was searched, each with its time: `fetch`, `embed`, `search`, `rerank`, `assemble`
    /// and `inference`, which lasts until the answer begins. Steps that were not made are left out.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let steps = self.steps.map(|steps| {
            let retrieved = steps.retrieved;
            let answered = self.trail.answered.zip(steps.sent);
            let inference =
                answered.map(|(answered, sent)| answered.saturating_duration_since(sent));
            [
                ("fetch", steps.fetch),
                ("embed", retrieved.embed),
                ("search", retrieved.search),
                ("rerank", retrieved.rerank),
                ("assemble", retrieved.assemble),
                ("inference", inference.unwrap_or_default()),
            ]
        });
        let steps = steps.into_iter().flatten();
        steps.filter(|(_, time)| !time.is_zero())
    }

    /// Returns the number of attempts, refused ones included.
    pub fn attempts(&self) -> usize {
        let more = usize::try_from(self.trail.attempts_more).unwrap_or(usize::MAX);
        self.trail.attempts.len().saturating_add(more)
    }

    /// Returns the lane that answered, or else the last one that was tried; empty if none was.
    pub fn lane(&self) -> &str {
        let answered = self.trail.attempts.iter();
        let mut answered = answered.filter(|attempt| attempt.answered.is_some());
        let lane = answered.next().map(|attempt| attempt.lane);
        let lane = lane.and_then(|lane| self.trail.lanes.get(lane));
        lane.or(self.trail.lanes.last()).map_or("", |name| name)
    }

    /// Returns how an attempt ended. One that still runs when its call has ended ends as the call does.
    pub fn causes(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.trail.attempts.iter().map(|attempt| {
            let ending = attempt.ended.map(|(_, ending)| ending);
            ending.map_or((self.ending.label(), self.reason), |ending| {
                (ending.outcome, ending.reason)
            })
        })
    }
}
