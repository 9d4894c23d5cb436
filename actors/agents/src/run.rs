//! A run as a fold over its events. No I/O, no clock: the same events give the same state.

mod event;
pub(crate) mod plan;
mod repeats;

use std::sync::Arc;

use kebne_quota::Money;
use serde::{Deserialize, Serialize};

use crate::{
    message::{Message, ToolCall},
    model::Usage,
    spec::{ASK_HUMAN, AgentSpec},
};

pub use event::{Awaited, Began, CallOutcome, Decision, Ending, Event, RunEvent};
pub(crate) use plan::{CallKind, Todo, View};
use repeats::Repeats;

/// The most calls of one answer; more are refused.
const CALLS_MAX: usize = 16;
/// The most hand-offs of one run.
const HAND_OFFS_MAX: u32 = 8;
/// The answers without text and calls after which a run is ended.
const EMPTY_MAX: u32 = 2;
/// The answers in a row of which each call has failed, after which a run is ended.
const FAILING_MAX: u32 = 5;

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The most answers of models.
    pub steps: u32,
    /// The most tokens.
    pub tokens: u64,
    /// The most money; `None` for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// The time in milliseconds, without the waits for humans.
    pub time_ms: u64,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It goes on, or waits to be continued.
    Running,
    /// It waits for a human.
    Waiting,
    /// It has ended.
    Ended,
}

/// Why a call waits for a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// The call is to be approved.
    Approval,
    /// The agent has asked a question.
    Answer,
    /// It is unknown whether the call was carried out: approve to repeat it.
    Repetition,
}

/// A call that has no result yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// The call.
    pub call: ToolCall,
    /// The place in its answer, from 0.
    index: usize,
    /// `true` once it was written that it is carried out.
    began: bool,
    /// `true` while a human is asked whether it is repeated.
    held: bool,
    /// `true` if a human has decided that it is not repeated.
    given_up: bool,
    decision: Option<Decision>,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The id.
    pub id: Arc<str>,
    /// The owner.
    pub owner: Arc<str>,
    /// The number of its last event.
    pub seq: u64,
    /// How it began.
    pub began: Began,
    /// The agent that has the conversation now.
    pub spec: AgentSpec,
    /// The conversation without instructions.
    pub messages: Vec<Message>,
    /// The calls without results.
    pub open: Vec<OpenCall>,
    /// The answers of models so far.
    pub steps: u32,
    /// What it has used so far, with the agents that it gave tasks to.
    pub usage: Usage,
    /// When it began, in milliseconds of Unix time.
    pub began_at: u64,
    /// When it ended, and how.
    pub ended: Option<(u64, Ending, String)>,
    /// The reason of its end for programs, if there is one.
    pub code: Option<String>,
    /// Who has asked to cancel it.
    pub cancelled_by: Option<String>,
    /// `true` once a human has decided on a call: the caller that waited was told so, and does not wait any more.
    is_decided: bool,
    hand_offs: u32,
    empty: u32,
    failing: u32,
    /// The failures among the calls of the last answer, and whether a call of it has succeeded.
    failed_calls: (u32, bool),
    repeats: Repeats,
    waited_ms: u64,
    last_at: u64,
}

impl Run {
    /// Folds the events of a run; `None` if the first one is missing.
    pub fn of<'e>(
        id: Arc<str>,
        owner: Arc<str>,
        events: impl IntoIterator<Item = &'e Event>,
    ) -> Option<Self> {
        let mut events = events.into_iter();
        let first = events.next()?;
        let RunEvent::Began(began) = &first.what else {
            return None;
        };
        let mut run = Self::begin(id, owner, (first.seq, first.at), (**began).clone());
        for event in events {
            run.apply(event);
        }
        Some(run)
    }

    /// Returns a run that has only begun, with the number and the time of that event.
    pub(crate) fn begin(
        id: Arc<str>,
        owner: Arc<str>,
        (seq, at): (u64, u64),
        began: Began,
    ) -> Self {
        Self {
            id,
            owner,
            seq,
            spec: began.spec.clone(),
            messages: began.messages.clone(),
            open: Vec::new(),
            steps: 0,
            usage: Usage::default(),
            began_at: at,
            ended: None,
            code: None,
            cancelled_by: None,
            is_decided: false,
            hand_offs: 0,
            empty: 0,
            failing: 0,
            failed_calls: (0, false),
            repeats: Repeats::default(),
            waited_ms: 0,
            last_at: at,
            began,
        }
    }

    /// Applies an event. One that was applied already changes nothing.
    pub fn apply(&mut self, event: &Event) {
        if event.seq <= self.seq {
            return;
        }
        self.seq = event.seq;
        if self.ended.is_some() {
            return;
        }
        match &event.what {
            RunEvent::Began(_) => {}
            RunEvent::Answered { text, calls, usage } => self.answered(text, calls, *usage),
            RunEvent::Calling { calls } => {
                for open in &mut self.open {
                    open.began |= calls.contains(&open.call.id);
                }
            }
            RunEvent::Returned {
                call,
                text,
                outcome,
                usage,
            } => self.returned(call, (text, *outcome), *usage),
            RunEvent::Held { call } => {
                if let Some(open) = self.open_call_mut(call) {
                    open.held = true;
                }
            }
            RunEvent::HandedOff { spec } => {
                self.spec = (**spec).clone();
                self.hand_offs += 1;
            }
            RunEvent::Decided { call, decision } => {
                self.waited_ms += event.at.saturating_sub(self.last_at);
                self.is_decided = true;
                self.decided(call, decision);
            }
            RunEvent::CancelAsked { by } => self.cancelled_by = Some(by.clone()),
            RunEvent::Ended { ending, text, code } => {
                self.ended = Some((event.at, *ending, text.clone()));
                self.code.clone_from(code);
                self.open.clear();
            }
        }
        self.last_at = self.last_at.max(event.at);
    }

    fn answered(&mut self, text: &str, calls: &[ToolCall], usage: Usage) {
        self.usage = self.usage.plus(usage);
        // An actor that was restarted may have asked again while the answer to the one before was being written: the first one counts.
        if !self.open.is_empty() || self.final_text().is_some() {
            return;
        }
        self.steps += 1;
        self.failed_calls = (0, false);
        self.empty = if text.is_empty() && calls.is_empty() {
            self.empty + 1
        } else {
            self.messages.push(Message::Assistant {
                text: text.to_owned(),
                calls: calls.to_vec(),
            });
            0
        };
        let open = calls.iter().enumerate().map(|(index, call)| OpenCall {
            call: call.clone(),
            index,
            began: false,
            held: false,
            given_up: false,
            decision: None,
        });
        self.open = open.collect();
    }

    fn returned(&mut self, id: &str, (text, outcome): (&str, CallOutcome), usage: Usage) {
        let Some(place) = self.open.iter().position(|open| open.call.id == id) else {
            return;
        };
        let call = self.open.remove(place).call;
        self.usage = self.usage.plus(usage);
        if call.name != ASK_HUMAN {
            self.repeats.note(&call, text);
        }
        match outcome {
            CallOutcome::Done => self.failed_calls.1 = true,
            CallOutcome::Failed | CallOutcome::Unknown | CallOutcome::Denied => {
                self.failed_calls.0 += 1;
            }
        }
        if self.open.is_empty() {
            let all_failed = self.failed_calls.0 > 0 && !self.failed_calls.1;
            self.failing = if all_failed { self.failing + 1 } else { 0 };
        }
        self.messages.push(Message::Tool {
            call: id.to_owned(),
            text: text.to_owned(),
        });
    }

    fn decided(&mut self, id: &str, decision: &Decision) {
        let Some(open) = self.open_call_mut(id) else {
            return;
        };
        if open.held {
            open.held = false;
            open.began = false;
            open.given_up = !decision.approved;
        } else if open.decision.is_none() {
            open.decision = Some(decision.clone());
        }
    }

    fn open_call_mut(&mut self, id: &str) -> Option<&mut OpenCall> {
        self.open.iter_mut().find(|open| open.call.id == id)
    }

    /// Returns the calls that wait for a human, and what for.
    pub fn waiting(&self) -> Vec<(&ToolCall, WaitsFor)> {
        let waiting = self.open.iter().filter_map(|open| {
            let why = self.waits_for(open)?;
            Some((&open.call, why))
        });
        waiting.collect()
    }

    fn waits_for(&self, open: &OpenCall) -> Option<WaitsFor> {
        if open.held {
            return Some(WaitsFor::Repetition);
        }
        if open.decision.is_some() || open.index >= CALLS_MAX {
            return None;
        }
        if open.call.name == ASK_HUMAN && self.spec.ask_human {
            return Some(WaitsFor::Answer);
        }
        let is_asked = self.spec.asks_before(&open.call.name);
        is_asked.then_some(WaitsFor::Approval)
    }

    /// Returns the text of the last answer if it calls nothing, so that it ends the run.
    fn final_text(&self) -> Option<&str> {
        match self.messages.last() {
            Some(Message::Assistant { text, calls })
                if self.steps > 0 && self.empty == 0 && calls.is_empty() =>
            {
                Some(text)
            }
            _ => None,
        }
    }

    /// Returns the final text; `None` unless the run has completed.
    pub fn output(&self) -> Option<&str> {
        match &self.ended {
            Some((_, Ending::Completed, text)) => Some(text),
            _ => None,
        }
    }

    /// Returns the caller that waits for its end; `None` if it goes on without one.
    pub fn awaited(&self) -> Option<&Awaited> {
        self.began.awaited.as_ref().filter(|_| !self.is_decided)
    }

    /// Returns what is left of the budget.
    pub fn left(&self, now: u64) -> Budget {
        let budget = self.began.budget;
        Budget {
            steps: budget.steps.saturating_sub(self.steps),
            tokens: budget.tokens.saturating_sub(self.usage.tokens()),
            cost: budget
                .cost
                .map(|cost| Money::from_nano(cost.nano().saturating_sub(self.usage.cost.nano()))),
            time_ms: budget.time_ms.saturating_sub(self.worked_ms(now)),
        }
    }

    /// Returns the milliseconds since the begin, without the waits for humans.
    fn worked_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.began_at)
            .saturating_sub(self.waited_ms)
    }

    /// Returns the conversation with the instructions.
    pub(crate) fn conversation(&self) -> Vec<Message> {
        let mut messages = Vec::with_capacity(self.messages.len() + 1);
        if !self.spec.instructions.is_empty() {
            messages.push(Message::System {
                text: self.spec.instructions.clone(),
            });
        }
        messages.extend(self.messages.iter().cloned());
        messages
    }
}

impl Budget {
    /// Returns the budget of an agent.
    pub fn of(spec: &AgentSpec) -> Self {
        Self {
            steps: spec.steps_max,
            tokens: spec.tokens_max,
            cost: spec.cost_max,
            time_ms: u64::try_from(spec.time_max.0.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Returns the smaller of each bound.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        let cost = match (self.cost, other.cost) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            steps: self.steps.min(other.steps),
            tokens: self.tokens.min(other.tokens),
            cost,
            time_ms: self.time_ms.min(other.time_ms),
        }
    }

    /// Returns what each of several agents that work at once may use of tokens and money.
    #[must_use]
    pub(crate) fn share(self, of: usize) -> Self {
        let of = u64::try_from(of.max(1)).unwrap_or(u64::MAX);
        Self {
            tokens: self.tokens / of,
            cost: self.cost.map(|cost| Money::from_nano(cost.nano() / of)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
