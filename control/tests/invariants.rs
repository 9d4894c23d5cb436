//! What holds of controller and pool together, whatever happens in whatever order.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kebne_control::{
    AfterAttempt, AttemptId, BucketHint, Controller, ControllerSettings, Dispatch, Effect, Hedge,
    Kind, Law, Message, OfferedCall, Order, Outcome, Permission, Pool, PoolSettings, QuotaHints,
    Span, Timestamp,
};
use proptest::prelude::*;

/// Something that happens to a lane.
#[derive(Clone, Debug)]
enum Event {
    /// Time goes by.
    Pass(u16),
    /// A call asks to be let in.
    Offer {
        patience: u16,
        tenant: u8,
        priority: u8,
        bytes: u8,
        hedge: bool,
    },
    /// The oldest attempts but so many ends.
    End { place: u8, outcome: u8 },
    /// A caller goes away.
    Leave(u8),
    /// The first part of an answer comes.
    FirstPart(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..5000_u16).prop_map(Event::Pass),
        5 => (1..20_000_u16, 0..3_u8, 0..2_u8, any::<u8>(), any::<bool>()).prop_map(
            |(patience, tenant, priority, bytes, hedge)| Event::Offer { patience, tenant, priority, bytes, hedge }
        ),
        5 => (any::<u8>(), any::<u8>()).prop_map(|(place, outcome)| Event::End { place, outcome }),
        1 => any::<u8>().prop_map(Event::Leave),
        1 => any::<u8>().prop_map(Event::FirstPart),
    ]
}

const LAWS: [Law; 2] = [Law::Adaptive, Law::Fixed];

fn outcome(number: u8) -> Outcome {
    let second = Duration::from_secs(1);
    match number % 18 {
        0..8 => Outcome::Success {
            tokens: Some(u32::from(number)),
        },
        8 => Outcome::Fault,
        9 => Outcome::Timeout,
        10 => Outcome::Limit,
        11 => Outcome::Rate {
            retry_after: Some(second),
            slow_down: number > 128,
        },
        12 => Outcome::Cold {
            estimated: (number > 128).then_some(3 * second),
        },
        13 => Outcome::Client,
        15 => Outcome::Unusable,
        16 => Outcome::Misconfigured,
        14 => Outcome::Cancelled,
        _ => Outcome::Quota {
            reset: Some(2 * second),
        },
    }
}

/// Some answers tell of a quota, far above what is sent.
fn hints(number: u8) -> QuotaHints {
    let wide = BucketHint {
        limit: 60_000.0,
        remaining: 50_000.0,
        reset: None,
        window: Some(Duration::from_mins(1)),
    };
    QuotaHints {
        requests: (number > 192).then_some(wide),
        tokens: None,
    }
}

struct Lane {
    now: Timestamp,
    controller: Controller,
    pool: Pool<u64>,
    settings: (ControllerSettings, PoolSettings),
    chance: fastrand::Rng,
    offered: u64,
    /// How often each call ended.
    endings: BTreeMap<u64, u32>,
    running: BTreeMap<AttemptId, u64>,
    /// Attempts whose call has ended through the other attempt.
    moot: BTreeSet<AttemptId>,
    hedged: BTreeSet<u64>,
    /// Tenant and priority of each call, and whether it was sent.
    kinds: BTreeMap<u64, (u8, u8)>,
    sent: BTreeSet<u64>,
    /// When each call came, and when its caller leaves.
    times: BTreeMap<u64, (Timestamp, Timestamp)>,
    /// Calls that went before an older one of their kind.
    overtook: u32,
    waiting: BTreeSet<u64>,
    ids: BTreeMap<u64, kebne_control::CallId>,
    /// Attempts of each call that ended in more than a refusal.
    used: BTreeMap<u64, u32>,
    /// When the provider last asked to slow down, and the rate that this left.
    slow_down: Option<(Timestamp, f64)>,
    log: Vec<String>,
}

impl Lane {
    fn new(law: Law, order: Order) -> Self {
        let controller = ControllerSettings {
            law,
            limit_max: 20,
            ..ControllerSettings::default()
        };
        let pool = PoolSettings {
            queue_max: 10,
            queue_bytes_max: 600,
            order,
            hedge_ratio: 0.2,
            ..PoolSettings::default()
        };
        let now = Timestamp::from_secs_f64(1000.0);
        let machine = Controller::new(&controller, None, now);
        Self {
            now,
            pool: Pool::new(&pool, machine.grant(), now),
            controller: machine,
            settings: (controller, pool),
            chance: fastrand::Rng::with_seed(7),
            offered: 0,
            endings: BTreeMap::new(),
            running: BTreeMap::new(),
            moot: BTreeSet::new(),
            hedged: BTreeSet::new(),
            kinds: BTreeMap::new(),
            sent: BTreeSet::new(),
            times: BTreeMap::new(),
            overtook: 0,
            waiting: BTreeSet::new(),
            ids: BTreeMap::new(),
            used: BTreeMap::new(),
            slow_down: None,
            log: Vec::new(),
        }
    }

    /// Lets it see enough answers, each after 100 ms, to know when an attempt is late.
    fn teach(&mut self) {
        for _ in 0..60 {
            self.happens(&Event::Offer {
                patience: 20_000,
                tenant: 0,
                priority: 0,
                bytes: 1,
                hedge: true,
            });
            self.happens(&Event::Pass(100));
            self.happens(&Event::End {
                place: 0,
                outcome: 0,
            });
        }
    }

    fn tell(&mut self, message: Message) {
        let chance = &mut self.chance;
        let effects = self
            .controller
            .step(message, self.now, &mut || chance.f64());
        for effect in effects {
            self.log.push(format!("{effect:?}"));
            if let Effect::Grant(grant) = effect {
                assert!(
                    (1..=self.settings.0.limit_max).contains(&grant.concurrency),
                    "{grant:?}"
                );
                self.pool.set_grant(grant, self.now);
            }
        }
    }

    fn end(&mut self, call: u64) {
        *self.endings.entry(call).or_default() += 1;
        self.waiting.remove(&call);
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Pass(millis) => {
                self.now = self.now.after(Duration::from_millis(millis.into()));
                self.tell(Message::Wakeup);
            }
            Event::Offer {
                patience,
                tenant,
                priority,
                bytes,
                hedge,
            } => {
                let call = self.offered;
                self.offered += 1;
                self.kinds.insert(call, (tenant, priority));
                let deadline = self.now.after(Duration::from_millis(patience.into()));
                self.times.insert(call, (self.now, deadline));
                let offer = OfferedCall {
                    payload: call,
                    deadline,
                    bytes: bytes.into(),
                    tokens: 100 + u32::from(bytes),
                    output_tokens_max: bytes.into(),
                    tenant: tenant.into(),
                    priority,
                    weight: f64::from(tenant % 3) + 0.5,
                    refuse_when_cold: false,
                    hedge,
                    kind: Kind::default(),
                };
                match self.pool.offer(offer, self.now) {
                    Ok(id) => {
                        self.waiting.insert(call);
                        self.ids.insert(call, id);
                    }
                    Err((payload, refusal)) => {
                        self.log.push(format!("{refusal:?}"));
                        self.end(payload);
                    }
                }
            }
            Event::End {
                place,
                outcome: number,
            } => self.ends(place, outcome(number), hints(number)),
            Event::Leave(place) => self.leaves(place),
            Event::FirstPart(place) => {
                if let Some(attempt) = nth(self.running.keys(), place) {
                    self.pool.first_part(attempt, self.now);
                    let span = Span::until(self.now);
                    self.tell(Message::FirstPart { attempt, span });
                }
            }
        }
        self.pump();
        self.check();
        self.check_slow_down();
    }

    fn ends(&mut self, place: u8, outcome: Outcome, quota: QuotaHints) {
        let Some(attempt) = nth(self.running.keys(), place) else {
            return;
        };
        let call = self.running.remove(&attempt).unwrap();
        let moot = self.moot.remove(&attempt);
        let chance = &mut self.chance;
        let after = self
            .pool
            .ended(attempt, call, outcome, false, self.now, &mut || {
                chance.f64()
            });
        self.log.push(format!("{after:?}"));
        if !outcome.is_refusal() {
            *self.used.entry(call).or_default() += 1;
        }
        if moot {
            assert!(matches!(after, AfterAttempt::Doubled), "decided twice");
        }
        match after {
            AfterAttempt::Doubled => {
                let other = self.running.values().any(|other| *other == call);
                assert!(moot || other, "nobody is left to decide");
            }
            AfterAttempt::Done(call) => {
                let others = self.running.iter().filter(|(_, other)| **other == call);
                self.moot.extend(others.map(|(other, _)| *other));
                self.end(call);
            }
            AfterAttempt::Exhausted(call, _) => self.end(call),
            AfterAttempt::Held(_) | AfterAttempt::Retry { .. } => {
                self.waiting.insert(call);
            }
        }
        self.tell(Message::Ended {
            attempt,
            span: Span::until(self.now),
            outcome,
            quota,
        });
        let asked = matches!(
            outcome,
            Outcome::Rate {
                slow_down: true,
                ..
            }
        );
        if let Some(bucket) = self.controller.grant().requests.filter(|_| asked) {
            self.slow_down = Some((self.now, bucket.rate));
        }
    }

    /// Never more than half more within one period of a request to slow down.
    fn check_slow_down(&self) {
        let Some((at, rate)) = self.slow_down else {
            return;
        };
        // A request within a second of another one does not count.
        let since = self.now.since(at).as_secs_f64() + 1.0;
        let periods = since / self.settings.0.slow_down_period.as_secs_f64();
        let ceiling = rate * 1.5_f64.powf(1.0 + periods.floor());
        let bucket = self.controller.grant().requests;
        assert!(
            periods >= 4.0 || bucket.is_some_and(|bucket| bucket.rate <= 1.02 * ceiling),
            "{bucket:?} above {ceiling} {since} s after a request at {rate}"
        );
    }

    fn leaves(&mut self, place: u8) {
        if let Some(call) = nth(self.waiting.iter(), place) {
            let taken = self.pool.cancel(self.ids[&call], self.now);
            assert_eq!(taken, Some(call), "a waiting call is in the pool");
            self.end(call);
        } else if let Some(attempt) = nth(self.running.keys(), place) {
            let call = self.running.remove(&attempt).unwrap();
            let (outcome, quota) = (Outcome::Cancelled, QuotaHints::default());
            if self.moot.remove(&attempt) {
                // Its call has ended: it is the loser that is cancelled.
                self.pool
                    .ended(attempt, call, outcome, false, self.now, &mut || 0.5);
            } else {
                self.pool.released(attempt, self.now);
                let others = self.running.iter().filter(|(_, other)| **other == call);
                self.moot.extend(others.map(|(other, _)| *other));
                self.end(call);
            }
            self.tell(Message::Ended {
                attempt,
                span: Span::until(self.now),
                outcome,
                quota,
            });
        }
    }

    /// Sends what may be sent, as a worker pool does.
    fn pump(&mut self) {
        // A call that expires while it is held gives its slot to one that waits.
        while self.send_and_expire() {}
        while let Some(hedge) = self.pool.hedge(self.now) {
            self.double(hedge);
        }
        let due = self.pool.next_wakeup(self.now);
        assert!(
            due.is_none_or(|due| due > self.now),
            "all that was due was done, yet it asks for {due:?}: {:?}",
            self.pool.grant()
        );
        let queued = u32::try_from(self.pool.queued()).unwrap();
        self.tell(Message::Demand { queued });
    }

    /// Sends what may be sent, and ends what has expired; returns `true` if anything has.
    fn send_and_expire(&mut self) -> bool {
        let mut turns = Vec::new();
        loop {
            let grant = self.pool.grant();
            let before = self.pool.in_flight();
            let Some(sent) = self.pool.next(self.now) else {
                break;
            };
            match grant.permission {
                Permission::Open => assert!(sent.in_flight <= grant.concurrency, "{grant:?}"),
                Permission::SingleFlight { not_before } => {
                    assert!(self.now >= not_before && sent.probe, "{grant:?}");
                }
                Permission::Paused { until } | Permission::Closed { until } => {
                    assert!(self.now >= until && before == 0, "{grant:?}");
                }
            }
            let used = self.used.get(&sent.payload).copied().unwrap_or(0);
            assert_eq!(sent.number, used + 1, "a refusal uses no attempt");
            assert!(
                self.waiting.remove(&sent.payload),
                "sent while it was not waiting"
            );
            if self.sent.insert(sent.payload) && !sent.probe && !self.is_short(sent.payload) {
                turns.push((sent.payload, self.rivals(sent.payload)));
            }
            self.dispatched(&sent);
        }
        let mut expired = BTreeSet::new();
        for (call, refusal) in self.pool.expire(self.now) {
            self.log.push(format!("{call} {refusal:?}"));
            self.end(call);
            expired.insert(call);
        }
        for (call, mut rivals) in turns {
            rivals.retain(|rival| !expired.contains(rival));
            self.check_turn(call, &rivals);
        }
        !expired.is_empty()
    }

    /// Returns the calls that a call goes before, of those of its tenant and priority that were not sent yet.
    fn rivals(&self, call: u64) -> BTreeSet<u64> {
        let fresh = self.waiting.difference(&self.sent);
        let kind = self.kinds[&call];
        let rivals = fresh.filter(|c| self.kinds[c] == kind && !self.is_short(**c));
        rivals.copied().collect()
    }

    /// A call below the deadline margin lets others go first.
    fn is_short(&self, call: u64) -> bool {
        let (arrived, deadline) = self.times[&call];
        let share = self.settings.1.deadline_margin_share;
        let whole = deadline.since(arrived).mul_f64(share);
        let margin = self.pool.grant().service_time_high.min(whole);
        deadline.since(self.now) < margin
    }

    fn check_turn(&mut self, call: u64, rivals: &BTreeSet<u64>) {
        let oldest = rivals.iter().all(|rival| *rival > call);
        let newest = rivals.iter().all(|rival| *rival < call);
        self.overtook += u32::from(!oldest);
        let is_trial = self.pool.grant().trial_above.is_some();
        let newest_may =
            (self.settings.1.order == Order::NewestFirst || is_trial) && self.kinds[&call].1 == 0;
        assert!(
            oldest || (newest_may && newest),
            "{call} went before {rivals:?}"
        );
    }

    /// Sends a second attempt.
    fn double(&mut self, hedge: Hedge) {
        let grant = self.pool.grant();
        assert_eq!(grant.permission, Permission::Open);
        assert!(hedge.dispatch.in_flight <= grant.concurrency, "{grant:?}");
        assert!(self.waiting.is_empty(), "a hedge went before a call");
        let call = self.running[&hedge.doubles];
        assert!(self.hedged.insert(call), "hedged twice");
        assert!(!self.moot.contains(&hedge.doubles), "its call has ended");
        self.dispatched(&hedge.dispatch.with(call));
    }

    fn dispatched(&mut self, sent: &Dispatch<u64>) {
        self.running.insert(sent.attempt, sent.payload);
        self.log.push(format!("{sent:?}"));
        self.tell(Message::Dispatched {
            attempt: sent.attempt,
            in_flight: sent.in_flight,
            tokens: 10,
            probe: sent.probe,
            kind: sent.kind,
        });
    }

    fn check(&self) {
        let report = self.pool.report(self.now);
        assert_eq!(report.queued, self.waiting.len());
        assert_eq!(self.pool.in_flight() as usize, self.running.len());
        assert!(
            self.endings.values().all(|count| *count == 1),
            "{:?}",
            self.endings
        );
        let running = self
            .running
            .iter()
            .filter(|(attempt, _)| !self.moot.contains(attempt));
        let calls: BTreeSet<_> = running.map(|(_, call)| *call).collect();
        let live = (self.waiting.len() + calls.len()) as u64;
        assert_eq!(
            self.offered,
            self.endings.len() as u64 + live,
            "a call was lost"
        );
        assert!(
            (0.0..=self.settings.1.retry_cap).contains(&report.retry_budget),
            "{report:?}"
        );
        assert!(report.queued_bytes <= self.settings.1.queue_bytes_max * 2);
    }
}

/// Returns the item at a place, counted round and round.
fn nth<'a, T: Copy + 'a>(items: impl ExactSizeIterator<Item = &'a T>, place: u8) -> Option<T> {
    let count = items.len();
    let mut items = items;
    (count > 0).then(|| *items.nth(usize::from(place) % count).unwrap())
}

fn run(law: Law, order: Order, taught: bool, events: &[Event]) -> Lane {
    let mut lane = Lane::new(law, order);
    if taught {
        lane.teach();
    }
    for event in events {
        lane.happens(event);
    }
    lane
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Fifo), Just(Order::NewestFirst)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_bounds_hold_and_each_call_ends_once(
        law in proptest::sample::select(LAWS.to_vec()),
        order in order(),
        taught in any::<bool>(),
        events in proptest::collection::vec(event(), 0..300),
    ) {
        let mut lane = run(law, order, taught, &events);
        // All that is left comes to its end too.
        while !lane.running.is_empty() {
            lane.happens(&Event::End { place: 0, outcome: 13 });
        }
        for _ in 0..40 {
            lane.happens(&Event::Pass(5000));
            while !lane.running.is_empty() {
                lane.happens(&Event::End { place: 0, outcome: 13 });
            }
        }
        prop_assert_eq!(lane.endings.len() as u64, lane.offered);
    }

    #[test]
    fn the_same_events_give_the_same_decisions(
        law in proptest::sample::select(LAWS.to_vec()),
        order in order(),
        taught in any::<bool>(),
        events in proptest::collection::vec(event(), 0..200),
    ) {
        prop_assert_eq!(run(law, order, taught, &events).log, run(law, order, taught, &events).log);
    }
}

#[test]
fn the_events_of_these_tests_do_make_hedges_and_newest_first() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let events = proptest::collection::vec(event(), 200..300);
    let (mut hedged, mut overtook) = (0, 0);
    for _ in 0..40 {
        let events = events.new_tree(&mut runner).unwrap().current();
        let lane = run(Law::Adaptive, Order::NewestFirst, true, &events);
        hedged += lane.hedged.len();
        overtook += lane.overtook;
    }
    assert!(hedged >= 10, "{hedged} hedges in 40 runs");
    assert!(overtook >= 10, "{overtook} newest first in 40 runs");
}
