//! A load takes longer than loads used to.

use std::time::Duration;

use super::{View, spoken};
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
};

/// A load is long beyond `LONGER * p95 + SLACK`: the 95th percentile alone would report one load in twenty.
const LONGER: f64 = 1.2;
const SLACK: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct ColdStart {
    since: Option<Duration>,
}

impl ColdStart {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View {
            at, lane, settings, ..
        } = *view;
        // A server that cannot be reached is reported as such; a lane that nobody calls does not ask whether the load is over.
        let is_over = lane.unreachable || lane.closed.is_some() || lane.held == 0;
        match lane.phase {
            _ if is_over => self.since = None,
            Phase::Cold => _ = self.since.get_or_insert(at),
            Phase::Probing => {}
            _ => self.since = None,
        }
        let lasts = at.saturating_sub(self.since?);
        let known = lane.load_time_p95;
        let usual = known.map(|p95| p95.mul_f64(LONGER).saturating_add(SLACK));
        if lasts <= usual.unwrap_or(settings.cold_start_max.0) {
            return None;
        }
        let (name, lasts) = (&lane.name, spoken(lasts));
        let usual = known.map_or_else(
            || "how long it usually takes is not known yet".to_owned(),
            |p95| format!("95 of 100 loads took at most {}", spoken(p95)),
        );
        let sentence = format!(
            "`{name}` has been loading its model for {lasts}; {usual}.{}",
            view.last_error()
        );
        Some(view.finding(Rule::ColdStartLong, Level::Firing, sentence))
    }
}
