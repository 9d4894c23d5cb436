//! The state machine of a circuit breaker, without clock, lock or listeners.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::BreakerSettings;
use crate::backoff::stretched;

/// The states of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls are made; failures in a row are counted.
    Closed,
    /// Calls fail at once.
    Open,
    /// One call is made as a probe; the others fail at once.
    HalfOpen,
}

/// The state of a breaker, changed by calls and by time.
#[derive(Debug)]
pub(super) struct Machine {
    settings: BreakerSettings,
    state: State,
    /// Failures in a row of the last closed period; kept until the next one begins.
    failures: u32,
    /// The number of states entered. A result counts only in the state in which its call began.
    era: u64,
    /// The duration of the next opening.
    next_reset: Duration,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool },
}

/// The permission to make one call, and the state in which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    era: u64,
}

/// A state that was just entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

impl Machine {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self {
            next_reset: settings.reset_timeout,
            settings,
            state: State::Closed,
            failures: 0,
            era: 0,
        }
    }

    /// Changes from open to half-open if the time of the opening is over.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Entered> {
        match self.state {
            State::Open { until } if until <= now => {
                self.enter(State::HalfOpen { probing: false });
                Some(Entered::HalfOpen)
            }
            _ => None,
        }
    }

    /// Admits a call, or returns how long calls are still refused.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Ticket, Duration> {
        match &mut self.state {
            State::Closed => {}
            State::Open { until } => return Err(until.saturating_duration_since(now)),
            State::HalfOpen { probing: true } => return Err(Duration::ZERO),
            State::HalfOpen { probing } => *probing = true,
        }
        Ok(self.current())
    }

    /// Returns a ticket of the current state that does not occupy a place.
    pub(super) fn current(&self) -> Ticket {
        Ticket { era: self.era }
    }

    /// Counts a success of a call that began with `ticket`.
    pub(super) fn succeed(&mut self, ticket: Ticket) -> Option<Entered> {
        if ticket.era != self.era {
            return None;
        }
        match self.state {
            State::Closed => {
                self.failures = 0;
                None
            }
            State::Open { .. } => None,
            State::HalfOpen { .. } => {
                self.next_reset = self.settings.reset_timeout;
                self.failures = 0;
                self.enter(State::Closed);
                Some(Entered::Closed)
            }
        }
    }

    /// Counts a failure of a call that began with `ticket`.
    pub(super) fn fail(&mut self, ticket: Ticket, now: Instant, unit: f64) -> Option<Entered> {
        if ticket.era != self.era {
            return None;
        }
        match self.state {
            State::Closed => {
                self.failures = self.failures.saturating_add(1);
                (self.failures >= self.settings.max_failures).then(|| self.open(now, unit))
            }
            State::Open { .. } => None,
            State::HalfOpen { .. } => Some(self.open(now, unit)),
        }
    }

    /// Ends a call without a result, so that another call can probe.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        if ticket.era != self.era {
            return;
        }
        if let State::HalfOpen { probing } = &mut self.state {
            *probing = false;
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn next_reset(&self) -> Duration {
        self.next_reset
    }

    /// Opens the breaker, and computes the duration of the next opening: `reset · factor · (1 + U · random_factor)`.
    /// If that reaches the maximum, the duration stays the same.
    fn open(&mut self, now: Instant, unit: f64) -> Entered {
        let until = now + self.next_reset;
        let spread = 1.0 + unit * self.settings.random_factor;
        let factor = self.settings.backoff_factor * spread;
        if let Some(grown) = stretched(self.next_reset, factor)
            && grown < self.settings.max_reset_timeout
        {
            self.next_reset = grown;
        }
        self.enter(State::Open { until });
        Entered::Open { until }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}
