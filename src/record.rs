//! The record of one ended call: who made it, what happened to it, and how it ended.
//!
//! `Account` makes one record per call, and [`State::call_ended`](crate::state::State::call_ended) hands it to its
//! readers. A record never contains a prompt, an answer or a key.

use std::{net::IpAddr, sync::Arc, time::Duration};

use kebne_guard::Hits;
use kebne_lane::{Ending, TrailReport};
use kebne_wire::usage::Usage;
use tokio::time::Instant;

use crate::{cost::Consumed, trace_context::TraceContext};

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
