//! A load takes longer than loads used to.
//!
//! The time counts from the first answer that the backend loads, whether callers wait or not. An answer proves for
//! [`UNHEARD_MAX`] that the load goes on, and so does a call that is held: the lane asks for it. Later the load may have ended
//! unseen, and what is seen then is another one.

use std::time::Duration;

use super::View;
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
    spoken::{clock, spoken},
};

/// A load is long beyond `LONGER * p95 + SLACK`: the 95th percentile alone would report one load in twenty.
const LONGER: f64 = 1.2;
const SLACK: Duration = Duration::from_secs(5);
/// A load that takes longer is reported, whatever was learned: what was learned may have been an outage.
const LOAD_MAX: Duration = Duration::from_hours(1);
/// The age of the last answer from which nobody knows whether the load goes on: a server that is started on demand can have
/// served and stopped meanwhile.
const UNHEARD_MAX: Duration = Duration::from_mins(5);
/// The age of the last answer up to which an alert opens.
const NEWS: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct ColdStart {
    since: Option<Duration>,
}

impl ColdStart {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View {
            at, lane, settings, ..
        } = *view;
        let age = lane.last_failure_age;
        let heard_within = |span: Duration| lane.held > 0 || age.is_some_and(|age| age <= span);
        // A server that cannot be reached is reported as such.
        let is_over = lane.unreachable || lane.closed.is_some() || !heard_within(UNHEARD_MAX);
        match lane.phase {
            _ if is_over => self.since = None,
            Phase::Cold => _ = self.since.get_or_insert(at),
            Phase::Probing => {}
            _ => self.since = None,
        }
        let lasts = at.saturating_sub(self.since?);
        let known = lane.load_time_p95;
        let usual = known.map(|p95| p95.mul_f64(LONGER).saturating_add(SLACK));
        let longest = settings.cold_start_max.0;
        let usual = usual.map_or(longest, |usual| usual.min(LOAD_MAX.max(longest)));
        if lasts <= usual {
            return None;
        }
        let level = if heard_within(NEWS) {
            Level::Firing
        } else {
            Level::Holding
        };
        let (name, since, lasts) = (&lane.name, clock(view.unix_seconds, lasts), spoken(lasts));
        let usual = known.map_or_else(
            || "how long it usually takes is not known yet".to_owned(),
            |p95| format!("95 of 100 loads took at most {}", spoken(p95)),
        );
        let sentence = format!(
            "`{name}` has been loading its model since {since} ({lasts}); {usual}.{}",
            view.last_error()
        );
        Some(view.finding(Rule::ColdStartLong, level, sentence))
    }
}
