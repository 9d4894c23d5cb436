//! The events of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    message::{Message, ToolCall},
    model::Usage,
    run::Budget,
    spec::AgentSpec,
};

/// An event with its number and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The number in the run, from 1.
    pub seq: u64,
    /// When it was written, in milliseconds of Unix time.
    pub at: u64,
    /// What has happened.
    #[serde(flatten)]
    pub what: RunEvent,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run was started.
    Began(Box<Began>),
    /// The model has answered.
    Answered {
        /// The text.
        text: String,
        /// The calls of tools that it asks for.
        calls: Vec<ToolCall>,
        /// What it has used.
        usage: Usage,
    },
    /// Calls of tools that must not be repeated are being carried out from now on.
    Calling {
        /// Their ids.
        calls: Vec<String>,
    },
    /// A call has a result.
    Returned {
        /// The id of the call.
        call: String,
        /// The result, as the model sees it.
        text: String,
        /// What kind of result.
        outcome: CallOutcome,
        /// What an agent has used that was given a task.
        #[serde(default)]
        usage: Usage,
    },
    /// It is unknown whether a call was carried out, and a human is asked.
    Held {
        /// The id of the call.
        call: String,
    },
    /// The conversation was handed to another agent.
    HandedOff {
        /// The other agent.
        spec: Box<AgentSpec>,
    },
    /// A human has decided on a call.
    Decided {
        /// The id of the call.
        call: String,
        /// The decision.
        decision: Decision,
    },
    /// The run is to be cancelled.
    CancelAsked {
        /// Who has asked for it.
        by: String,
    },
    /// The run has ended.
    Ended {
        /// How.
        ending: Ending,
        /// The final text, or the reason.
        text: String,
        /// The reason for programs, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
}

/// How a run began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Began {
    /// The agent, as it was then.
    pub spec: AgentSpec,
    /// The conversation so far; the last message is the input.
    pub messages: Vec<Message>,
    /// How many messages of the conversation are those of its session.
    #[serde(default)]
    pub remembered: usize,
    /// The session to which the run belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Who has started it, as the program names it.
    #[serde(default)]
    pub caller: String,
    /// The run of the agent that has given the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many agents above it have given tasks.
    #[serde(default)]
    pub depth: u32,
    /// What it may use.
    pub budget: Budget,
    /// Properties of the call that has started it, as the program names them; the runs of its tasks have the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origin: BTreeMap<String, String>,
    /// The caller that waits for its end; `None` if it goes on without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Awaited>,
}

/// A caller that waits for the end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// The run that it waits for: this one, or the one above that has given the first task.
    pub run: String,
    /// `true` if the run goes on without its caller, which asks for it again, as a job does. Otherwise the run ends with its caller, or with the
    /// process that has its caller.
    pub survives: bool,
}

/// What kind of result a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// It was carried out.
    Done,
    /// It has failed, or was not possible.
    Failed,
    /// It is unknown whether it was carried out.
    Unknown,
    /// A human has denied it.
    Denied,
}

/// What a human has decided about a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// `true` to carry it out.
    pub approved: bool,
    /// The answer to a question, or a note for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Who has decided.
    #[serde(default)]
    pub by: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// With a final text.
    Completed,
    /// The model could not be asked.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It has used up its steps.
    StepsUsed,
    /// It has used up its tokens.
    TokensUsed,
    /// It has used up its money.
    CostUsed,
    /// It has used up its time.
    TimeUsed,
    /// It has made the same call with the same result again and again.
    Looping,
    /// It made no progress: answers without content, or calls that all failed.
    Stalled,
    /// Its actor has failed too often.
    Crashed,
}

impl Ending {
    /// All endings.
    pub const ALL: [Self; 10] = [
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::StepsUsed,
        Self::TokensUsed,
        Self::CostUsed,
        Self::TimeUsed,
        Self::Looping,
        Self::Stalled,
        Self::Crashed,
    ];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::StepsUsed => "steps_used",
            Self::TokensUsed => "tokens_used",
            Self::CostUsed => "cost_used",
            Self::TimeUsed => "time_used",
            Self::Looping => "looping",
            Self::Stalled => "stalled",
            Self::Crashed => "crashed",
        }
    }

    /// Returns the ending with a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.name() == name)
    }
}

impl RunEvent {
    /// Returns the name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Began(_) => "began",
            Self::Answered { .. } => "answered",
            Self::Calling { .. } => "calling",
            Self::Returned { .. } => "returned",
            Self::Held { .. } => "held",
            Self::HandedOff { .. } => "handed_off",
            Self::Decided { .. } => "decided",
            Self::CancelAsked { .. } => "cancel_asked",
            Self::Ended { .. } => "ended",
        }
    }
}
