//! The backend's server does not answer.

use std::time::Duration;

use super::View;
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
    spoken::{clock, spoken},
};

/// A failure, or a call that came, that is older than this does not prove an outage. While callers wait, an unreachable backend
/// is asked every two seconds; callers that do not wait are refused without a question.
const EVIDENCE_AGE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct BackendDown {
    since: Option<Duration>,
    /// `true` if the backend may be starting: it was not known to serve before it could not be reached.
    may_start: bool,
    /// `true` if the last phase that was neither probing nor cold was that of a backend that serves.
    has_served: bool,
    /// The calls that had come at the last sample, and when the last one came.
    calls: u64,
    called: Option<Duration>,
}

impl BackendDown {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View {
            at, lane, settings, ..
        } = *view;
        if lane.calls > self.calls {
            (self.calls, self.called) = (lane.calls, Some(at));
        }
        let is_broken = lane.phase == Phase::Broken;
        let is_asking = matches!(lane.phase, Phase::Cold | Phase::Probing);
        // While calls are served, failed checks change nothing.
        let checked = lane.check_failure.as_deref();
        let checked = checked.filter(|_| is_asking || lane.phase == Phase::Idle);
        let is_unreachable = is_asking && lane.unreachable || checked.is_some();
        if lane.closed.is_some() {
            self.since = None;
        } else if is_broken || is_unreachable {
            if self.since.is_none() {
                self.may_start = !self.has_served;
            }
            self.since.get_or_insert(at);
        } else if lane.phase != Phase::Probing {
            self.since = None;
        }
        match lane.phase {
            Phase::Serving => self.has_served = true,
            Phase::Idle => self.has_served = false,
            _ => {}
        }
        let lasts = at.saturating_sub(self.since?);
        // A server that is started on demand is unreachable for as long as its start takes. One that has just served is not
        // started on demand, and what was learned as a load time may have been an outage, so this does not wait for ever.
        let after = match lane.load_time_p95 {
            Some(load) if !is_broken && self.may_start => {
                let down_after = settings.down_after.0;
                load.clamp(down_after, settings.cold_start_max.0.max(down_after))
            }
            _ => settings.down_after.0,
        };
        if lasts < after {
            return None;
        }
        let failed = lane.last_failure_age;
        let called = self.called.map(|called| at.saturating_sub(called));
        let is_recent = [failed, called]
            .into_iter()
            .flatten()
            .any(|age| age <= EVIDENCE_AGE_MAX);
        let level = if is_broken || is_recent || checked.is_some() {
            Level::Firing
        } else {
            Level::Holding
        };
        let (name, since, lasts) = (&lane.name, clock(view.unix_seconds, lasts), spoken(lasts));
        let what = if is_broken {
            format!(
                "`{name}` has failed so many calls that only one is sent to it now and then, since {since} ({lasts})."
            )
        } else {
            format!("The server of `{name}` cannot be reached, since {since} ({lasts}).")
        };
        let sentence = match checked {
            Some(error) => format!("{what} Its health check says: {error}."),
            None => what + &view.last_error(),
        };
        Some(view.finding(Rule::BackendDown, level, sentence))
    }
}
