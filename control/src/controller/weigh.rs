//! The conclusions from endings that do not concern capacity: how long to wait, and how often to retry.

use super::timeout::Answer;
use super::{Availability, Controller, Flight, Outcome, Timestamp, Verdict};
use crate::VerdictKind;

impl Controller {
    /// Updates the timeout and the cause of faults from an ending.
    pub(super) fn weigh(
        &mut self,
        flight: Flight,
        outcome: Outcome,
        now: Timestamp,
    ) -> [Option<Verdict>; 2] {
        let (answer, failed) = match outcome {
            Outcome::Success { .. } => (Some(Answer::Served), false),
            Outcome::Timeout if flight.first_part.is_none() => (Some(Answer::Timeout), true),
            Outcome::Fault | Outcome::Timeout => (None, true),
            _ => return [None, None],
        };
        if !matches!(self.availability, Availability::Running) {
            return [None, None];
        }
        let before = self.retry_ratio();
        self.fault_cause.observe(flight.in_flight_at_start, failed);
        let after = self.retry_ratio();
        let moved = (after - before).abs() > f64::EPSILON;
        let ratio = moved.then_some(Verdict {
            kind: VerdictKind::Retries,
            from: before,
            to: after,
            elasticity: None,
            result: if after > before {
                "faults do not come from load"
            } else {
                "faults may come from load"
            },
        });
        let took = flight.first_part.unwrap_or(now).since(flight.sent);
        let timeout = answer.and_then(|answer| self.timeout.observe(answer, took, now));
        [ratio, timeout]
    }

    /// Returns the retries per success that the lane may spend now.
    pub(super) fn retry_ratio(&self) -> f64 {
        let ordinary = self.settings.retry_ratio;
        if self.fault_cause.is_independent() {
            ordinary.max(self.settings.retry_ratio_max)
        } else {
            ordinary
        }
    }
}
