//! The failures of one actor, counted across its restarts, and the decision about the next failure.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::Level;

use crate::system::fault::Fault;

/// What a strategy decides about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Continue with the same state; the failing message is lost.
    Resume,
    /// Continue with fresh state; the mailbox is kept, and the failing message is lost.
    Restart,
    /// Stop.
    Stop,
    /// Stop, and fail the parent.
    Escalate,
}

pub(super) type Decider = Arc<dyn Fn(&Fault) -> Directive + Send + Sync>;
pub(super) type Condition = Arc<dyn Fn(&Fault) -> bool + Send + Sync>;

/// The default jitter of a backoff, as in Pekko.
const JITTER: f64 = 0.2;

/// One layer of a strategy. The first layer that applies decides.
#[derive(Clone)]
pub(crate) struct Layer {
    decide: Decider,
    /// The layer applies if all of these hold.
    conditions: Vec<Condition>,
    pub(super) limit: Option<(u32, Duration)>,
    pub(super) restarts_max: Option<u32>,
    pub(super) escalate_at_limit: bool,
    /// The shortest and the longest wait.
    pub(super) backoff: Option<(Duration, Duration)>,
    pub(super) jitter: f64,
    pub(super) reset: Reset,
    pub(super) keep_children: bool,
    pub(super) reject: bool,
    /// `None` if failures are not logged.
    pub(super) log: Option<Level>,
    /// The level of failures after this number in a row.
    pub(super) critical: Option<(Level, u32)>,
}

/// When a backoff starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// After half the sum of the shortest and the longest wait, as in Pekko.
    Halfway,
    After(Duration),
    Manual,
}

impl Layer {
    pub(super) fn new(decide: Decider) -> Self {
        Self {
            decide,
            conditions: Vec::new(),
            limit: None,
            restarts_max: None,
            escalate_at_limit: false,
            backoff: None,
            jitter: JITTER,
            reset: Reset::Halfway,
            keep_children: false,
            reject: false,
            log: Some(Level::ERROR),
            critical: None,
        }
    }

    pub(super) fn narrow(&mut self, condition: &Condition) {
        self.conditions.push(Arc::clone(condition));
    }

    fn applies(&self, fault: &Fault) -> bool {
        self.conditions.iter().all(|condition| condition(fault))
    }

    fn is_unlimited(&self) -> bool {
        self.limit.is_none() && self.restarts_max.is_none() && self.backoff.is_none()
    }

    fn reset_after(&self) -> Option<Duration> {
        match self.reset {
            Reset::Halfway => self.backoff.map(|(min, max)| min.saturating_add(max) / 2),
            Reset::After(quiet) => Some(quiet),
            Reset::Manual => None,
        }
    }

    /// Returns the level at which the `failures`-th failure in a row is logged.
    fn level(&self, failures: u32) -> Option<Level> {
        let usual = self.log?;
        match self.critical {
            Some((level, after)) if failures > after => Some(level),
            _ => Some(usual),
        }
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Layer")
            .field("conditions", &self.conditions.len())
            .field("limit", &self.limit)
            .field("restarts_max", &self.restarts_max)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

/// The stage of its life in which an actor fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// In its factory or `started`, for the first time.
    FirstStart,
    /// In its factory or `started`, at a restart.
    Start,
    /// While it handles messages.
    Running,
}

/// The action that follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Resume,
    Restart {
        wait: Duration,
        keep_children: bool,
        reject: bool,
    },
    Stop,
    Escalate,
}

/// The action that follows a failure, and the level at which the failure is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    pub(crate) level: Option<Level>,
    /// The number of failures in a row that led to restarts, including this one.
    pub(crate) failures: u32,
}

impl Decision {
    /// Returns the decision about a failure to which no strategy applies.
    pub(crate) fn stop() -> Self {
        Self {
            action: Action::Stop,
            level: Some(Level::ERROR),
            failures: 0,
        }
    }
}

/// The failures of one actor, counted across its restarts.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// One for each layer of the strategy.
    counts: Vec<Counts>,
    /// The layer whose restart is under way.
    restarting: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    window_opened: Option<Instant>,
    in_window: u32,
    in_row: u32,
    last_restart: Option<Instant>,
}

impl Record {
    /// Decides about a failure at `now`.
    pub(crate) fn judge(
        &mut self,
        layers: &[Layer],
        fault: &Fault,
        moment: Moment,
        now: Instant,
        chance: &mut dyn FnMut() -> f64,
    ) -> Decision {
        let mut numbered = layers.iter().enumerate();
        let Some((index, layer)) = numbered.find(|(_, layer)| layer.applies(fault)) else {
            return Decision::stop();
        };
        self.counts.resize(layers.len(), Counts::default());
        let counts = &mut self.counts[index];
        let action = match (layer.decide)(fault) {
            Directive::Resume if moment == Moment::Running => Action::Resume,
            // A failed start leaves no state to continue with.
            Directive::Resume | Directive::Stop => Action::Stop,
            Directive::Escalate => Action::Escalate,
            Directive::Restart => counts.restart(layer, moment, now, chance),
        };
        if matches!(action, Action::Restart { .. }) {
            self.restarting = Some(index);
        }
        Decision {
            action,
            level: layer.level(counts.in_row),
            failures: counts.in_row,
        }
    }

    /// Notes that the restart decided last takes place at `now`, when the time without failure begins.
    pub(crate) fn restarted(&mut self, now: Instant) {
        let counts = self
            .restarting
            .take()
            .and_then(|at| self.counts.get_mut(at));
        if let Some(counts) = counts {
            counts.last_restart = Some(now);
        }
    }

    /// Starts every backoff over.
    pub(crate) fn reset(&mut self) {
        for counts in &mut self.counts {
            counts.in_row = 0;
        }
    }
}

impl Counts {
    fn restart(
        &mut self,
        layer: &Layer,
        moment: Moment,
        now: Instant,
        chance: &mut dyn FnMut() -> f64,
    ) -> Action {
        self.forget_if_quiet(layer, now);
        let wait = self.wait(layer, chance);
        let used_up = layer
            .restarts_max
            .is_some_and(|restarts| self.in_row >= restarts);
        let endless = moment != Moment::Running && layer.is_unlimited();
        self.in_row = self.in_row.saturating_add(1);
        if self.exceeds(layer, moment, now) || used_up || endless {
            return if layer.escalate_at_limit {
                Action::Escalate
            } else {
                Action::Stop
            };
        }
        Action::Restart {
            wait,
            keep_children: layer.keep_children,
            reject: layer.reject,
        }
    }

    fn forget_if_quiet(&mut self, layer: &Layer, now: Instant) {
        let quiet = layer.reset_after().zip(self.last_restart);
        if quiet.is_some_and(|(reset, last)| now.saturating_duration_since(last) >= reset) {
            self.in_row = 0;
        }
    }

    /// Counts a failure in the fixed window. Returns `true` if the limit is exceeded.
    fn exceeds(&mut self, layer: &Layer, moment: Moment, now: Instant) -> bool {
        let Some((restarts, window)) = layer.limit else {
            return false;
        };
        match self.window_opened {
            Some(opened) if now.saturating_duration_since(opened) <= window => self.in_window += 1,
            _ => {
                self.window_opened = Some(now);
                self.in_window = 1;
            }
        }
        // As in Pekko, the first start has one attempt fewer. With a backoff it has not, because the backoff prevents
        // the loop.
        if moment == Moment::FirstStart && layer.backoff.is_none() {
            return self.in_window >= restarts;
        }
        self.in_window > restarts
    }

    fn wait(&self, layer: &Layer, chance: &mut dyn FnMut() -> f64) -> Duration {
        let Some((min, max)) = layer.backoff else {
            return Duration::ZERO;
        };
        // 2^30 times any minimum exceeds every maximum, as in Pekko.
        let doubled = min.saturating_mul(1 << self.in_row.min(30));
        doubled.min(max).mul_f64(1.0 + chance() * layer.jitter)
    }
}

#[cfg(test)]
mod tests;
