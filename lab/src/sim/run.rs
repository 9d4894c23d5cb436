//! One run: a scenario, a seed and an entrant, from the first arrival until every call has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use kebne_control::{AttemptId, Dispatch, Hedge, Outcome, QuotaHints, SharedLane, Span, Timestamp};

use crate::sim::agenda::Event;
use crate::sim::arrivals::{self, Call};
use crate::sim::backend::{Answer, JobId};
use crate::sim::dice::{Dice, Purpose};
use crate::sim::entrant::Entrant;
use crate::sim::gateway::Gateway;
use crate::sim::ledger::{End, Ledger, Moment};
use crate::sim::number::at;
use crate::sim::scenario::{Mix, Scenario};
use crate::sim::world::World;

mod leave;

/// The number of events after which a run counts as stuck; the longest scenario needs a hundredth of it.
const EVENTS_MAX: u64 = 50_000_000;
/// The shortest time between two wakeups of a gateway, so that a wakeup in the past cannot stop the clock.
const WAKE_STEP: Duration = Duration::from_micros(100);
/// The interval of the renewals of leases, and their time to live.
const RENEWS: Duration = Duration::from_millis(250);
const LEASE_TTL: Duration = Duration::from_secs(2);
/// The time that a renewal takes that a gateway requested out of turn.
const RENEWS_AT_ONCE: Duration = Duration::from_millis(3);

#[derive(Clone, Copy, Debug)]
struct Flight {
    gateway: usize,
    attempt: AttemptId,
    call: usize,
    sent: Timestamp,
}

/// A run in progress.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    scenario: &'a Scenario,
    seed: u64,
    told: bool,
    /// The state that the gateways share; `None` if they share nothing.
    shared: Option<SharedLane>,
    calls: Vec<Call>,
    world: World,
    gateways: Vec<Gateway>,
    flights: BTreeMap<JobId, Flight>,
    next_job: JobId,
    ledger: Ledger,
    now: Timestamp,
    /// When the gateway's machine has time again, while it is busy.
    runs_at: Timestamp,
    stalls: Dice,
}

/// Runs an entrant through a scenario.
pub(crate) fn run(scenario: &Scenario, seed: u64, entrant: Entrant, keeps_notes: bool) -> Ledger {
    let mut run = Run::new(scenario, seed, entrant);
    run.ledger.keeps_notes = keeps_notes;
    run.go();
    run.ledger.episodes = run.world.backend.episodes();
    run.ledger.unlucky = run.world.backend.unlucky;
    run.ledger.left_over = run.gateways.iter().map(Gateway::queued).sum::<usize>()
        + run.flights.len()
        + run.calls.len().saturating_sub(run.ledger.ends.len());
    debug_assert_eq!(
        run.ledger.violations, 0,
        "{}: the pool sent without permission, or nothing though it was idle",
        scenario.name
    );
    run.ledger
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, seed: u64, entrant: Entrant) -> Self {
        let calls = arrivals::draw(scenario, seed);
        let gateways = (0..scenario.gateways.len())
            .map(|index| Gateway::new(entrant, scenario, seed, index))
            .collect();
        Self {
            scenario,
            seed,
            told: entrant.told,
            shared: entrant.shared.then(SharedLane::default),
            world: World::new(scenario, seed, &calls),
            calls,
            gateways,
            flights: BTreeMap::new(),
            next_job: 0,
            ledger: Ledger::new(scenario),
            now: Timestamp::ZERO,
            runs_at: Timestamp::ZERO,
            stalls: Dice::new(seed, Purpose::Stall, 0, 0),
        }
    }

    fn go(&mut self) {
        for (index, joins) in self.scenario.gateways.iter().enumerate() {
            if self.shared.is_some() {
                // They do not renew at the same moments.
                let offset = crate::sim::number::real(index) * 0.037;
                let event = Event::Renew(index, true);
                self.world.agenda.add(at(joins + offset), event);
            }
        }
        for _ in 0..EVENTS_MAX {
            let Some((now, event)) = self.world.agenda.next() else {
                return;
            };
            self.now = now;
            for answer in self.world.backend.advance(now) {
                self.came(answer);
            }
            self.handle(event);
            self.world.plan_backend(self.now);
            if self.now.as_secs_f64() > self.scenario.duration
                && self.ledger.ends.len() == self.calls.len()
            {
                return;
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival(id) => self.arrive(id),
            Event::Backend => {}
            Event::Told(answer) => self.came(answer),
            Event::Handled(answer, came) => self.answered(answer, came),
            Event::Leave(id) => self.leave(id),
            Event::Timeout(job) => {
                if self.flights.contains_key(&job) {
                    self.world.backend.cancel(job, self.now);
                    let answer = Answer {
                        job,
                        outcome: Some(Outcome::Timeout),
                        hints: QuotaHints::default(),
                    };
                    self.answered(answer, self.now);
                }
            }
            Event::Gateway(index) => {
                // An entry that a later wakeup replaced is outdated.
                let gateway = self.gateways.get_mut(index);
                if let Some(gateway) = gateway.filter(|g| g.due == Some(self.now)) {
                    gateway.due = None;
                    gateway.wake(self.now, &mut self.ledger);
                    self.pump(index);
                }
            }
            Event::Restart => {
                for index in 0..self.gateways.len() {
                    if let Some(gateway) = self.gateways.get_mut(index) {
                        gateway.restart(self.now);
                    }
                    self.pump(index);
                }
            }
            Event::Renew(index, regular) => self.renew(index, regular),
            Event::Sample => self.sample(),
        }
    }

    fn renew(&mut self, index: usize, regular: bool) {
        let lane = self.shared.as_mut();
        if let Some((gateway, lane)) = self.gateways.get_mut(index).zip(lane) {
            gateway.renew(lane, LEASE_TTL, self.now, &mut self.ledger);
            self.pump(index);
        }
        let last = self.scenario.duration + self.scenario.deadline;
        if regular && self.now.as_secs_f64() < last {
            let next = self.now.after(RENEWS);
            self.world.agenda.add(next, Event::Renew(index, true));
        }
    }

    fn sample(&mut self) {
        let moment = Moment {
            time: self.now.as_secs_f64(),
            limit: self.gateways.iter().map(Gateway::limit).sum(),
            rate: self
                .gateways
                .iter()
                .filter_map(Gateway::rate)
                .reduce(|a, b| a + b),
            in_flight: self.gateways.iter().map(Gateway::in_flight).sum(),
            capacity: self.world.backend.best(self.now),
            queued: self.gateways.iter().map(Gateway::queued).sum(),
        };
        self.ledger.moments.push(moment);
        if self.now.as_secs_f64() < self.scenario.duration + self.scenario.deadline {
            let next = self.now.after(Duration::from_millis(500));
            self.world.agenda.add(next, Event::Sample);
        }
    }

    fn arrive(&mut self, id: usize) {
        let Some(&call) = self.calls.get(id) else {
            return;
        };
        let Some(gateway) = self.gateways.get_mut(call.gateway) else {
            return;
        };
        let taken = gateway.offer(id, &call, self.scenario, self.now, &mut self.ledger);
        if let Err(asked) = taken {
            self.call_again(&call, End::Refused, asked);
        }
        self.pump(call.gateway);
    }

    /// Handles an answer when it arrives; a gateway whose loop is busy handles it later.
    fn came(&mut self, answer: Answer) {
        if let Some(runs_at) = self.stalled() {
            // It is stamped by the machine that was busy.
            self.world
                .agenda
                .add(runs_at, Event::Handled(answer, runs_at));
            return;
        }
        let lag = self.scenario.mix.lag;
        if lag > 0.0 {
            let next = at((self.now.as_secs_f64() / lag).ceil() * lag).max(self.now);
            let event = Event::Handled(answer, self.now);
            self.world.agenda.add(next, event);
        } else {
            self.answered(answer, self.now);
        }
    }

    /// Returns when the gateway's machine has time for what comes now; `None` if it is not busy.
    fn stalled(&mut self) -> Option<Timestamp> {
        let stalls = self.scenario.mix.stalls?;
        let now = self.now.as_secs_f64();
        if !(stalls.from..stalls.to).contains(&now) {
            return None;
        }
        while self.runs_at < self.now {
            let length = stalls.draw(&mut self.stalls);
            self.runs_at = at(self.runs_at.as_secs_f64().max(stalls.from) + length);
        }
        Some(self.runs_at)
    }

    fn answered(&mut self, answer: Answer, came: Timestamp) {
        let Some(&flight) = self.flights.get(&answer.job) else {
            return;
        };
        let Some(gateway) = self.gateways.get_mut(flight.gateway) else {
            return;
        };
        let span = Span {
            sent: flight.sent,
            at: came,
        };
        let Some(outcome) = answer.outcome else {
            gateway.first_part(flight.attempt, span, self.now, &mut self.ledger);
            self.cancel_other(answer.job, flight);
            let call = self.calls.get(flight.call);
            if call.is_some_and(|call| call.leaves_begun) {
                self.leave(flight.call);
            }
            self.pump(flight.gateway);
            return;
        };
        self.flights.remove(&answer.job);
        self.ledger.attempt(&outcome);
        let end = gateway.ended(
            flight.attempt,
            flight.call,
            outcome,
            answer.hints,
            span,
            self.now,
            &mut self.ledger,
        );
        if let Some(end) = end {
            self.cancel_other(answer.job, flight);
            self.close(flight.call, end);
        }
        self.pump(flight.gateway);
    }

    fn close(&mut self, id: usize, end: End) {
        if let Some(&call) = self.calls.get(id) {
            self.ledger.close(id, &call, end, self.now);
            self.call_again(&call, end, None);
        }
    }

    /// Repeats the call of a caller without an answer, as an SDK does, or sends the next call of a closed loop after
    /// its think time.
    fn call_again(&mut self, call: &Call, end: End, asked: Option<f64>) {
        let fails = matches!(end, End::Refused | End::Expired | End::Failed);
        if fails && call.tries < self.scenario.mix.tries {
            let keys = (self.calls.len(), self.calls.len() + 1);
            let keys = (crate::sim::key(keys.0), crate::sim::key(keys.1));
            let chance = Dice::new(self.seed, Purpose::Mix, keys.0, keys.1).unit();
            let again = self.now.as_secs_f64() + Mix::backoff(call.tries, asked, chance);
            if again < self.scenario.duration {
                self.add(Call {
                    at: again,
                    tries: call.tries + 1,
                    ..*call
                });
            }
            return;
        }
        let closed = self
            .scenario
            .tenants
            .get(call.tenant)
            .filter(|t| t.closed > 0);
        let Some(tenant) = closed else { return };
        let id = self.calls.len();
        let mut dice = Dice::new(
            self.seed,
            Purpose::Arrival,
            crate::sim::key(call.tenant),
            crate::sim::key(id),
        );
        let time = self.now.as_secs_f64() + dice.exponential(tenant.think.max(0.1));
        if time < self.scenario.duration {
            self.add(arrivals::make(
                self.scenario,
                self.seed,
                id,
                time,
                call.tenant,
            ));
        }
    }

    fn add(&mut self, call: Call) {
        self.world.expect(self.calls.len(), &call);
        self.calls.push(call);
    }

    /// Sends the calls that a gateway may send now, and schedules its next wakeup.
    fn pump(&mut self, index: usize) {
        if self.told {
            self.tell_capacity(index);
        }
        // The grant may change once after the demand was reported; further changes wait for the next event.
        for _ in 0..2 {
            self.dispatch_all(index);
            let Some(gateway) = self.gateways.get_mut(index) else {
                return;
            };
            let expired = gateway.expire(self.now, &mut self.ledger);
            let changed = gateway.demand(self.now, &mut self.ledger);
            for id in expired {
                self.close(id, End::Expired);
            }
            self.hedge_all(index);
            if !changed {
                break;
            }
        }
        let Some(gateway) = self.gateways.get_mut(index) else {
            return;
        };
        if gateway.has_room(self.now) {
            self.ledger.has_room(self.now);
        }
        if std::mem::take(&mut gateway.wants_lease) && self.shared.is_some() {
            let soon = self.now.after(RENEWS_AT_ONCE);
            self.world.agenda.add(soon, Event::Renew(index, false));
        }
        if let Some(wish) = gateway.next_wakeup(self.now) {
            let wake = wish.max(self.now.after(WAKE_STEP));
            if gateway.due.is_none_or(|due| wake < due || due <= self.now) {
                gateway.due = Some(wake);
                self.world.agenda.add(wake, Event::Gateway(index));
            }
        }
    }

    /// Sets a gateway's share of the true capacity.
    fn tell_capacity(&mut self, index: usize) {
        let now = self.now.as_secs_f64();
        let joined = self.scenario.gateways.iter().filter(|from| **from <= now);
        let share = self.world.backend.best(self.now) / joined.count().max(1);
        if let Some(gateway) = self.gateways.get_mut(index) {
            gateway.tell_capacity(
                crate::sim::number::count(crate::sim::number::real(share.max(1))),
                self.now,
            );
        }
    }

    fn dispatch_all(&mut self, index: usize) {
        while let Some(gateway) = self.gateways.get_mut(index) {
            let Some(dispatch) = gateway.next(self.now, &mut self.ledger) else {
                return;
            };
            self.send(index, &dispatch);
        }
    }

    fn hedge_all(&mut self, index: usize) {
        while let Some(gateway) = self.gateways.get_mut(index) {
            let Some(Hedge { doubles, dispatch }) = gateway.hedge(self.now, &mut self.ledger)
            else {
                return;
            };
            let mut flights = self.flights.values();
            let first = flights.find(|f| f.gateway == index && f.attempt == doubles);
            if let Some(&Flight { call, .. }) = first {
                self.send(index, &dispatch.with(call));
            }
        }
    }

    fn send(&mut self, gateway: usize, dispatch: &Dispatch<usize>) {
        let id = dispatch.payload;
        let job = self.next_job;
        self.next_job += 1;
        let flight = Flight {
            gateway,
            attempt: dispatch.attempt,
            call: id,
            sent: self.now,
        };
        self.flights.insert(job, flight);
        self.world
            .agenda
            .add(self.now.after(dispatch.timeout), Event::Timeout(job));
        if let Some(call) = self.calls.get(id) {
            self.world.send(job, id, call, self.now);
            self.world.plan_backend(self.now);
        }
    }
}
