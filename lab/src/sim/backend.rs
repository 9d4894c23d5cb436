//! The model of a fragile backend: admission, refusals and answer times.
//!
//! Owns the true state of the backend, which only the oracle may read. It does not know which entrant calls it.

use std::collections::BTreeMap;

use kebne_control::{Outcome, QuotaHints, Timestamp};

use crate::sim::dice::{Dice, Purpose};
use crate::sim::number::{at, whole};
use crate::sim::scenario::{self, Scenario, stair};

mod boot;
mod engine;
mod quota;
mod scaler;

use boot::{Awake, Boot};
pub(crate) use engine::JobId;
use engine::{Engine, Job, Passed};
use quota::Meter;
use scaler::Scaler;

/// A call as it reaches the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// The id of the attempt, unique in the run.
    pub(crate) job: JobId,
    /// The index of the call, which is the key of its random draws.
    pub(crate) call: usize,
    /// The number of times that the backend has accepted this call before.
    pub(crate) taken: u32,
    pub(crate) work: f64,
    pub(crate) cost: u32,
    pub(crate) tokens: Option<u32>,
    /// The share of the work until the first part of a streamed answer.
    pub(crate) prompt: f64,
    pub(crate) streamed: bool,
}

/// An answer of the backend, or its first part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) job: JobId,
    /// How the attempt ended; `None` for the first part of an answer.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) hints: QuotaHints,
}

/// The result of offering a request to the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Admission {
    /// Accepted. The answer may still be lost.
    Taken,
    /// Refused. The client learns it after the refusal time.
    Refused(Outcome, QuotaHints),
}

/// A request in progress.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    request: Request,
    /// `true` if it will fail.
    fault: bool,
    /// The quota headers of its answer, as they were when it was counted.
    hints: QuotaHints,
}

/// The backend of one run.
#[derive(Debug)]
pub(crate) struct Backend {
    settings: scenario::Backend,
    seed: u64,
    engine: Engine,
    boot: Boot,
    meter: Option<Meter>,
    scaler: Option<Scaler>,
    jobs: BTreeMap<JobId, Accepted>,
    edges: Vec<Timestamp>,
    edge: usize,
    dead: bool,
    /// The number of calls refused at random so far.
    pub(crate) unlucky: u64,
}

impl Backend {
    /// Builds the backend of a scenario.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let settings = scenario.backend.clone();
        let steps = settings.slots.iter().map(|point| point.0);
        let outages = settings.outages.iter().flat_map(|o| [o.from, o.to]);
        let brownouts = settings.brownouts.iter().flat_map(|b| [b.from, b.to]);
        let mut edges: Vec<Timestamp> = steps.chain(outages).chain(brownouts).map(at).collect();
        edges.sort_unstable();
        Self {
            engine: Engine::new(settings.batch, settings.thrash),
            boot: Boot::new(settings.cold, seed),
            meter: settings.quota.map(Meter::new),
            scaler: settings.scaler.map(Scaler::new),
            settings,
            seed,
            jobs: BTreeMap::new(),
            edges,
            edge: 0,
            dead: false,
            unlucky: 0,
        }
    }

    /// Returns the current number of slots.
    pub(crate) fn slots(&self, now: Timestamp) -> usize {
        let staircase = stair(&self.settings.slots, now.as_secs_f64());
        let replicas = self.scaler.as_ref().map_or(1, |scaler| scaler.replicas);
        let share = self.boot.warm_share(now);
        let slots = whole(staircase * share * f64::from(replicas) + 1e-9);
        if self.dead {
            0
        } else if share > 0.0 {
            slots.max(1)
        } else {
            0
        }
    }

    /// Returns the best concurrency: the number of slots, or the knee of thrashing if it is lower.
    pub(crate) fn best(&self, now: Timestamp) -> usize {
        let knee = self.settings.thrash.map_or(usize::MAX, |t| whole(t.knee));
        self.slots(now).min(knee)
    }

    /// Returns the number of cold starts so far.
    pub(crate) fn episodes(&self) -> u32 {
        self.boot.episodes
    }

    /// Advances the state to `now` and returns the answers in order.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Vec<Answer> {
        let passed = self.engine.advance(now);
        let answers: Vec<Answer> = passed
            .into_iter()
            .filter_map(|what| self.answer(what))
            .collect();
        while self.edges.get(self.edge).is_some_and(|edge| *edge <= now) {
            self.edge += 1;
        }
        let time = now.as_secs_f64();
        let within = |from: f64, to: f64| from <= time && time < to;
        let outages = &self.settings.outages;
        self.dead = outages.iter().any(|o| within(o.from, o.to));
        if self.dead {
            // The work in progress is lost without an answer.
            self.engine.clear();
            self.jobs.clear();
        }
        let brownouts = &self.settings.brownouts;
        let slow = brownouts.iter().find(|b| within(b.from, b.to));
        self.engine.drag = slow.map_or(1.0, |brownout| brownout.factor);
        let load = self.engine.running() + self.engine.waiting();
        self.boot.advance(load > 0, now);
        let each = stair(&self.settings.slots, time);
        if let Some(scaler) = &mut self.scaler {
            scaler.advance(load, each, now);
        }
        self.engine.fill(self.slots(now));
        answers
    }

    fn answer(&mut self, what: Passed) -> Option<Answer> {
        let (job, accepted, outcome) = match what {
            Passed::First(job) => (job, *self.jobs.get(&job)?, None),
            Passed::Finished(job) => {
                let accepted = self.jobs.remove(&job)?;
                let tokens = accepted.request.tokens;
                let served = Outcome::Success { tokens };
                let outcome = if accepted.fault {
                    Outcome::Fault
                } else {
                    served
                };
                (job, accepted, Some(outcome))
            }
        };
        Some(Answer {
            job,
            outcome,
            hints: accepted.hints,
        })
    }

    fn hints(&mut self, now: Timestamp) -> QuotaHints {
        let meter = self.meter.as_mut();
        meter.map_or_else(QuotaHints::default, |meter| meter.hints(now))
    }

    /// Accepts or refuses a request. `advance` must have been called for `now`.
    pub(crate) fn admit(&mut self, request: Request, now: Timestamp) -> Admission {
        if self.dead {
            let time = now.as_secs_f64();
            let mut outages = self.settings.outages.iter();
            let refused = outages.any(|o| o.refused && o.from <= time && time < o.to);
            return if refused {
                Admission::Refused(Outcome::Fault, QuotaHints::default())
            } else {
                Admission::Taken
            };
        }
        self.boot.wake(now);
        let ready = matches!(self.boot.awake, Awake::Ready(_));
        if !ready && !self.boot.holds() {
            return Admission::Refused(self.boot.refusal(now), QuotaHints::default());
        }
        let chance = self.settings.faults.refused_share;
        let keys = (crate::sim::key(request.call), request.job);
        if chance > 0.0 && Dice::new(self.seed, Purpose::Refusal, keys.0, keys.1).unit() < chance {
            self.unlucky += 1;
            let hints = self.hints(now);
            return Admission::Refused(Outcome::Limit, hints);
        }
        let loading = self.settings.faults.loading_share;
        if now < at(self.settings.faults.loading_until)
            && Dice::new(self.seed, Purpose::Loading, keys.0, keys.1).unit() < loading
        {
            // One replica of several loads.
            self.unlucky += 1;
            let cold = Outcome::Cold { estimated: None };
            return Admission::Refused(cold, QuotaHints::default());
        }
        if let Some(meter) = &mut self.meter
            && let Err(outcome) = meter.charge(request.cost, now)
        {
            let hints = meter.hints(now);
            return Admission::Refused(outcome, hints);
        }
        let slots = self.slots(now);
        let starts = self.engine.running() < slots;
        let waiting = u32::try_from(self.engine.waiting()).unwrap_or(u32::MAX);
        if !starts && ready && self.settings.line.is_some_and(|line| waiting >= line) {
            let hints = self.hints(now);
            return Admission::Refused(Outcome::Limit, hints);
        }
        let job = self.job(&request, now);
        let accepted = Accepted {
            request,
            fault: job.fault,
            hints: self.hints(now),
        };
        self.jobs.insert(request.job, accepted);
        if starts {
            self.engine.start(request.job, job);
        } else {
            self.engine.wait(request.job, job);
        }
        // The idle time before sleep begins after the last work.
        self.boot.advance(ready, now);
        Admission::Taken
    }

    fn job(&self, request: &Request, now: Timestamp) -> Job {
        let faults = &self.settings.faults;
        let keys = (crate::sim::key(request.call), u64::from(request.taken));
        let time = now.as_secs_f64();
        let bursting =
            faults.burst_period > 0.0 && time.rem_euclid(faults.burst_period) < faults.burst_time;
        let share = if bursting {
            faults.burst_share
        } else {
            faults.share
        };
        let fault = Dice::new(self.seed, Purpose::Fault, keys.0, keys.1).unit() < share;
        let slow = Dice::new(self.seed, Purpose::Slow, keys.0, keys.1).unit() < faults.slow_share;
        let prefill = self.settings.batch.map_or(0.0, |batch| batch.prefill);
        let stretch = if slow { faults.slow_factor } else { 1.0 };
        let done = if fault { faults.after } else { 1.0 };
        let all_stream = self.settings.batch.is_some_and(|batch| batch.streams);
        let streams = all_stream || request.streamed;
        let first = prefill + request.prompt * stretch;
        Job {
            work: (request.work * stretch * done + prefill).max(1e-6),
            first: (streams && !fault).then_some(first.max(1e-6)),
            fault,
        }
    }

    /// Records that the client has disconnected.
    pub(crate) fn cancel(&mut self, job: JobId, now: Timestamp) {
        if self.settings.ignores_cancel {
            return;
        }
        self.engine.cancel(job);
        self.jobs.remove(&job);
        self.engine.fill(self.slots(now));
    }

    /// Returns the time of the next state change without further calls.
    pub(crate) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let mark = self.engine.next_mark();
        let edge = self.edges.get(self.edge).copied();
        let boot = self.boot.next_change(now);
        let scaler = self.scaler.as_ref().map(Scaler::next_change);
        [mark, edge, boot, scaler].into_iter().flatten().min()
    }

    /// Returns `true` if a call would start at once. For the oracle only.
    pub(crate) fn would_start(&mut self, cost: u32, now: Timestamp) -> bool {
        let free = self.engine.running() < self.best(now) && self.engine.waiting() == 0;
        free && self
            .meter
            .as_mut()
            .is_none_or(|meter| meter.holds(cost, now))
    }

    /// Returns `true` if the backend is asleep and a call would wake it. For the oracle only.
    pub(crate) fn asleep(&self) -> bool {
        !self.dead && self.boot.awake == Awake::Asleep
    }

    /// Returns the shortest time in seconds in which `work` can be done from now. For the oracle only.
    pub(crate) fn least_time(&self, work: f64) -> f64 {
        let prefill = self.settings.batch.map_or(0.0, |batch| batch.prefill);
        (work + prefill) / self.engine.speed(self.engine.running() + 1, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_time_when_the_call_was_counted() {
        let text = "name = \"T\"\ntitle = \"test\"\nduration = 200\ndeadline = 20\ntimeout = 20\nvalue = \"calls\"\n\
            [[tenants]]\nrate = [[0, 9]]\n[backend]\nslots = [[0, 64]]\n[backend.quota]\nper_minute = 300\nburst = 30\n\
            telling = \"headers\"";
        let scenario = crate::sim::suite::parse("test", text).unwrap();
        let mut backend = Backend::new(&scenario, 1);
        let request = |job: JobId| Request {
            job,
            call: 0,
            taken: 0,
            work: 5.0,
            cost: 1,
            tokens: None,
            prompt: 0.0,
            streamed: false,
        };
        backend.advance(at(1.0));
        for job in 0..10 {
            backend.admit(request(job), at(1.0));
        }
        let answers = backend.advance(at(6.5));
        let left = |answer: &Answer| answer.hints.requests.map(|hint| hint.remaining);
        assert_eq!(answers.first().and_then(left), Some(29.0));
        assert_eq!(answers.last().and_then(left), Some(20.0));
    }
}
