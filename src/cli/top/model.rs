//! What `kebne top` knows of a gateway: the parts of its answers that are shown, and the rates between two of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::cli::top::TopError;

/// The part of `/state` that is shown. Fields that a gateway of another version lacks are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) version: String,
    pub(super) draining: bool,
    pub(super) uptime_seconds: u64,
    pub(super) lanes: Vec<Lane>,
    /// By lane.
    pub(super) times: BTreeMap<String, Times>,
    pub(super) actors: Vec<Actor>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) stale: bool,
    pub(super) age_ms: u64,
    pub(super) closed: Option<String>,
    pub(super) service: String,
    pub(super) state: String,
    pub(super) state_changes: Vec<String>,
    pub(super) controller: Controller,
    pub(super) pool: Pool,
    pub(super) last_failure: Option<LastFailure>,
    pub(super) endings: Endings,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Controller {
    pub(super) limit: f64,
    pub(super) load_time_p50: Option<Duration>,
}

/// How long the last answers of a lane took; empty before the first one.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Times {
    pub(super) first_token_ms: Option<f64>,
    pub(super) whole_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pool {
    pub(super) queued: u64,
    pub(super) in_flight: u64,
    pub(super) held: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LastFailure {
    pub(super) message: String,
    pub(super) age_ms: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endings {
    pub(super) ended: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Actor {
    pub(super) path: String,
    pub(super) restarts: u32,
    pub(super) mailbox: u64,
}

/// The part of `/v1/alerts` that is shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Alerts {
    pub(super) active: Vec<Alert>,
    /// What the gateway did by itself, and what it suggested.
    pub(super) actions: Vec<Action>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Action {
    pub(super) kind: String,
    pub(super) subject: String,
    pub(super) reason: String,
    pub(super) state: String,
    pub(super) command: Option<String>,
}

impl Alerts {
    /// Returns the actions that are in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = &Action> {
        self.actions
            .iter()
            .filter(|action| action.state == "active")
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Alert {
    pub(super) severity: String,
    pub(super) sentence: String,
    pub(super) action: String,
}

/// Calls per second that ended, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) succeeded: f64,
    pub(super) failed: f64,
    pub(super) refused: f64,
}

/// What is known of a gateway.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) state: State,
    pub(super) alerts: Alerts,
    /// By lane; empty before the second look.
    pub(super) rates: BTreeMap<String, Rates>,
    /// Why the last look failed; what is shown is then old.
    pub(super) error: Option<TopError>,
    /// The lane whose details are shown.
    pub(super) selected: usize,
    looked: Option<Instant>,
}

impl State {
    /// Returns the times of a lane's answers.
    pub(super) fn times_of(&self, lane: &str) -> Times {
        self.times.get(lane).copied().unwrap_or_default()
    }
}

impl Model {
    /// Takes the result of a look.
    pub(super) fn take(&mut self, look: Result<(State, Alerts), TopError>) {
        let (state, alerts) = match look {
            Ok(seen) => seen,
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        let now = Instant::now();
        let elapsed = self
            .looked
            .replace(now)
            .map(|then| now.duration_since(then));
        if let Some(elapsed) = elapsed {
            self.rates = rates(&self.state, &state, elapsed);
        }
        (self.state, self.alerts, self.error) = (state, alerts, None);
        self.selected = self.selected.min(self.state.lanes.len().saturating_sub(1));
    }

    /// Returns `true` once the gateway has answered.
    pub(super) fn is_known(&self) -> bool {
        self.looked.is_some()
    }

    /// Selects the next lane, or the one before.
    pub(super) fn select(&mut self, forward: bool) {
        let last = self.state.lanes.len().saturating_sub(1);
        self.selected = if forward {
            (self.selected + 1).min(last)
        } else {
            self.selected.saturating_sub(1)
        };
    }
}

fn rates(before: &State, after: &State, elapsed: Duration) -> BTreeMap<String, Rates> {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let of_lane = |lane: &Lane| {
        let mut earlier = before.lanes.iter();
        let earlier = earlier.find(|earlier| earlier.name == lane.name)?;
        let rate = |endings: &[&str]| {
            let count = |lane: &Lane| {
                let counts = endings
                    .iter()
                    .filter_map(|ending| lane.endings.ended.get(*ending));
                counts.sum::<u64>()
            };
            let grown = count(lane).saturating_sub(count(earlier));
            f64::from(u32::try_from(grown).unwrap_or(u32::MAX)) / seconds
        };
        let rates = Rates {
            succeeded: rate(&["success"]),
            failed: rate(&["error", "timeout", "panic"]),
            refused: rate(&["shed"]),
        };
        Some((lane.name.clone(), rates))
    };
    after.lanes.iter().filter_map(of_lane).collect()
}
