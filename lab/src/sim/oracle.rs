//! The reference scheduler, which knows the true state of the backend but not the future.
//!
//! It sends a call exactly when the call would start at once, with tenants in turn; drops a call only when the call can
//! no longer end in time; repeats faults at once; and wakes a sleeping backend with one call. It is a strong reference
//! but not an upper bound: it serves in order of arrival and keeps the scenario's timeout.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kebne_control::{Outcome, Timestamp};

use crate::sim::agenda::Event;
use crate::sim::arrivals::{self, Call};
use crate::sim::backend::{Answer, JobId};
use crate::sim::dice::{Dice, Purpose};
use crate::sim::ledger::{End, Ledger, Moment};
use crate::sim::number::{at, count, real};
use crate::sim::scenario::{Mix, Scenario};
use crate::sim::world::World;

/// The polling interval while calls wait, for quotas that refill without an event.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Oracle<'a> {
    scenario: &'a Scenario,
    seed: u64,
    calls: Vec<Call>,
    queues: Vec<VecDeque<usize>>,
    turn: usize,
    world: World,
    look_due: Option<Timestamp>,
    flights: BTreeMap<JobId, usize>,
    next_job: JobId,
    ledger: Ledger,
    now: Timestamp,
}

/// Runs the oracle through a scenario.
pub(crate) fn run(scenario: &Scenario, seed: u64) -> Ledger {
    let calls = arrivals::draw(scenario, seed);
    let mut oracle = Oracle {
        scenario,
        seed,
        world: World::new(scenario, seed, &calls),
        calls,
        queues: vec![VecDeque::new(); scenario.tenants.len()],
        turn: 0,
        look_due: None,
        flights: BTreeMap::new(),
        next_job: 0,
        ledger: Ledger::new(scenario),
        now: Timestamp::ZERO,
    };
    oracle.go();
    oracle.ledger.episodes = oracle.world.backend.episodes();
    oracle.ledger
}

impl Oracle<'_> {
    fn go(&mut self) {
        while let Some((now, event)) = self.world.agenda.next() {
            self.now = now;
            for answer in self.world.backend.advance(now) {
                self.answered(&answer);
            }
            match event {
                Event::Arrival(id) => self.arrive(id),
                Event::Told(answer) => self.answered(&answer),
                Event::Timeout(job) => {
                    if self.flights.contains_key(&job) {
                        self.world.backend.cancel(job, now);
                        self.answered(&Answer {
                            job,
                            outcome: Some(Outcome::Timeout),
                            hints: kebne_control::QuotaHints::default(),
                        });
                    }
                }
                Event::Sample => self.sample(),
                Event::Leave(id) => self.leave(id),
                Event::Backend
                | Event::Gateway(_)
                | Event::Renew(..)
                | Event::Restart
                | Event::Handled(..) => {}
            }
            self.dispatch();
            self.plan();
            let over = now.as_secs_f64() > self.scenario.duration;
            if over && self.ledger.ends.len() == self.calls.len() {
                return;
            }
        }
    }

    fn sample(&mut self) {
        self.ledger.moments.push(Moment {
            time: self.now.as_secs_f64(),
            limit: real(self.world.backend.best(self.now)),
            rate: None,
            in_flight: count(real(self.flights.len())),
            capacity: self.world.backend.best(self.now),
            queued: self.queues.iter().map(VecDeque::len).sum(),
        });
        if self.now.as_secs_f64() < self.scenario.duration + self.scenario.deadline {
            let next = self.now.after(Duration::from_millis(500));
            self.world.agenda.add(next, Event::Sample);
        }
    }

    fn arrive(&mut self, id: usize) {
        let tenant = self.calls.get(id).map_or(0, |call| call.tenant);
        if let Some(queue) = self.queues.get_mut(tenant) {
            queue.push_back(id);
        }
    }

    fn answered(&mut self, answer: &Answer) {
        let Some(outcome) = answer.outcome else {
            let id = self.flights.get(&answer.job).copied();
            let leaves = |id: &usize| self.calls.get(*id).is_some_and(|call| call.leaves_begun);
            if let Some(id) = id.filter(leaves) {
                self.leave(id);
            }
            return;
        };
        let Some(id) = self.flights.remove(&answer.job) else {
            return;
        };
        self.ledger.attempt(&outcome);
        if matches!(outcome, Outcome::Success { .. }) {
            self.close(id, End::Served);
            return;
        }
        let tenant = self.calls.get(id).map_or(0, |call| call.tenant);
        if let Some(queue) = self.queues.get_mut(tenant) {
            queue.push_front(id);
        }
    }

    /// Ends a call whose caller has left.
    fn leave(&mut self, id: usize) {
        if self.ledger.ends.contains_key(&id) {
            return;
        }
        for queue in &mut self.queues {
            queue.retain(|waiting| *waiting != id);
        }
        let job = self.flights.iter().find(|(_, call)| **call == id);
        if let Some((&job, _)) = job {
            self.flights.remove(&job);
            self.world.backend.cancel(job, self.now);
            self.ledger.attempt(&Outcome::Cancelled);
        }
        self.close(id, End::Left);
    }

    fn close(&mut self, id: usize, end: End) {
        let Some(&call) = self.calls.get(id) else {
            return;
        };
        self.ledger.close(id, &call, end, self.now);
        let again = self.now.as_secs_f64() + Mix::backoff(call.tries, None, 0.5);
        if end == End::Expired && call.tries < self.scenario.mix.tries {
            if again < self.scenario.duration {
                self.add(Call {
                    at: again,
                    tries: call.tries + 1,
                    ..call
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
        let next = self.calls.len();
        let keys = (crate::sim::key(call.tenant), crate::sim::key(next));
        let mut dice = Dice::new(self.seed, Purpose::Arrival, keys.0, keys.1);
        let time = self.now.as_secs_f64() + dice.exponential(tenant.think.max(0.1));
        if time < self.scenario.duration {
            self.add(arrivals::make(
                self.scenario,
                self.seed,
                next,
                time,
                call.tenant,
            ));
        }
    }

    fn add(&mut self, call: Call) {
        self.world.expect(self.calls.len(), &call);
        self.calls.push(call);
    }

    /// Returns the next call that can still end in time, with tenants in turn; gives up those that cannot.
    fn head(&mut self) -> Option<usize> {
        for step in 0..self.queues.len() {
            let tenant = (self.turn + step) % self.queues.len();
            while let Some(&id) = self.queues.get(tenant).and_then(VecDeque::front) {
                let call = self.calls.get(id)?;
                let end = self.now.as_secs_f64() + self.world.backend.least_time(call.work);
                if end <= call.at + self.scenario.deadline {
                    self.turn = tenant;
                    return Some(id);
                }
                self.pop(tenant);
                self.close(id, End::Expired);
            }
        }
        None
    }

    fn pop(&mut self, tenant: usize) {
        if let Some(queue) = self.queues.get_mut(tenant) {
            queue.pop_front();
        }
    }

    fn dispatch(&mut self) {
        while let Some(id) = self.head() {
            let cost = self.calls.get(id).map_or(0, |call| call.cost);
            let wake = self.world.backend.asleep();
            if !wake && !self.world.backend.would_start(cost, self.now) {
                return;
            }
            let tenant = self.turn;
            self.pop(tenant);
            self.turn = (tenant + 1) % self.queues.len();
            self.send(id);
        }
    }

    fn send(&mut self, id: usize) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        let job = self.next_job;
        self.next_job += 1;
        self.flights.insert(job, id);
        let left = call.at + self.scenario.deadline - self.now.as_secs_f64();
        // The wake call may be held while the model loads; only its caller's deadline limits it then.
        let patience = if self.world.backend.slots(self.now) == 0 {
            left
        } else {
            left.min(self.scenario.timeout)
        };
        let hangs_up = at(self.now.as_secs_f64() + patience);
        self.world.agenda.add(hangs_up, Event::Timeout(job));
        self.world.send(job, id, call, self.now);
    }

    fn plan(&mut self) {
        self.world.plan_backend(self.now);
        let waiting = self.queues.iter().any(|queue| !queue.is_empty());
        if waiting && self.look_due.is_none_or(|due| due <= self.now) {
            let next = self.now.after(LOOK);
            self.look_due = Some(next);
            self.world.agenda.add(next, Event::Gateway(0));
        }
    }
}
