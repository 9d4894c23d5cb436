//! One gateway in virtual time: the controller and the pool of the program, connected as the actors connect them.
//!
//! It makes no decisions: each method passes the time to the two state machines and the grant from one to the other.

use std::collections::BTreeMap;
use std::time::Duration;

use kebne_control::{
    AfterAttempt, AttemptId, CallId, Controller, ControllerSettings, Dispatch, Effect, Grant,
    Hedge, Kind, Message, OfferedCall, Outcome, Permission, Pool, QuotaHints, SharedLane, Snapshot,
    Span, Timestamp,
};

use crate::sim::arrivals::Call;
use crate::sim::dice::{Dice, Purpose};
use crate::sim::entrant::{Blindfold, Entrant};
use crate::sim::laws::Law;
use crate::sim::ledger::{End, Ledger, Note};
use crate::sim::number::at;
use crate::sim::scenario::Scenario;

/// A gateway in front of the backend.
#[derive(Debug)]
pub(crate) struct Gateway {
    index: usize,
    controller: Controller,
    settings: ControllerSettings,
    law: Law,
    pool: Pool<usize>,
    dice: Dice,
    blindfold: Option<Blindfold>,
    /// The true capacity; `None` for an entrant that does not receive it.
    told: Option<u32>,
    queued: u32,
    /// The calls of callers that may leave.
    waiting: BTreeMap<usize, CallId>,
    /// `true` if it wants to renew its lease at once.
    pub(crate) wants_lease: bool,
    /// The time of the scheduled wakeup.
    pub(crate) due: Option<Timestamp>,
}

/// Creates a controller with a law of the program or with a baseline.
fn controller(
    law: Law,
    settings: &ControllerSettings,
    learned: Option<&Snapshot>,
    now: Timestamp,
) -> Controller {
    match law.build(settings, now) {
        Some(limit) => Controller::with_limit(settings, limit, learned, now),
        None => Controller::new(settings, learned, now),
    }
}

/// Returns the kind with which the times of a call are compared.
fn kind(call: &Call, bounded: bool) -> Kind {
    let size = |work: f64| crate::sim::number::count(1000.0 * work);
    Kind {
        class: u32::from(call.streamed) + 2 * u32::from(call.short),
        input: size(call.prompt),
        output: if bounded { size(call.work) } else { 0 },
    }
}

impl Gateway {
    pub(crate) fn new(entrant: Entrant, scenario: &Scenario, seed: u64, index: usize) -> Self {
        let settings = entrant.settings(scenario);
        let controller = controller(entrant.law, &settings, None, Timestamp::ZERO);
        let pool = Pool::new(&entrant.pool(), controller.grant(), Timestamp::ZERO);
        Self {
            index,
            controller,
            settings,
            law: entrant.law,
            pool,
            dice: Dice::new(seed, Purpose::Law, crate::sim::key(index), 0),
            blindfold: entrant.bare.then(Blindfold::default),
            told: None,
            queued: 0,
            waiting: BTreeMap::new(),
            wants_lease: false,
            due: None,
        }
    }

    fn tell(&mut self, message: Message, now: Timestamp, ledger: &mut Ledger) {
        for effect in self.controller.step(message, now, &mut self.dice) {
            match effect {
                Effect::Grant(_) | Effect::Prewarm => {}
                Effect::RenewLease => self.wants_lease = true,
                Effect::State { from, to } => {
                    ledger.note(now, self.index, Note::State(from.label(), to.label()));
                }
                Effect::Verdict(verdict) => ledger.note(now, self.index, Note::Verdict(verdict)),
            }
        }
        self.pool.set_grant(self.granted(now), now);
    }

    fn granted(&self, now: Timestamp) -> Grant {
        let mut grant = self.controller.grant();
        if let Some(told) = self.told {
            let more = f64::from(told) / f64::from(grant.concurrency.max(1));
            grant.delivered_rate = grant.delivered_rate.map(|rate| rate * more);
            grant.concurrency = told;
        }
        match &self.blindfold {
            Some(blindfold) => blindfold.grant(grant, now),
            None => grant,
        }
    }

    /// Sets the true capacity, for an entrant that receives it.
    pub(crate) fn tell_capacity(&mut self, capacity: u32, now: Timestamp) {
        self.told = Some(capacity);
        self.pool.set_grant(self.granted(now), now);
    }

    /// Offers a call. A refusal is recorded at once, and the time after which to retry is returned.
    pub(crate) fn offer(
        &mut self,
        id: usize,
        call: &Call,
        scenario: &Scenario,
        now: Timestamp,
        ledger: &mut Ledger,
    ) -> Result<(), Option<f64>> {
        let priority = scenario.tenants.get(call.tenant).map_or(0, |t| t.priority);
        let offer = OfferedCall {
            payload: id,
            deadline: at(call.at + scenario.deadline),
            bytes: 1,
            tokens: call.cost,
            output_tokens_max: 0,
            tenant: crate::sim::key(call.tenant),
            priority,
            weight: 1.0,
            refuse_when_cold: false,
            hedge: true,
            kind: kind(call, scenario.mix.bounded),
        };
        match self.pool.offer(offer, now) {
            Ok(place) => {
                if call.leaves_after.is_some() {
                    self.waiting.insert(id, place);
                }
                Ok(())
            }
            Err((id, refusal)) => {
                ledger.reason("refused", &refusal.reason);
                ledger.close(id, call, End::Refused, now);
                Err(refusal.retry_after.map(|after| after.as_secs_f64()))
            }
        }
    }

    /// Removes a waiting call, because its caller has left. Returns `true` if it waited.
    pub(crate) fn leave(&mut self, id: usize, now: Timestamp) -> bool {
        let place = self.waiting.remove(&id);
        place.is_some_and(|place| self.pool.cancel(place, now).is_some())
    }

    /// Takes the next attempt out of the pool and notifies the controller.
    pub(crate) fn next(&mut self, now: Timestamp, ledger: &mut Ledger) -> Option<Dispatch<usize>> {
        let grant = self.granted(now);
        let Some(dispatch) = self.pool.next(now) else {
            ledger.violations += u32::from(self.pool.is_idle_though_calls_wait(now));
            return None;
        };
        let allowed = match grant.permission {
            Permission::Open => dispatch.in_flight <= grant.concurrency,
            Permission::SingleFlight { not_before } => dispatch.probe && now >= not_before,
            Permission::Paused { until } | Permission::Closed { until } => now >= until,
        };
        ledger.violations += u32::from(!allowed);
        self.dispatched(&dispatch, now, ledger);
        Some(dispatch)
    }

    /// Takes the hedge that is due out of the pool and notifies the controller.
    pub(crate) fn hedge(&mut self, now: Timestamp, ledger: &mut Ledger) -> Option<Hedge> {
        let grant = self.granted(now);
        let hedge = self.pool.hedge(now)?;
        let in_flight = hedge.dispatch.in_flight;
        let allowed = grant.permission == Permission::Open && in_flight <= grant.concurrency;
        ledger.violations += u32::from(!allowed);
        self.dispatched(&hedge.dispatch, now, ledger);
        Some(hedge)
    }

    fn dispatched<T>(&mut self, dispatch: &Dispatch<T>, now: Timestamp, ledger: &mut Ledger) {
        let message = Message::Dispatched {
            attempt: dispatch.attempt,
            in_flight: dispatch.in_flight,
            tokens: dispatch.tokens,
            probe: dispatch.probe,
            kind: dispatch.kind,
        };
        self.tell(message, now, ledger);
    }

    /// Returns the calls that the pool gave up, each with the reason.
    pub(crate) fn expire(&mut self, now: Timestamp, ledger: &mut Ledger) -> Vec<usize> {
        let mut expired = Vec::new();
        for (id, refusal) in self.pool.expire(now) {
            ledger.reason("expired", &refusal.reason);
            expired.push(id);
        }
        expired
    }

    /// Reports the number of waiting calls to the controller if it has changed; returns `true` if it has.
    pub(crate) fn demand(&mut self, now: Timestamp, ledger: &mut Ledger) -> bool {
        let queued = u32::try_from(self.pool.queued()).unwrap_or(u32::MAX);
        if queued == self.queued {
            return false;
        }
        self.queued = queued;
        self.tell(Message::Demand { queued }, now, ledger);
        true
    }

    pub(crate) fn first_part(
        &mut self,
        attempt: AttemptId,
        span: Span,
        now: Timestamp,
        ledger: &mut Ledger,
    ) {
        self.pool.first_part(attempt, now);
        self.tell(Message::FirstPart { attempt, span }, now, ledger);
    }

    /// Settles an attempt; returns the ending of its call if the call has ended.
    #[expect(
        clippy::too_many_arguments,
        reason = "each argument is a part of one event"
    )]
    pub(crate) fn ended(
        &mut self,
        attempt: AttemptId,
        id: usize,
        outcome: Outcome,
        quota: QuotaHints,
        span: Span,
        now: Timestamp,
        ledger: &mut Ledger,
    ) -> Option<End> {
        let (seen, hints) = match &mut self.blindfold {
            Some(blindfold) => (blindfold.outcome(outcome, now), Blindfold::hints(quota)),
            None => (outcome, quota),
        };
        if seen.is_refusal() {
            ledger.note(now, self.index, Note::Refusal(outcome.label()));
        }
        let message = Message::Ended {
            attempt,
            span,
            outcome: seen,
            quota: hints,
        };
        self.tell(message, now, ledger);
        let after = self
            .pool
            .ended(attempt, id, seen, false, now, &mut self.dice);
        match after {
            AfterAttempt::Done(_) if matches!(outcome, Outcome::Success { .. }) => {
                Some(End::Served)
            }
            AfterAttempt::Done(_) => Some(End::Failed),
            AfterAttempt::Held(_) | AfterAttempt::Retry { .. } | AfterAttempt::Doubled => None,
            AfterAttempt::Exhausted(_, why) => {
                ledger.reason("failed", &why);
                Some(End::Failed)
            }
        }
    }

    /// Renews the lease.
    pub(crate) fn renew(
        &mut self,
        lane: &mut SharedLane,
        ttl: Duration,
        now: Timestamp,
        ledger: &mut Ledger,
    ) {
        let renewal = self.controller.renewal(now);
        let lease = lane.renew(&self.index.to_string(), &renewal, ttl, now);
        self.tell(Message::Shared(Some(lease)), now, ledger);
        self.controller.adopt(lane.learned());
        self.wants_lease = false;
    }

    /// Wakes the controller if its wakeup is due.
    pub(crate) fn wake(&mut self, now: Timestamp, ledger: &mut Ledger) {
        self.tell(Message::Wakeup, now, ledger);
    }

    /// Restarts the controller with what it had learned, as its supervisor does.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        let learned = self.controller.snapshot(now);
        self.controller = controller(self.law, &self.settings, Some(&learned), now);
        self.queued = 0;
        self.pool.set_grant(self.granted(now), now);
    }

    /// Returns `true` if a call that came now would be sent at once.
    pub(crate) fn has_room(&self, now: Timestamp) -> bool {
        let grant = self.granted(now);
        let open = grant.permission == Permission::Open;
        open && self.pool.queued() == 0 && self.pool.in_flight() < grant.concurrency
    }

    /// Returns the time of the next wakeup of this gateway.
    pub(crate) fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        let pause = self.blindfold.and_then(|blindfold| blindfold.wakeup(now));
        [
            self.pool.next_wakeup(now),
            self.controller.next_wakeup(),
            pause,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the granted request rate; `None` without a rate.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.controller.grant().requests.map(|grant| grant.rate)
    }

    pub(crate) fn limit(&self) -> f64 {
        f64::from(self.controller.grant().concurrency)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.pool.in_flight()
    }

    pub(crate) fn queued(&self) -> usize {
        self.pool.queued()
    }
}
