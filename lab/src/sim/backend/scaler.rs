//! The autoscaler: adds a replica after the slots have been busy for long enough.

use std::time::Duration;

use kebne_control::Timestamp;

use crate::sim::number::{at, real};
use crate::sim::scenario;

/// The autoscaler of one backend.
#[derive(Debug)]
pub(crate) struct Scaler {
    settings: scenario::Scaler,
    pub(crate) replicas: u32,
    busy_since: Option<Timestamp>,
    ready_at: Option<Timestamp>,
    next: Timestamp,
}

impl Scaler {
    pub(crate) fn new(settings: scenario::Scaler) -> Self {
        Self {
            settings,
            replicas: 1,
            busy_since: None,
            ready_at: None,
            next: at(1.0),
        }
    }

    /// Samples the load once a second.
    pub(crate) fn advance(&mut self, load: usize, slots_each: f64, now: Timestamp) {
        if self.ready_at.is_some_and(|ready| ready <= now) {
            self.ready_at = None;
            self.replicas += 1;
            self.busy_since = None;
        }
        if now < self.next {
            return;
        }
        self.next = now.after(Duration::from_secs(1));
        let slots = slots_each * f64::from(self.replicas);
        if real(load) < self.settings.busy_share * slots {
            self.busy_since = None;
            return;
        }
        let since = *self.busy_since.get_or_insert(now);
        let long = now.since(since).as_secs_f64() >= self.settings.busy_time;
        if long && self.ready_at.is_none() && self.replicas < self.settings.max {
            self.ready_at = Some(at(now.as_secs_f64() + self.settings.boot));
        }
    }

    pub(crate) fn next_change(&self) -> Timestamp {
        self.ready_at
            .map_or(self.next, |ready| ready.min(self.next))
    }
}
