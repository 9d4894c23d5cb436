//! What the monitor keeps across a restart of the program: its alerts, its actions, and what it learned of each lane.
//!
//! Plain values that can be serialized. It is a hint: a value that is not plausible is ignored, and what is missing is
//! learned anew. The size is bounded by the number of lanes and by [`RECENT_MAX`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Action, Alert, DailyLoad};

/// The closed alerts and the actions that are kept.
pub(crate) const RECENT_MAX: usize = 100;
/// The open alerts that are kept.
pub(crate) const OPEN_MAX: usize = 200;
/// The longest plausible history of a lane.
const KNOWN_MAX: Duration = Duration::from_hours(24 * 365);

/// All that is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The open alerts.
    pub active: Vec<Alert>,
    /// The last closed alerts, the last closed first.
    pub recent: Vec<Alert>,
    /// The last actions, the last first.
    pub actions: Vec<Action>,
    /// The highest number that an alert has had.
    pub last_alert: u64,
    /// The highest number that an action has had.
    pub last_action: u64,
    /// What was learned of each lane.
    pub habits: BTreeMap<Arc<str>, Habits>,
}

/// What was learned of one lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Habits {
    /// The usual time to the first token, in seconds.
    pub first_token: Option<UsualValue>,
    /// The usual time of a whole answer, in seconds.
    pub whole: Option<UsualValue>,
    /// The usual tokens of a call.
    pub tokens: Option<UsualValue>,
    /// The usual cost of a call, in billionths of the currency.
    pub cost: Option<UsualValue>,
    /// The usual load by time of day.
    pub day: DailyLoad,
}

/// A usual value, and what it was learned from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsualValue {
    /// The value.
    pub value: f64,
    /// The time over which it was learned, in seconds.
    pub seconds: f64,
    /// The calls that it was learned from.
    pub calls: u64,
}

impl UsualValue {
    /// Returns `true` if it can have been learned.
    pub(crate) fn is_plausible(&self) -> bool {
        let is_value = self.value.is_finite() && self.value > 0.0;
        is_value && (0.0..=KNOWN_MAX.as_secs_f64()).contains(&self.seconds)
    }
}
