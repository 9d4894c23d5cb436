//! What outlives a controller, and how the next one goes on from it.

use super::{Availability, Controller, Momentary, Snapshot};
use crate::Timestamp;

impl Controller {
    /// Returns what was learned, to be kept across restarts.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let running = matches!(self.availability, Availability::Running);
        let reached = running.then(|| self.limit.limit());
        Snapshot {
            // A climb that is still under way has not disproved what was reached before it.
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

    /// Goes on at the level of a forerunner that served until a moment ago, and verifies it by the ordinary windows: to
    /// start small again would leave a backend idle whose calls are still out. What the backend asked for holds on.
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
            }
        }
        self.grant = self.make_grant(now);
    }
}
