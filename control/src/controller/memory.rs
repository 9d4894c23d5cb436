//! The values that outlive a controller, and how the next one continues from them.

use super::evidence::ANSWERS_LEAST;
use super::{Availability, Controller, Momentary, Snapshot};
use crate::Timestamp;

impl Controller {
    /// Returns the learned values, to be kept across restarts.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let running = matches!(self.availability, Availability::Running);
        let reached = running.then(|| self.limit.limit());
        Snapshot {
            // A ramp in progress has not disproved the level reached before it.
            limit: match (reached, self.memory) {
                (Some(reached), Some(memory)) if self.limit.warming() => Some(reached.max(memory)),
                (reached, memory) => reached.or(memory),
            },
            load_times: self.load_times.clone(),
            request_rate: self.rate.measured(),
            rate_ceiling: self.rate.ceiling(now),
            fault_rate: self.fault_rate,
            momentary: Some(Momentary {
                at: self.last_activity,
                paused_until: self.paused_until,
                quota_until: self.quota_until,
                quota_is_dated: self.quota_is_dated,
                level: (running && !self.limit.warming()).then(|| self.limit.proved()),
                latency: self.log_mean.map(|mean| (mean, self.log_variance)),
            }),
        }
    }

    /// Continues at the level of a predecessor that served until a moment ago, and verifies it with the ordinary
    /// windows. Starting small again would leave a backend unused whose calls are still running. Pauses and quotas of
    /// the backend stay in force.
    pub(super) fn resume(&mut self, momentary: Momentary, now: Timestamp) {
        self.paused_until = momentary.paused_until;
        if momentary.quota_until > now {
            self.close(momentary.quota_until.since(now), now);
            self.quota_is_dated = momentary.quota_is_dated;
        }
        let fresh = now.since(momentary.at) < self.settings.idle;
        if let Some(level) = momentary.level.filter(|_| fresh) {
            self.limit.restart(Some(level), now);
            self.limit.release(level, now);
            self.availability = Availability::Running;
            if let Some((mean, variance)) = momentary.latency {
                self.log_mean = Some(mean);
                self.log_variance = variance;
                self.answers = ANSWERS_LEAST;
            }
        }
        self.grant = self.make_grant(now);
    }
}
