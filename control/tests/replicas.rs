//! Two replicas of different speed in virtual time, each behind a lane of its own, with calls placed and moved as the gateway does
//! it: together they serve what each serves alone, and no call is sent to where it cannot be answered in time.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says why it fails"
)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kebne_control::balance;
use kebne_control::{
    AfterAttempt, AttemptId, CallId, Controller, ControllerSettings, Effect, Kind, Message,
    OfferedCall, Outcome, Pool, PoolSettings, QuotaHints, Replica, Span, Timestamp,
};

/// Seconds that a caller waits, and seconds of the run.
const PATIENCE: f64 = 6.0;
const LENGTH: f64 = 60.0;
/// The number of times that a call may move, as in the gateway.
const MOVES_MAX: u32 = 8;

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrive,
    Look(usize),
    End(usize, AttemptId, bool),
    Wake(usize),
}

/// A backend with slots and a line without bound, behind its lane.
struct Lane {
    slots: usize,
    takes: f64,
    controller: Controller,
    pool: Pool<usize>,
    busy: Vec<AttemptId>,
    line: VecDeque<AttemptId>,
    running: BTreeMap<AttemptId, (usize, f64)>,
    live: u32,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    due: f64,
    /// The lane that it waits in, and its number there.
    place: Option<(usize, CallId)>,
    waits: bool,
    moves: u32,
    excluded: [bool; 2],
}

struct Bench {
    lanes: Vec<Lane>,
    calls: Vec<Call>,
    agenda: BTreeMap<(u64, u64), Event>,
    made: u64,
    dice: fastrand::Rng,
    now: f64,
    rate: f64,
    served: u32,
    timed_out: u32,
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

impl Bench {
    /// Creates replicas of `slots` that take `takes` seconds for each call, with `load` times the calls that they can serve.
    fn new(backends: &[(usize, f64)], load: f64, seed: u64) -> Self {
        let settings = ControllerSettings::default();
        let lanes = backends.iter().map(|&(slots, takes)| {
            let controller = Controller::new(&settings, None, at(0.0));
            let pool = Pool::new(&PoolSettings::default(), controller.grant(), at(0.0));
            Lane {
                slots,
                takes,
                controller,
                pool,
                busy: Vec::new(),
                line: VecDeque::new(),
                running: BTreeMap::new(),
                live: 0,
            }
        });
        let rates = backends
            .iter()
            .map(|(slots, takes)| f64::from(u32::try_from(*slots).unwrap()) / takes);
        let mut bench = Self {
            lanes: lanes.collect(),
            calls: Vec::new(),
            agenda: BTreeMap::new(),
            made: 0,
            dice: fastrand::Rng::with_seed(seed),
            now: 0.0,
            rate: load * rates.sum::<f64>(),
            served: 0,
            timed_out: 0,
        };
        bench.plan(0.0, Event::Arrive);
        bench
    }

    fn plan(&mut self, time: f64, event: Event) {
        self.made += 1;
        self.agenda.insert((at(time).as_nanos(), self.made), event);
    }

    fn run(&mut self) {
        while let Some(((time, _), event)) = self.agenda.pop_first() {
            self.now = Duration::from_nanos(time).as_secs_f64();
            match event {
                Event::Arrive if self.now > LENGTH => {}
                Event::Arrive => self.arrive(),
                Event::Look(call) => self.look(call),
                Event::End(lane, attempt, in_time) => self.end(lane, attempt, in_time),
                Event::Wake(lane) => self.pump(lane),
            }
        }
    }

    fn arrive(&mut self) {
        let gap = -(1.0 - self.dice.f64()).ln() / self.rate;
        self.plan(self.now + gap, Event::Arrive);
        self.calls.push(Call {
            due: self.now + PATIENCE,
            place: None,
            waits: false,
            moves: 0,
            excluded: [false; 2],
        });
        self.place(self.calls.len() - 1, None);
    }

    fn replica(&self, lane: usize) -> Replica {
        let lane = &self.lanes[lane];
        let grant = lane.controller.grant();
        Replica {
            state: grant.state,
            limit: grant.concurrency,
            live: lane.live,
            service_time: grant.service_time,
            delivered_rate: grant.delivered_rate,
            ready_in: None,
            weight: 1.0,
        }
    }

    /// Offers a call to the better one of the lanes that have not refused it.
    fn place(&mut self, call: usize, came_from: Option<usize>) {
        loop {
            let is_open = |lane: &usize| !self.calls[call].excluded[*lane];
            let mut open: Vec<_> = (0..self.lanes.len()).filter(is_open).collect();
            if open.len() > 1 {
                open.retain(|lane| Some(*lane) != came_from);
            }
            let replicas: Vec<_> = open.iter().map(|lane| self.replica(*lane)).collect();
            let Some(chosen) = balance::choose(&replicas, [0, 0]) else {
                return;
            };
            let lane = open[chosen];
            let offer = OfferedCall {
                payload: call,
                deadline: at(self.calls[call].due),
                bytes: 1,
                tokens: 0,
                output_tokens_max: 0,
                tenant: 0,
                priority: 0,
                weight: 1.0,
                refuse_when_cold: false,
                hedge: false,
                kind: Kind::default(),
            };
            let Ok(id) = self.lanes[lane].pool.offer(offer, at(self.now)) else {
                self.calls[call].excluded[lane] = true;
                continue;
            };
            self.lanes[lane].live += 1;
            self.calls[call].place = Some((lane, id));
            self.calls[call].waits = true;
            self.pump(lane);
            self.look_later(call);
            return;
        }
    }

    fn look_later(&mut self, call: usize) {
        if self.lanes.len() > 1 && self.calls[call].waits && self.calls[call].moves < MOVES_MAX {
            let look = self.now + 0.05 + 0.15 * self.dice.f64();
            self.plan(look, Event::Look(call));
        }
    }

    fn look(&mut self, call: usize) {
        let Call {
            place,
            waits,
            excluded,
            ..
        } = self.calls[call];
        let Some((here, id)) = place.filter(|_| waits) else {
            return;
        };
        let there = 1 - here;
        let (stays, goes) = (self.replica(here), self.replica(there));
        if excluded[there] || !balance::is_worth_moving(&stays, &goes, Duration::ZERO) {
            return self.look_later(call);
        }
        self.lanes[here].pool.cancel(id, at(self.now)).unwrap();
        self.lanes[here].live -= 1;
        self.calls[call].moves += 1;
        self.calls[call].waits = false;
        self.place(call, Some(here));
        self.pump(here);
    }

    fn tell(&mut self, lane: usize, message: Message) {
        let (now, dice) = (at(self.now), &mut self.dice);
        let lane = &mut self.lanes[lane];
        let effects = lane.controller.step(message, now, &mut || dice.f64());
        for effect in effects {
            if let Effect::Grant(grant) = effect {
                lane.pool.set_grant(grant, now);
            }
        }
    }

    /// Refuses what cannot be served, sends what may be sent, and comes back when something is due.
    fn pump(&mut self, lane: usize) {
        let now = at(self.now);
        loop {
            let queued = u32::try_from(self.lanes[lane].pool.queued()).unwrap();
            self.tell(lane, Message::Demand { queued });
            let Some(sent) = self.lanes[lane].pool.next(now) else {
                break;
            };
            let message = Message::Dispatched {
                attempt: sent.attempt,
                in_flight: sent.in_flight,
                tokens: 0,
                probe: sent.probe,
                kind: Kind::default(),
            };
            self.tell(lane, message);
            self.calls[sent.payload].waits = false;
            let timeout = self.now + sent.timeout.as_secs_f64();
            self.plan(timeout, Event::End(lane, sent.attempt, false));
            let it = &mut self.lanes[lane];
            it.running.insert(sent.attempt, (sent.payload, self.now));
            it.line.push_back(sent.attempt);
            self.serve(lane);
        }
        for (call, _) in self.lanes[lane].pool.expire(now) {
            self.lanes[lane].live -= 1;
            self.calls[call].waits = false;
            self.calls[call].excluded[lane] = true;
            self.place(call, None);
        }
        if let Some(due) = self.lanes[lane].pool.next_wakeup(now) {
            let due = due.max(now.after(Duration::from_millis(1)));
            self.made += 1;
            let key = (due.as_nanos(), self.made);
            self.agenda.insert(key, Event::Wake(lane));
        }
    }

    /// Has free slots take calls from the backend's line.
    fn serve(&mut self, lane: usize) {
        while self.lanes[lane].busy.len() < self.lanes[lane].slots {
            let Some(attempt) = self.lanes[lane].line.pop_front() else {
                return;
            };
            self.lanes[lane].busy.push(attempt);
            let takes = self.lanes[lane].takes * (0.8 + 0.4 * self.dice.f64());
            self.plan(self.now + takes, Event::End(lane, attempt, true));
        }
    }

    fn end(&mut self, lane: usize, attempt: AttemptId, in_time: bool) {
        let Some((call, sent)) = self.lanes[lane].running.remove(&attempt) else {
            return;
        };
        self.lanes[lane].busy.retain(|other| *other != attempt);
        self.lanes[lane].line.retain(|other| *other != attempt);
        self.serve(lane);
        let outcome = if in_time {
            self.served += 1;
            Outcome::Success { tokens: None }
        } else {
            self.timed_out += 1;
            Outcome::Timeout
        };
        let now = at(self.now);
        let span = Span {
            sent: at(sent),
            at: now,
        };
        let quota = QuotaHints::default();
        self.tell(
            lane,
            Message::Ended {
                attempt,
                span,
                outcome,
                quota,
            },
        );
        let dice = &mut self.dice;
        let pool = &mut self.lanes[lane].pool;
        match pool.ended(attempt, call, outcome, false, now, &mut || dice.f64()) {
            AfterAttempt::Done(_) | AfterAttempt::Exhausted(..) => self.lanes[lane].live -= 1,
            other => panic!("{other:?}"),
        }
        self.pump(lane);
    }
}

/// Runs backends with `load` times the calls that they can serve; returns the calls served, and those that timed out.
fn run(backends: &[(usize, f64)], load: f64, seed: u64) -> (u32, u32) {
    let mut bench = Bench::new(backends, load, seed);
    bench.run();
    (bench.served, bench.timed_out)
}

#[test]
fn an_overloaded_backend_whose_calls_take_a_third_of_their_deadlines_serves_what_it_can() {
    let (mut served, mut timed_out) = (0, 0);
    for seed in 0..2 {
        let one = run(&[(10, 2.0)], 2.0, seed);
        (served, timed_out) = (served + one.0, timed_out + one.1);
    }
    // It can serve 300 in a minute, and those that were sent before its end.
    assert!(
        served >= 2 * 260 && timed_out <= 2 * 30,
        "{served} {timed_out}"
    );
}

#[test]
fn calls_at_the_slower_one_of_two_replicas_seldom_time_out() {
    let (mut served, mut timed_out) = (0, 0);
    for seed in 0..2 {
        let both = run(&[(10, 0.25), (10, 2.0)], 1.1, seed);
        (served, timed_out) = (served + both.0, timed_out + both.1);
    }
    assert!(timed_out <= 2 * 50, "{served} {timed_out}");
}
