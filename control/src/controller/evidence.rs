//! What an ending is evidence of, where that is not what it says: refusals that come from a rate, and
//! timeouts of calls that were late already.

use std::time::Duration;

use super::{Controller, Flight, Phase};
use crate::limit::Signal;
use crate::{Chance, Timestamp, Verdict, VerdictKind};

/// Answers that make the usual latency known.
const ANSWERS_LEAST: u32 = 16;

impl Controller {
    /// Looks for refusals without a clock that come from a rate all the same.
    pub(super) fn watch(
        &mut self,
        flight: Flight,
        signal: Signal,
        now: Timestamp,
    ) -> Option<Verdict> {
        if !self.settings.law.infers_rates() {
            return None;
        }
        let n = flight.in_flight_at_start;
        let rate = match signal {
            Signal::Refused => self.contradictions.refused(flight.sent, n, now)?,
            Signal::Served => self.contradictions.served(flight.sent, n, now)?,
            Signal::Fault | Signal::Timeout => return None,
        };
        let usual = self
            .log_mean
            .map_or(1.0, |mean| (mean + 0.5 * self.log_variance).exp());
        let from = self.limit.limit();
        self.rate.infer(rate, now);
        self.limit.release(2.0 * rate * usual, now);
        Some(Verdict {
            kind: VerdictKind::Rate,
            from,
            to: rate,
            elasticity: None,
            result: "refused below what is served: a rate",
        })
    }

    /// Pauses and cuts the rate as a refusal asks; says what became of the rate, if it changed.
    pub(super) fn refused_with_a_clock(
        &mut self,
        asked: Duration,
        slow_down: bool,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Option<Verdict> {
        let rate = |controller: &Self| {
            controller
                .rate
                .requests(now)
                .map_or(0.0, |grant| grant.rate)
        };
        let from = rate(self);
        let period = slow_down.then_some(self.settings.slow_down_period);
        let until = self.rate.refused(asked, period, now, chance);
        self.paused_until = self.paused_until.max(until);
        let to = rate(self);
        ((to - from).abs() > f64::EPSILON).then_some(Verdict {
            kind: VerdictKind::Rate,
            from,
            to,
            elasticity: None,
            result: if slow_down {
                "asked to slow down"
            } else {
                "refused with a clock"
            },
        })
    }

    pub(super) fn refused_by_rate(
        &mut self,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Option<Verdict> {
        if !self.rate.disproved(now) {
            let until = self.rate.refused(self.rate.turn(), None, now, chance);
            self.paused_until = self.paused_until.max(until);
            return None;
        }
        self.contradictions.rest(now);
        Some(Verdict {
            kind: VerdictKind::Rate,
            from: self.limit.limit(),
            to: self.limit.limit(),
            elasticity: None,
            result: "refused at a slower pace too: not a rate",
        })
    }

    /// Says whether a call that timed out had too little time from the start: that says nothing of the
    /// backend. The bound is the mean of the logarithm of the latency and one deviation.
    pub(super) fn hurried(&self, flight: Flight, now: Timestamp) -> bool {
        let took = now.since(flight.sent).as_secs_f64();
        let whole = took >= 0.9 * self.settings.attempt_timeout.as_secs_f64();
        let usual = self
            .log_mean
            .filter(|_| self.answers >= ANSWERS_LEAST)
            .is_some_and(|mean| took >= (mean + self.log_variance.max(0.0).sqrt()).exp());
        matches!(self.phase, Phase::Running) && !whole && !usual
    }

    /// Learns how long a call takes. A probe may have been held while the backend loaded: it teaches only what agrees
    /// with what is known.
    pub(super) fn learn_service_time(&mut self, flight: Flight, log: f64) {
        let deviation = self.log_variance.max(0.0).sqrt();
        let usual = |mean: f64| log <= mean + 2.5 * deviation;
        if flight.probe && !self.log_mean.is_some_and(usual) {
            return;
        }
        let mean = *self.log_mean.get_or_insert(log);
        self.answers = self.answers.saturating_add(1);
        self.log_mean = Some(mean + 0.05 * (log - mean));
        self.log_variance += 0.05 * ((log - mean).powi(2) - self.log_variance);
    }
}
