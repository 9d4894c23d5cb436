//! The rate controller's state machine: from attempt events to the next [`Grant`].
//!
//! Owns the state of one backend: its phase, limit, rate, load times and fault rate. The law is thereby one function
//! of messages and time. It never dispatches and never waits. It never treats a loading answer, a caller's fault or a
//! cancelled call as a sign that the backend is slower.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kind::{Kinds, Measure};
use crate::limit::{self, Limit, Sample, Signal};
use crate::load_time::LoadTimes;
use crate::num::{calls, seconds};
use crate::rate::{Rate, SlowDownCeiling};
use crate::{
    BucketGrant, Chance, ControllerSettings, Grant, Kind, LaneState, Outcome, Permission,
    Timestamp, Verdict,
};

mod availability;
mod evidence;
mod faults;
mod memory;
mod messages;
mod shared;
mod timeout;
mod weigh;
use availability::{Availability, LoadSign};
use faults::FaultCause;
pub use messages::{AttemptId, ControllerReport, Effect, Message, Momentary, Snapshot, Span};
pub use shared::ShareReport;
use shared::Shared;
use timeout::AdaptiveTimeout;

/// Share of the attempt timeout that a call must have left while the service time is unknown.
const UNKNOWN_SHARE: f64 = 0.2;

/// Deviations above the mean of the log latency that a call must have left; one call in four hundred takes longer.
const MARGIN: f64 = 2.8;

/// Deviations above the mean that are still usual; one call in fifteen takes longer.
const USUAL: f64 = 1.5;

#[derive(Clone, Copy, Debug)]
struct Flight {
    sent: Timestamp,
    in_flight_at_start: u32,
    probe: bool,
    first_part: Option<Timestamp>,
    kind: Kind,
}

/// The state machine of one lane's controller.
#[derive(Debug)]
pub struct Controller {
    settings: ControllerSettings,
    availability: Availability,
    limit: Box<dyn Limit>,
    memory: Option<f64>,
    rate: Rate,
    kinds: Kinds,
    /// `true` if calls have waited since the last one was accepted.
    waited: bool,
    /// When one call asks whether a used-up quota is still used up, before its renewal.
    quota_ask: Timestamp,
    last_served: Timestamp,
    load_times: LoadTimes,
    flights: BTreeMap<AttemptId, Flight>,
    paused_until: Timestamp,
    quota_until: Timestamp,
    /// `true` if the refusal contained the time of the quota's renewal.
    quota_is_dated: bool,
    queued: u32,
    last_activity: Timestamp,
    ready_since: Timestamp,
    failures_in_row: u32,
    loading_in_row: u32,
    fault_rate: f64,
    fault_cause: FaultCause,
    timeout: AdaptiveTimeout,
    log_mean: Option<f64>,
    log_variance: f64,
    /// The number of answers behind `log_mean`.
    answers: u32,
    /// The lease, while the backend is shared with other gateways.
    shared: Option<Shared>,
    /// `true` if the lease should be renewed at once.
    wants_lease: bool,
    /// When a renewal was last requested because calls wait for the backend.
    asked_wake: Timestamp,
    grant: Grant,
}

impl Controller {
    /// Creates an idle controller with the values learned by an earlier one.
    pub fn new(settings: &ControllerSettings, learned: Option<&Snapshot>, now: Timestamp) -> Self {
        Self::with_limit(settings, limit::build(settings, now), learned, now)
    }

    /// Creates a controller with a law other than that of the settings, for comparisons.
    pub fn with_limit(
        settings: &ControllerSettings,
        limit: Box<dyn Limit>,
        learned: Option<&Snapshot>,
        now: Timestamp,
    ) -> Self {
        let learned = learned.cloned().unwrap_or_default();
        let mut rate = Rate::default();
        let ceiling = learned.rate_ceiling;
        let ceiling =
            ceiling.map(|most| SlowDownCeiling::with_ceiling(most, now, settings.slow_down_period));
        rate.remember(learned.request_rate, ceiling);
        let grant = Grant {
            concurrency: calls(limit.limit()),
            permission: Permission::SingleFlight { not_before: now },
            requests: rate.requests(now),
            tokens: None,
            attempt_timeout: settings.attempt_timeout,
            attempt_timeout_base: settings.attempt_timeout,
            service_time_high: Duration::ZERO,
            service_time: Duration::ZERO,
            delivered_rate: None,
            ready_eta: None,
            retry_ratio: settings.retry_ratio,
            trial_above: None,
            state: LaneState::Idle,
        };
        let mut controller = Self {
            settings: settings.clone(),
            availability: Availability::Idle,
            limit,
            memory: learned.limit,
            rate,
            kinds: Kinds::default(),
            waited: false,
            quota_ask: Timestamp::ZERO,
            last_served: Timestamp::ZERO,
            load_times: learned.load_times,
            flights: BTreeMap::new(),
            paused_until: Timestamp::ZERO,
            quota_until: Timestamp::ZERO,
            quota_is_dated: false,
            queued: 0,
            last_activity: now,
            ready_since: now,
            failures_in_row: 0,
            loading_in_row: 0,
            fault_rate: learned.fault_rate.clamp(0.0, 0.7),
            fault_cause: FaultCause::default(),
            timeout: AdaptiveTimeout::new(settings.attempt_timeout),
            log_mean: None,
            log_variance: 0.5,
            answers: 0,
            shared: None,
            wants_lease: false,
            asked_wake: Timestamp::ZERO,
            grant,
        };
        if let Some(momentary) = learned.momentary {
            controller.resume(momentary, now);
        }
        controller
    }

    /// Handles one message, in O(log n) for n calls in flight.
    pub fn step(
        &mut self,
        message: Message,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        match message {
            Message::Dispatched {
                attempt,
                in_flight,
                tokens,
                probe,
                kind,
            } => {
                self.last_activity = now;
                let in_flight = in_flight.saturating_add(self.others());
                let flight = Flight {
                    sent: now,
                    in_flight_at_start: in_flight,
                    probe,
                    first_part: None,
                    kind,
                };
                self.rate.dispatched(tokens, now);
                self.flights.insert(attempt, flight);
                if !self.follows() {
                    self.limit.dispatched(in_flight, now);
                }
            }
            Message::FirstPart { attempt, span } => {
                self.first_part(attempt, span, now);
            }
            Message::Ended {
                attempt,
                span,
                outcome,
                quota,
            } => {
                self.last_activity = now;
                let in_flight = self.in_flight_everywhere();
                if let Some(mut flight) = self.flights.remove(&attempt) {
                    // The headers describe the time of the dispatch, which the lane counts from too.
                    self.rate.hints(&quota, flight.sent);
                    flight.sent = flight.sent.max(span.sent).min(now);
                    let now = span.at.clamp(flight.sent, now);
                    let verdicts = self.weigh(flight, outcome, now);
                    effects.extend(verdicts.into_iter().flatten().map(Effect::Verdict));
                    let verdict = self.ended(flight, in_flight, outcome, now, chance);
                    effects.extend(verdict.map(Effect::Verdict));
                }
            }
            Message::Demand { queued } => {
                self.queued = queued;
                self.waited |= queued > 0;
            }
            Message::Prewarm => {
                effects.extend(self.wants_prewarm(now).then_some(Effect::Prewarm));
            }
            Message::IsThere => self.probe_now(now),
            Message::Shared(lease) => {
                let verdict = self.take_lease(lease, now);
                effects.extend(verdict.map(Effect::Verdict));
            }
            Message::Wakeup => {}
        }
        self.fall_idle(now);
        effects.extend(self.tick(now).map(Effect::Verdict));
        if self.take_lease_wish(now) {
            effects.push(Effect::RenewLease);
        }
        self.publish(now, &mut effects);
        effects
    }

    /// Returns `true` if a wake call is wanted.
    fn wants_prewarm(&mut self, now: Timestamp) -> bool {
        // A time without calls that no wakeup has noticed yet may have let the backend fall asleep.
        self.fall_idle(now);
        // A used-up quota is asked for when it is time, even if the callers go elsewhere.
        let may_ask = self.quota_ask <= now && now < self.quota_until;
        (!self.serves() || may_ask) && self.flights.is_empty()
    }

    /// Lets the law continue as time passes.
    fn tick(&mut self, now: Timestamp) -> Option<Verdict> {
        if !self.serves() || !self.may_step() {
            return None;
        }
        let before = self.limit.limit();
        let verdict = self.limit.tick(self.queued > 0, now);
        if self.limit.limit() > before {
            self.stepped();
        }
        if let Some((from, to)) = self.limit.penalty() {
            self.rate.penalty(from, to);
        }
        verdict
    }

    /// Returns the calls in flight of all gateways.
    fn in_flight_everywhere(&self) -> u32 {
        let own = u32::try_from(self.flights.len()).unwrap_or(u32::MAX);
        own.saturating_add(self.others())
    }

    /// Returns `true` if the backend is known to serve, that is, if it is neither idle nor cold nor broken.
    pub fn serves(&self) -> bool {
        matches!(self.availability, Availability::Running)
    }

    /// Returns the grant in force.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Returns the time at which `Wakeup` is required: the end of a pause, the time at which a call may ask whether a closed
    /// lane is open again, or the time of becoming idle.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let pause = match self.grant.permission {
            Permission::Paused { until } => Some(until),
            // Callers of a closed lane are refused without a word to this controller, so nothing else would wake it.
            Permission::Closed { until } => Some(until.min(self.quota_ask)),
            _ => None,
        };
        let idle = matches!(self.availability, Availability::Running)
            .then(|| self.last_activity.after(self.settings.idle))
            .filter(|_| self.flights.is_empty() && !self.kept_awake());
        let serves = matches!(self.availability, Availability::Running) && pause.is_none();
        let due = self
            .limit
            .due()
            .filter(|_| serves && self.queued > 0 && self.may_step());
        pause.into_iter().chain(idle).chain(due).min()
    }

    /// Returns the controller's state for an operator.
    pub fn report(&self, now: Timestamp) -> ControllerReport {
        ControllerReport {
            state: self.grant.state,
            behind: self.state_behind_pauses(),
            limit: self.limit.limit(),
            grant: self.grant,
            load_time_p50: self.load_times.quantile(0.5),
            load_time_p90: self.load_times.quantile(0.9),
            load_time_p95: self.load_times.quantile(0.95),
            latency: self.kinds.level().map(|log| seconds(log.exp())),
            fault_rate: self.fault_rate,
            in_flight: self.flights.len(),
            share: self.shared.map(|shared| shared.report(now)),
        }
    }

    /// Notes the first part of an answer, which proves that the call was accepted. The time to it is not compared: it may be any
    /// share of the time for which the call occupies the backend, and only that whole time depends on the load.
    fn first_part(&mut self, attempt: AttemptId, span: Span, now: Timestamp) {
        let in_flight_end = self.in_flight_everywhere();
        let follows = self.follows();
        let Some(flight) = self.flights.get_mut(&attempt) else {
            return;
        };
        if flight.first_part.is_some() {
            return;
        }
        flight.sent = flight.sent.max(span.sent).min(now);
        let now = span.at.clamp(flight.sent, now);
        flight.first_part = Some(now);
        let flight = *flight;
        if !matches!(self.availability, Availability::Running) {
            if flight.probe {
                // The backend serves, so the other calls need not wait for the end of this stream.
                self.move_phase(flight, Signal::Served, now);
            }
            return;
        }
        let sample = Sample {
            signal: Signal::Served,
            in_flight: flight.in_flight_at_start,
            in_flight_end,
            sent: flight.sent,
            latency: now.since(flight.sent),
            log_latency: None,
            binding: self.queued > 0,
            acknowledged: true,
        };
        if !follows {
            self.limit.acknowledged(&sample);
        }
    }

    fn ended(
        &mut self,
        flight: Flight,
        in_flight_end: u32,
        outcome: Outcome,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Option<Verdict> {
        let signal = match outcome {
            Outcome::Success { .. } => Signal::Served,
            Outcome::Cold { estimated } => {
                self.away(flight, LoadSign::Reported, estimated, now);
                return None;
            }
            Outcome::Absent {
                answered,
                retry_after,
            } => {
                let sign = if answered {
                    LoadSign::Possible
                } else {
                    LoadSign::None
                };
                self.away(flight, sign, retry_after, now);
                return None;
            }
            Outcome::Rate {
                retry_after,
                slow_down,
            } => {
                let asked = retry_after.unwrap_or(Duration::from_secs(1));
                if asked > self.settings.quota_horizon {
                    self.close(asked, now);
                    return None;
                }
                return self.refused_with_a_clock(flight, asked, slow_down, now, chance);
            }
            Outcome::Quota { reset } => {
                self.close(reset.unwrap_or(self.settings.quota_horizon), now);
                self.quota_is_dated = reset.is_some();
                return None;
            }
            Outcome::Client | Outcome::Unusable | Outcome::Misconfigured | Outcome::Cancelled => {
                self.limit.uninformative(flight.sent);
                return None;
            }
            Outcome::Limit => Signal::Refused,
            Outcome::Fault => Signal::Fault,
            Outcome::Timeout if self.was_cut_short(flight, now) => return None,
            Outcome::Timeout => Signal::Timeout,
        };
        self.move_phase(flight, signal, now);
        self.learn(flight, in_flight_end, outcome, signal, now)
    }

    fn learn(
        &mut self,
        flight: Flight,
        in_flight_end: u32,
        outcome: Outcome,
        signal: Signal,
        now: Timestamp,
    ) -> Option<Verdict> {
        let whole = now.since(flight.sent).as_secs_f64().max(1e-6);
        if signal == Signal::Served {
            let waited = std::mem::replace(&mut self.waited, self.queued > 0);
            self.rate.accepted(now, waited);
            self.last_served = now;
            self.quota_until = self.quota_until.min(now);
            self.learn_service_time(flight, whole.ln());
        }
        let log_latency = match outcome {
            // The rest of an answer costs about twenty units.
            Outcome::Success { tokens: Some(n) } => {
                let log = (whole / (f64::from(n) + 20.0)).ln();
                self.kinds.compare(flight.kind, Measure::PerUnit, log)
            }
            Outcome::Success { .. } => self.kinds.compare(flight.kind, Measure::Whole, whole.ln()),
            _ => Some(whole.ln()),
        };
        if !matches!(self.availability, Availability::Running) {
            return None;
        }
        let sample = Sample {
            signal,
            in_flight: flight.in_flight_at_start,
            in_flight_end,
            sent: flight.sent,
            latency: seconds(whole),
            log_latency,
            binding: self.queued > 0,
            acknowledged: flight.first_part.is_some(),
        };
        if self.follows() {
            return self.followed(&sample, now);
        }
        let before = self.limit.proved();
        let verdict = self.limit.sample(&sample, now);
        self.wants_lease |= self.shared.is_some() && self.limit.proved() < before;
        verdict
    }

    /// Emits the grant if it changed enough to matter, and the state if it changed.
    fn publish(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let next = self.make_grant(now);
        let old = self.grant;
        if next.state != old.state {
            effects.push(Effect::State {
                from: old.state,
                to: next.state,
            });
        }
        // The smoothed estimates change at each answer; a change below 5 % has no effect on decisions.
        let near = |a: f64, b: f64| (a - b).abs() <= 0.05 * b.abs();
        let same_rate = match (next.delivered_rate, old.delivered_rate) {
            (Some(a), Some(b)) => near(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let high = (
            next.service_time_high.as_secs_f64(),
            old.service_time_high.as_secs_f64(),
        );
        let coarse = Grant {
            delivered_rate: old.delivered_rate,
            service_time_high: old.service_time_high,
            service_time: old.service_time,
            ..next
        };
        if coarse != old || !same_rate || !near(high.0, high.1) {
            self.grant = next;
            effects.push(Effect::Grant(next));
        }
    }

    fn make_grant(&self, now: Timestamp) -> Grant {
        let deviation = self.log_variance.max(0.0).sqrt();
        // Before the first answer, a call without time left would only time out.
        let unknown = UNKNOWN_SHARE * self.settings.attempt_timeout.as_secs_f64();
        let high = self
            .log_mean
            .map_or(unknown, |mean| (mean + MARGIN * deviation).exp());
        let running = matches!(self.availability, Availability::Running);
        let ready = running && !self.limit.warming();
        let delivered = self.log_mean.filter(|_| ready).map(|mean| {
            let by_limit =
                self.part() * self.limit.limit() / (mean + 0.5 * self.log_variance).exp();
            self.rate
                .requests(now)
                .map_or(by_limit, |grant| by_limit.min(grant.rate))
        });
        Grant {
            concurrency: self.concurrency(),
            permission: self.permission(now),
            requests: BucketGrant::tighter(self.rate.requests(now), self.limit.rate(now)),
            tokens: self.rate.tokens(now),
            attempt_timeout: self.timeout.timeout(),
            attempt_timeout_base: self.settings.attempt_timeout,
            service_time_high: seconds(high),
            service_time: seconds(
                self.log_mean
                    .map_or(0.0, |mean| (mean + USUAL * deviation).exp()),
            ),
            delivered_rate: delivered,
            ready_eta: self.ready_eta(now),
            retry_ratio: self.retry_ratio(),
            trial_above: self.trial_above(),
            state: self.state(now),
        }
    }
}

#[cfg(test)]
mod tests;
