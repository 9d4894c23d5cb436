//! What the service may do by itself, and the record of what it did.

use std::{sync::Arc, time::Duration};

use actix::Message;
use kebne_settings::{HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

use crate::Access;

/// The beginning of the reason for which a lane is closed as an action.
pub const TAKEN_OUT: &str = "taken out by the gateway";

/// Whether an action is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Never.
    #[default]
    Off,
    /// It is only suggested.
    Suggest,
    /// It is taken.
    Act,
}

/// Settings of what the service may do by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActionSettings {
    /// Waking an idle backend before the daily peak that was learned: `off`, `suggest` or `act`. Default `off`.
    pub prewarm: Policy,
    /// Closing the lane of a backend that fails its calls while another backend serves its models, and opening it again
    /// after a pause: `off`, `suggest` or `act`. Default `off`.
    pub take_out: Policy,
    /// Halving the weight of the key that has most of the running calls while calls are refused: `off`, `suggest` or `act`.
    /// Default `off`.
    pub lower_share: Policy,
    /// Time after which a backend that was taken out is tried again; it doubles each time that it fails again, up to an
    /// hour; `1s` to `1h`. Default `1m`.
    pub retry_after: HumanDuration,
}

impl Default for ActionSettings {
    fn default() -> Self {
        Self {
            prewarm: Policy::Off,
            take_out: Policy::Off,
            lower_share: Policy::Off,
            retry_after: HumanDuration::from_secs(60),
        }
    }
}

impl Validate for ActionSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let range = Duration::from_secs(1)..=Duration::from_hours(1);
        if range.contains(&self.retry_after.0) {
            return Vec::new();
        }
        let at = join(path, "retry_after");
        vec![SettingsError::new(at, "must be 1s to 1h")]
    }
}

/// An action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// A backend is woken before a peak.
    Prewarm,
    /// A lane is closed until its backend recovers.
    TakeOut,
    /// The weight of a key is lowered.
    LowerShare,
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// It was not taken; the settings ask for a suggestion only.
    Suggested,
    /// It was taken and is in force.
    Active,
    /// It has ended, because its cause has.
    Over,
    /// Somebody undid it.
    Undone,
}

/// One action, taken or suggested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The number of the action; unique within a process.
    pub id: u64,
    /// What is done.
    pub kind: ActionKind,
    /// The lane or key that it is about.
    pub subject: Arc<str>,
    /// Why, in a plain sentence.
    pub reason: String,
    /// The command that undoes it while it is in force, or does it if it was only suggested; `None` if there is none.
    #[serde(default)]
    pub command: Option<String>,
    /// How far it is.
    pub state: ActionState,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// When it ended, in seconds since 1970; `None` while it is in force.
    pub until: Option<u64>,
}

impl Action {
    /// Adds the command that undoes or does the action.
    pub(crate) fn with_command(mut self, access: &Access) -> Self {
        let id = self.id.to_string();
        let undo = "{curl} -X POST {base}/v1/alerts/actions/{}/undo";
        self.command = match (self.state, self.kind) {
            (ActionState::Active, _) => Some(access.fill(undo, &id)),
            (ActionState::Suggested, ActionKind::TakeOut) => {
                let disable = "{curl} -X POST {base}/admin/v1/backends/{path}/disable";
                Some(access.fill(disable, &self.subject))
            }
            (ActionState::Suggested, ActionKind::Prewarm) => {
                let prewarm = "{curl} -X POST {base}/admin/v1/backends/{path}/prewarm";
                Some(access.fill(prewarm, &self.subject))
            }
            // The weight of a key is in the settings.
            (ActionState::Suggested, ActionKind::LowerShare)
            | (ActionState::Over | ActionState::Undone, _) => None,
        };
        self
    }
}

/// Sent to whoever carries actions out.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Command {
    /// Wake the backend of a lane.
    Prewarm {
        /// The lane.
        lane: Arc<str>,
        /// Why.
        reason: String,
    },
    /// Close a lane.
    Close {
        /// The lane.
        lane: Arc<str>,
        /// Why.
        reason: String,
    },
    /// Open a lane that was closed, and send it a first call.
    Reopen {
        /// The lane.
        lane: Arc<str>,
        /// Why.
        reason: String,
    },
    /// Multiply the weight of a key.
    SetShare {
        /// The name of the key.
        key: Arc<str>,
        /// The factor in percent; 100 restores the weight of the settings.
        percent: u32,
        /// Why.
        reason: String,
    },
}

/// The reason why an action cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoError {
    /// No action has this id.
    Unknown,
    /// It is not in force: it was only suggested, is over, or has no lasting effect.
    NotActive,
}
