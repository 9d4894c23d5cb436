//! Endings that need interpretation: refusals with a retry time, used-up quotas, and timeouts of calls that began with
//! too little time.

use std::time::Duration;

use super::{Availability, Controller, Flight};
use crate::limit::{Sample, Signal};
use crate::{Chance, Timestamp, Verdict, VerdictKind};

/// The number of answers after which the usual latency is known.
pub(super) const ANSWERS_LEAST: u32 = 16;
/// Weight of an answer in the mean and the variance of the latency, once as many are known as this weight allows. Until
/// then all answers count the same, or the first ones after a cold start would count for many that follow.
const ANSWER: f64 = 0.05;
/// The number of answers that the first value of the variance counts for.
const PRIOR: f64 = 2.0;
/// A longer closure is not a duration but a date or an error.
const CLOSED_MAX: Duration = Duration::from_hours(32 * 24);
/// Share of a closure after which one call asks whether it still holds, and the shortest and longest time until then.
const ASK_PART: u32 = 20;
const ASK: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(15));

impl Controller {
    /// Closes the lane because a quota is used up. From time to time one call asks whether it still is.
    pub(super) fn close(&mut self, asked: Duration, now: Timestamp) {
        let asked = if asked > CLOSED_MAX {
            self.settings.quota_horizon
        } else {
            asked
        };
        self.quota_until = now.after(asked);
        self.quota_is_dated = true;
        self.quota_ask = now.after((asked / ASK_PART).clamp(ASK.0, ASK.1));
    }

    /// Pauses for the time that a refusal requests. Returns the verdict if the rate changed. The backend may have
    /// meant the calls in flight.
    pub(super) fn refused_with_a_clock(
        &mut self,
        flight: Flight,
        asked: Duration,
        slow_down: bool,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Option<Verdict> {
        let from = self.rate.measured().unwrap_or(0.0);
        let period = slow_down.then_some(self.settings.slow_down_period);
        let quota_used_up = self.rate.used_up(now).is_some();
        let until = self.rate.refused(asked, period, now, chance);
        self.paused_until = self.paused_until.max(until);
        let to = self.rate.measured().unwrap_or(0.0);
        if matches!(self.availability, Availability::Running) && !quota_used_up && !slow_down {
            let in_flight = flight.in_flight_at_start;
            let sample = Sample {
                signal: Signal::Refused,
                in_flight,
                in_flight_end: in_flight,
                sent: flight.sent,
                latency: now.since(flight.sent),
                log_latency: None,
                binding: true,
                acknowledged: false,
            };
            if let Some(verdict) = self.limit.refused_with_a_clock(&sample, asked, now) {
                return Some(verdict);
            }
        }
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

    /// Returns `true` if a call that timed out had too little time from the start, in which case it shows nothing
    /// about the backend. The bound is the mean of the logarithm of the latency plus one deviation.
    pub(super) fn was_cut_short(&self, flight: Flight, now: Timestamp) -> bool {
        let took = now.since(flight.sent).as_secs_f64();
        let whole = took >= 0.9 * self.settings.attempt_timeout.as_secs_f64();
        let usual = self
            .log_mean
            .filter(|_| self.answers >= ANSWERS_LEAST)
            .is_some_and(|mean| took >= (mean + self.log_variance.max(0.0).sqrt()).exp());
        matches!(self.availability, Availability::Running) && !whole && !usual
    }

    /// Learns how long a call takes. A probe may have been held while the backend loaded, so it counts only if it
    /// agrees with the known latency.
    pub(super) fn learn_service_time(&mut self, flight: Flight, log: f64) {
        let deviation = self.log_variance.max(0.0).sqrt();
        let usual = |mean: f64| log <= mean + 2.5 * deviation;
        if flight.probe && !self.log_mean.is_some_and(usual) {
            return;
        }
        let mean = *self.log_mean.get_or_insert(log);
        self.answers = self.answers.saturating_add(1);
        let seen = f64::from(self.answers);
        self.log_mean = Some(mean + ANSWER.max(1.0 / seen) * (log - mean));
        let share = ANSWER.max(1.0 / (seen + PRIOR));
        self.log_variance += share * ((log - mean).powi(2) - self.log_variance);
    }
}
