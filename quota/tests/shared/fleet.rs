//! Gateways that share one account, in virtual time: calls that come at random, a network that delays and loses, and a store that stops or
//! forgets.

use std::collections::BTreeMap;

use kebne_quota::{
    AccountId, Amount, Ask, Beyond, Estimate, Grant, Ledger, Limits, Money, SharedAccount, Stop,
    Terms,
};

/// 15 March 2026, noon.
pub(crate) const NOON: u64 = 1_773_576_000_000;
/// The time to live of leases.
pub(crate) const TTL: u64 = 2000;
/// The time between two rounds of a gateway.
const ROUND: u64 = 250;
/// The longest wait of a call for a block.
const WAIT: u64 = 10;
/// The longest wait of a call of an account of which nothing is known yet.
const WAIT_FIRST: u64 = 300;

/// What the gateways do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) limits: Limits,
    /// Calls per second, by gateway.
    pub(crate) calls: Vec<f64>,
    /// Tokens that a call reserves at most, and the part of it that it uses at most, in percent.
    pub(crate) tokens: (u64, u64),
    /// How long calls take at most, in milliseconds.
    pub(crate) takes: u64,
}

/// The network and the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    /// The time of one way, in milliseconds.
    pub(crate) delay: u64,
    /// Percent of the requests and of the answers that are lost.
    pub(crate) lost: u32,
}

struct Gateway {
    ledger: Ledger,
    id: AccountId,
    name: String,
    is_dead: bool,
    round_at: u64,
    /// The end of the lease; 0 before the first.
    until: u64,
    is_asking: bool,
    running: Vec<(u64, Estimate, u64)>,
    waiting: Vec<Waiting>,
}

/// A call that waits for a block.
struct Waiting {
    until: u64,
    estimate: Estimate,
    /// `true` once the store was asked for it.
    is_asked: bool,
}

enum Message {
    Ask(usize, Box<Ask>),
    Grant(usize, Box<Grant>, u64),
    Lost(usize),
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) waited: u64,
    pub(crate) used: Amount,
    pub(crate) reserved_tokens: u64,
    pub(crate) at_once: u64,
    pub(crate) by_gateway: Vec<u64>,
}

pub(crate) struct Fleet {
    pub(crate) store: SharedAccount,
    pub(crate) is_down: bool,
    pub(crate) now: u64,
    pub(crate) counts: Counts,
    random: fastrand::Rng,
    load: Load,
    world: World,
    gateways: Vec<Gateway>,
    messages: BTreeMap<(u64, u64), Message>,
    sent: u64,
}

impl Fleet {
    pub(crate) fn new(load: Load, world: World, seed: u64) -> Self {
        let count = load.calls.len();
        let mut fleet = Self {
            store: SharedAccount::default(),
            is_down: false,
            now: NOON,
            counts: Counts {
                by_gateway: vec![0; count],
                ..Counts::default()
            },
            random: fastrand::Rng::with_seed(seed),
            load,
            world,
            gateways: Vec::new(),
            messages: BTreeMap::new(),
            sent: 0,
        };
        for index in 0..count {
            let gateway = fleet.gateway(index, 1);
            fleet.gateways.push(gateway);
        }
        fleet
    }

    fn gateway(&mut self, index: usize, life: u32) -> Gateway {
        let mut ledger = Ledger::shared(Terms { ttl: TTL });
        let id = ledger.open(self.load.limits.clone(), self.now);
        Gateway {
            ledger,
            id,
            name: format!("gateway-{index}/{life}"),
            is_dead: false,
            round_at: self.now + self.random.u64(..ROUND),
            until: 0,
            is_asking: false,
            running: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Ends a gateway at once: what it has not reported is never reported. Its running calls use what they use.
    pub(crate) fn kill(&mut self, index: usize) {
        self.gateways[index].is_dead = true;
    }

    pub(crate) fn restart(&mut self, index: usize) {
        self.gateways[index] = self.gateway(index, 2);
    }

    /// Lets no more calls come.
    pub(crate) fn calm(&mut self) {
        self.load.calls.fill(0.0);
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1;
            self.deliver();
            for index in 0..self.gateways.len() {
                if !self.gateways[index].is_dead {
                    self.step(index);
                }
            }
            let running = self.gateways.iter().map(|one| one.running.len() as u64);
            self.counts.at_once = self.counts.at_once.max(running.sum());
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.messages.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Message::Ask(index, _) if self.is_down => self.answer_lost(index),
                Message::Ask(index, ask) => {
                    let name = self.gateways[index].name.clone();
                    // The state goes through its text, as in a real store.
                    let text = serde_json::to_string(&self.store).expect("it has no keys but text");
                    self.store = serde_json::from_str(&text).expect("it was written so");
                    let grant = self.store.settle(&name, &ask, TTL, self.now);
                    if self.random.u32(..100) < self.world.lost {
                        self.answer_lost(index);
                    } else {
                        let asked = self.now - self.world.delay;
                        self.send(Message::Grant(index, Box::new(grant), asked));
                    }
                }
                Message::Grant(index, grant, asked) => {
                    let now = self.now;
                    let gateway = &mut self.gateways[index];
                    gateway.is_asking = false;
                    gateway.until = asked + TTL;
                    gateway.ledger.grant(gateway.id, &grant, now);
                    self.retry(index, Beyond::Refuse);
                }
                Message::Lost(index) => {
                    self.gateways[index].is_asking = false;
                    self.retry(index, Beyond::FairPart);
                }
            }
        }
    }

    fn answer_lost(&mut self, index: usize) {
        self.sent += 1;
        // The time after which the gateway gives up.
        let at = (self.now + 300, self.sent);
        self.messages.insert(at, Message::Lost(index));
    }

    fn send(&mut self, message: Message) {
        self.sent += 1;
        let at = (self.now + self.world.delay, self.sent);
        self.messages.insert(at, message);
    }

    fn step(&mut self, index: usize) {
        let now = self.now;
        self.end_calls(index);
        if self.random.f64() < self.load.calls[index] / 1000.0 {
            let tokens = self.random.u64(1..=self.load.tokens.0);
            let estimate = Estimate {
                tokens,
                money: Money::from_nano(tokens * 3),
            };
            self.call(index, estimate);
        }
        let late: Vec<_> = {
            let waiting = &mut self.gateways[index].waiting;
            let is_late = |call: &mut Waiting| call.until <= now;
            waiting.extract_if(.., is_late).collect()
        };
        for call in late {
            self.admit(index, call.estimate, Beyond::FairPart);
        }
        let gateway = &mut self.gateways[index];
        if !gateway.is_asking && (gateway.round_at <= now || !gateway.waiting.is_empty()) {
            gateway.round_at = now + ROUND;
            self.ask(index);
        }
    }

    fn ask(&mut self, index: usize) {
        let now = self.now;
        let gateway = &mut self.gateways[index];
        let due = gateway.ledger.due(false, now);
        if due.is_empty() {
            return;
        }
        gateway.is_asking = true;
        for call in &mut gateway.waiting {
            call.is_asked = true;
        }
        let ask = gateway
            .ledger
            .ask(gateway.id, false, now)
            .expect("it is shared");
        if self.random.u32(..100) < self.world.lost {
            self.answer_lost(index);
        } else {
            self.send(Message::Ask(index, Box::new(ask)));
        }
    }

    fn call(&mut self, index: usize, estimate: Estimate) {
        let until = self.gateways[index].until;
        let beyond = if until > 0 && until <= self.now {
            Beyond::FairPartOfAll
        } else {
            Beyond::Ask
        };
        self.admit(index, estimate, beyond);
    }

    fn retry(&mut self, index: usize, beyond: Beyond) {
        for call in std::mem::take(&mut self.gateways[index].waiting) {
            let beyond = if call.is_asked { beyond } else { Beyond::Ask };
            self.admit(index, call.estimate, beyond);
        }
    }

    fn admit(&mut self, index: usize, estimate: Estimate, beyond: Beyond) {
        let now = self.now;
        let gateway = &mut self.gateways[index];
        match gateway.ledger.admit(&[gateway.id], &estimate, beyond, now) {
            Ok(()) => {
                let ends = now + self.random.u64(1..=self.load.takes);
                let part = self.random.u64(..=self.load.tokens.1);
                let used = estimate.tokens * part / 100;
                gateway.running.push((ends, estimate, used));
                self.counts.admitted += 1;
                self.counts.reserved_tokens += estimate.tokens;
                self.counts.by_gateway[index] += 1;
            }
            Err(Stop::Short { is_first }) => {
                self.counts.waited += 1;
                gateway.waiting.push(Waiting {
                    until: now + if is_first { WAIT_FIRST } else { WAIT },
                    estimate,
                    is_asked: false,
                });
            }
            Err(Stop::Refused(_)) => self.counts.refused += 1,
        }
    }

    fn end_calls(&mut self, index: usize) {
        let now = self.now;
        let gateway = &mut self.gateways[index];
        let ended = gateway.running.extract_if(.., |call| call.0 <= now);
        for (_, estimate, tokens) in ended {
            let used = Amount {
                calls: 1,
                tokens,
                money: Money::from_nano(tokens * 3),
            };
            gateway.ledger.settle(&[gateway.id], &estimate, used, now);
            self.counts.used = self.counts.used.plus(used);
        }
    }

    /// Returns the gateways that use a fair part.
    pub(crate) fn fair_parts(&self) -> usize {
        let gateways = self.gateways.iter().filter(|gateway| !gateway.is_dead);
        gateways.map(|gateway| gateway.ledger.fair_parts()).sum()
    }
}
