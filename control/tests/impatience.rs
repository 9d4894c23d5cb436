//! A healthy backend whose service times do not depend on what is in flight: whoever leaves, and whatever is mixed, the
//! lane must serve about as much as with a limit that never binds.

#![expect(clippy::unwrap_used, reason = "a test says why it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use kebne_control::{
    AfterAttempt, AttemptId, CallId, Controller, ControllerSettings, Kind, Law, Message,
    OfferedCall, Outcome, Pool, PoolSettings, QuotaHints, Span, Timestamp,
};

/// What happens in the life of a call, by the number of its connection.
#[derive(Clone, Copy, Debug)]
enum Event {
    Offer(usize),
    FirstPart(AttemptId),
    End(AttemptId),
    Leave(usize, u64),
}

/// How callers behave.
#[derive(Clone, Copy, Debug)]
struct Callers {
    connections: usize,
    /// Share of the calls that is streamed.
    streamed: f64,
    /// Share of the callers that leaves within 60 ms, and that leaves with the first bytes.
    leave_early: f64,
    leave_begun: f64,
    /// Seconds of most calls, and of one in twenty.
    usual: f64,
    slow: f64,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    /// Counts the calls of the connection.
    number: u64,
    streamed: bool,
    leaves_begun: bool,
    takes: f64,
    id: Option<CallId>,
    attempt: Option<AttemptId>,
}

struct Bench {
    callers: Callers,
    controller: Controller,
    pool: Pool<usize>,
    dice: fastrand::Rng,
    now: f64,
    agenda: BTreeMap<(u64, u64), Event>,
    made: u64,
    calls: Vec<Call>,
    running: BTreeMap<AttemptId, usize>,
    answered: u64,
    lowest: u32,
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

impl Bench {
    fn new(callers: Callers, law: Law, seed: u64) -> Self {
        let settings = ControllerSettings {
            law,
            limit_initial: if law == Law::Fixed { 200 } else { 2 },
            ..ControllerSettings::default()
        };
        let controller = Controller::new(&settings, None, at(0.0));
        let pool = Pool::new(&PoolSettings::default(), controller.grant(), at(0.0));
        let call = Call {
            number: 0,
            streamed: false,
            leaves_begun: false,
            takes: 0.0,
            id: None,
            attempt: None,
        };
        let mut bench = Self {
            callers,
            controller,
            pool,
            dice: fastrand::Rng::with_seed(seed),
            now: 0.0,
            agenda: BTreeMap::new(),
            made: 0,
            calls: vec![call; callers.connections],
            running: BTreeMap::new(),
            answered: 0,
            lowest: u32::MAX,
        };
        for connection in 0..callers.connections {
            let start = bench.dice.f64() * 0.1;
            bench.plan(start, Event::Offer(connection));
        }
        bench
    }

    fn plan(&mut self, time: f64, event: Event) {
        self.made += 1;
        self.agenda.insert((at(time).as_nanos(), self.made), event);
    }

    fn tell(&mut self, message: Message) {
        let dice = &mut self.dice;
        self.controller
            .step(message, at(self.now), &mut || dice.f64());
        self.pool.set_grant(self.controller.grant(), at(self.now));
    }

    /// Runs until a time; returns the answers per second and the lowest limit of the last half.
    fn run(&mut self, until: f64) -> (f64, u32) {
        let mut half = 0;
        while let Some(((time, _), event)) = self.agenda.pop_first() {
            self.now = Duration::from_nanos(time).as_secs_f64();
            if self.now >= until {
                break;
            }
            if self.now < until / 2.0 {
                half = self.answered;
            } else {
                self.lowest = self.lowest.min(self.controller.grant().concurrency);
            }
            self.happens(event);
            self.pump();
        }
        let answers = u32::try_from(self.answered - half).unwrap();
        (f64::from(answers) / (until / 2.0), self.lowest)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Offer(connection) => self.offer(connection),
            Event::FirstPart(attempt) => {
                if let Some(&connection) = self.running.get(&attempt) {
                    let span = Span::until(at(self.now));
                    self.pool.first_part(attempt, at(self.now));
                    self.tell(Message::FirstPart { attempt, span });
                    if self.calls[connection].leaves_begun {
                        self.leave(connection);
                    }
                }
            }
            Event::End(attempt) => {
                if self.running.contains_key(&attempt) {
                    self.answered += 1;
                    self.end(attempt, Outcome::Success { tokens: None });
                }
            }
            Event::Leave(connection, number) => {
                if self.calls[connection].number == number {
                    self.leave(connection);
                }
            }
        }
    }

    fn offer(&mut self, connection: usize) {
        let callers = self.callers;
        let number = self.calls[connection].number + 1;
        let streamed = self.dice.f64() < callers.streamed;
        let manner = self.dice.f64();
        let slow = self.dice.f64() < 0.05;
        let spread = 0.7 + 0.6 * self.dice.f64();
        let offer = OfferedCall {
            payload: connection,
            deadline: at(self.now + 10.0),
            bytes: 1,
            tokens: 0,
            output_tokens_max: 0,
            tenant: 0,
            priority: 0,
            weight: 1.0,
            refuse_when_cold: false,
            hedge: false,
            kind: Kind {
                class: u32::from(streamed),
                ..Kind::default()
            },
        };
        let id = self.pool.offer(offer, at(self.now)).ok();
        self.calls[connection] = Call {
            number,
            streamed,
            leaves_begun: manner > 1.0 - callers.leave_begun,
            takes: spread * if slow { callers.slow } else { callers.usual },
            id,
            attempt: None,
        };
        if id.is_none() {
            self.again(connection);
        } else if manner < callers.leave_early {
            let leaves = self.now + 0.06 * self.dice.f64();
            self.plan(leaves, Event::Leave(connection, number));
        }
    }

    fn again(&mut self, connection: usize) {
        self.calls[connection].number += 1;
        let next = self.now + 0.001 + 0.002 * self.dice.f64();
        self.plan(next, Event::Offer(connection));
    }

    fn leave(&mut self, connection: usize) {
        let call = self.calls[connection];
        match (call.attempt, call.id) {
            (Some(attempt), _) => self.end(attempt, Outcome::Cancelled),
            (None, Some(id)) => {
                assert!(self.pool.cancel(id, at(self.now)).is_some());
                self.again(connection);
            }
            (None, None) => {}
        }
    }

    fn end(&mut self, attempt: AttemptId, outcome: Outcome) {
        let connection = self.running.remove(&attempt).unwrap();
        let message = Message::Ended {
            attempt,
            span: Span::until(at(self.now)),
            outcome,
            quota: QuotaHints::default(),
        };
        self.tell(message);
        let after = self.pool.ended(
            attempt,
            connection,
            outcome,
            false,
            at(self.now),
            &mut || 0.5,
        );
        assert!(matches!(after, AfterAttempt::Done(_)), "{after:?}");
        self.again(connection);
    }

    fn pump(&mut self) {
        while let Some(sent) = self.pool.next(at(self.now)) {
            let call = &mut self.calls[sent.payload];
            call.attempt = Some(sent.attempt);
            let call = *call;
            self.running.insert(sent.attempt, sent.payload);
            self.tell(Message::Dispatched {
                attempt: sent.attempt,
                in_flight: sent.in_flight,
                tokens: 0,
                probe: sent.probe,
                kind: sent.kind,
            });
            if call.streamed {
                self.plan(self.now + 0.2 * call.takes, Event::FirstPart(sent.attempt));
            }
            self.plan(self.now + call.takes, Event::End(sent.attempt));
        }
        for (connection, _) in self.pool.expire(at(self.now)) {
            self.again(connection);
        }
        let queued = u32::try_from(self.pool.queued()).unwrap();
        self.tell(Message::Demand { queued });
    }
}

/// Returns the answers per second with the adaptive law and with a limit of 200, and the lowest adaptive limit.
fn compare(callers: Callers, seed: u64, until: f64) -> (f64, f64, u32) {
    let (adaptive, lowest) = Bench::new(callers, Law::Adaptive, seed).run(until);
    let (fixed, _) = Bench::new(callers, Law::Fixed, seed).run(until);
    (adaptive, fixed, lowest)
}

const IMPATIENT: Callers = Callers {
    connections: 200,
    streamed: 0.5,
    leave_early: 0.33,
    leave_begun: 0.33,
    usual: 0.03,
    slow: 1.5,
};

#[test]
fn callers_that_leave_do_not_lower_the_limit_of_a_healthy_backend() {
    for seed in 0..2 {
        let (adaptive, fixed, lowest) = compare(IMPATIENT, seed, 40.0);
        assert!(
            adaptive >= 0.9 * fixed,
            "{adaptive:.0} answers per second, {fixed:.0} with a limit of 200; lowest limit {lowest}"
        );
    }
}

#[test]
fn kinds_that_differ_a_thousand_times_do_not_lower_it_either() {
    for (streamed, leave) in [(0.0, 0.0), (0.2, 0.0), (0.9, 0.2), (0.5, 0.45)] {
        let callers = Callers {
            connections: 60,
            streamed,
            leave_early: leave,
            leave_begun: leave,
            usual: 0.01,
            slow: 3.0,
        };
        let (adaptive, fixed, lowest) = compare(callers, 7, 60.0);
        assert!(
            adaptive >= 0.9 * fixed,
            "streams {streamed}, leaving {leave}: {adaptive:.0} of {fixed:.0}; lowest limit {lowest}"
        );
    }
}
