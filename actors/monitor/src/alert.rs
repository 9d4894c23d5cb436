//! An alert, and the events of its life.

use std::sync::Arc;

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::{Action, Rule, Severity};

/// One alert: what is wrong with what, since when, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The number of the alert; unique as long as the monitor keeps its [`Memory`](crate::Memory).
    pub id: u64,
    /// The rule that raised it.
    pub rule: Rule,
    /// How soon somebody must act.
    pub severity: Severity,
    /// What the alert is about: the name of a lane, the path of an actor, or a part of the service.
    pub subject: Arc<str>,
    /// When it was opened, in seconds since 1970.
    pub since: u64,
    /// What is seen now, in plain sentences; once that is over, since when and what was seen last.
    pub sentence: String,
    /// What to do, in plain sentences.
    pub action: String,
    /// When it was closed, in seconds since 1970; `None` while it is open.
    pub until: Option<u64>,
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was opened.
    Opened,
    /// It was closed: what it reports is over.
    Closed,
}

/// Emitted to subscribers when an alert is opened or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Message)]
#[rtype(result = "()")]
pub struct AlertChanged {
    /// What happened.
    pub change: Change,
    /// The alert after it.
    pub alert: Alert,
}

/// The alerts of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Alerts {
    /// The open alerts, the most severe first and the oldest first among equals.
    pub active: Vec<Alert>,
    /// The closed alerts, the last closed first; bounded.
    pub recent: Vec<Alert>,
    /// What was done about alerts or suggested, the last first; bounded.
    pub actions: Vec<Action>,
}
