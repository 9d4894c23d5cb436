//! The backend's server does not answer.

use std::time::Duration;

use super::{View, spoken};
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
};

/// A failure that is older than this does not prove an outage. While callers wait, an unreachable backend is asked every
/// two seconds.
const EVIDENCE_AGE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct BackendDown {
    since: Option<Duration>,
}

impl BackendDown {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View {
            at, lane, settings, ..
        } = *view;
        let is_broken = lane.phase == Phase::Broken;
        let is_asking = matches!(lane.phase, Phase::Cold | Phase::Probing);
        let is_unreachable = is_asking && lane.unreachable;
        if lane.closed.is_some() {
            self.since = None;
        } else if is_broken || is_unreachable {
            self.since.get_or_insert(at);
        } else if lane.phase != Phase::Probing {
            self.since = None;
        }
        let lasts = at.saturating_sub(self.since?);
        // A server that is started on demand is unreachable for as long as its start takes.
        let after = match lane.load_time_p95 {
            Some(load) if !is_broken => settings.down_after.0.max(load),
            _ => settings.down_after.0,
        };
        if lasts < after {
            return None;
        }
        let is_recent = lane
            .last_failure_age
            .is_some_and(|age| age <= EVIDENCE_AGE_MAX);
        let level = if is_broken || is_recent {
            Level::Firing
        } else {
            Level::Holding
        };
        let (name, lasts) = (&lane.name, spoken(lasts));
        let what = if is_unreachable {
            format!("The server of `{name}` cannot be reached, for {lasts} now.")
        } else {
            format!("`{name}` has failed so many calls that none are sent to it, for {lasts} now.")
        };
        let sentence = what + &view.last_error();
        Some(view.finding(Rule::BackendDown, level, sentence))
    }
}
