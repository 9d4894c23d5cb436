//! The sleep and load states of a backend, and its warm-up after loading.

use std::time::Duration;

use kebne_control::{Outcome, Timestamp};

use crate::sim::dice::{Dice, Purpose};
use crate::sim::number::at;
use crate::sim::scenario::{Cold, Dialect};

/// The state of the backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Awake {
    Asleep,
    /// Loading until this time.
    Loading(Timestamp),
    /// Ready since this time.
    Ready(Timestamp),
}

/// The sleep and load states of one backend.
#[derive(Debug)]
pub(crate) struct Boot {
    cold: Option<Cold>,
    pub(crate) awake: Awake,
    last_work: Timestamp,
    seed: u64,
    /// Cold starts so far.
    pub(crate) episodes: u32,
}

impl Boot {
    pub(crate) fn new(cold: Option<Cold>, seed: u64) -> Self {
        let asleep = cold.is_some_and(|cold| cold.asleep);
        Self {
            cold,
            awake: if asleep {
                Awake::Asleep
            } else {
                Awake::Ready(Timestamp::ZERO)
            },
            last_work: Timestamp::ZERO,
            seed,
            episodes: 0,
        }
    }

    /// Advances the state to `now`; `busy` is `true` if there is work.
    pub(crate) fn advance(&mut self, busy: bool, now: Timestamp) {
        if let Awake::Loading(until) = self.awake
            && until <= now
        {
            self.awake = Awake::Ready(until);
            self.last_work = until;
        }
        let Some(cold) = self.cold else { return };
        let silent = now.since(self.last_work).as_secs_f64();
        let sleeps = cold.sleep_after > 0.0 && silent >= cold.sleep_after;
        if matches!(self.awake, Awake::Ready(_)) && sleeps && !busy {
            self.awake = Awake::Asleep;
        }
        if busy {
            self.last_work = now;
        }
    }

    /// Starts loading if asleep.
    pub(crate) fn wake(&mut self, now: Timestamp) {
        if let (Awake::Asleep, Some(cold)) = (self.awake, self.cold) {
            let mut dice = Dice::new(self.seed, Purpose::Boot, u64::from(self.episodes), 0);
            let took = dice.lognormal(cold.boot, cold.sigma);
            self.episodes += 1;
            self.awake = Awake::Loading(at(now.as_secs_f64() + took));
        }
    }

    /// Returns `true` if calls are held instead of refused while the backend loads.
    pub(crate) fn holds(&self) -> bool {
        self.cold.is_some_and(|c| c.dialect == Dialect::Holding)
    }

    /// Returns the refusal of a call while the backend loads.
    pub(crate) fn refusal(&self, now: Timestamp) -> Outcome {
        let left = match self.awake {
            Awake::Loading(until) => until.since(now),
            _ => Duration::ZERO,
        };
        match self.cold.map(|cold| cold.dialect) {
            Some(Dialect::Honest) => Outcome::Cold {
                estimated: Some(left),
            },
            Some(Dialect::Constant) => Outcome::Cold {
                estimated: Some(Duration::from_secs(20)),
            },
            Some(Dialect::Proxy) => Outcome::Fault,
            _ => Outcome::Cold { estimated: None },
        }
    }

    /// Returns the share of the slots that are available, 0 to 1.
    pub(crate) fn warm_share(&self, now: Timestamp) -> f64 {
        match (self.awake, self.cold) {
            (Awake::Ready(since), Some(cold)) if cold.warm_time > 0.0 && self.episodes > 0 => {
                let part = (now.since(since).as_secs_f64() / cold.warm_time).min(1.0);
                cold.warm_from + (1.0 - cold.warm_from) * part
            }
            (Awake::Ready(_), _) => 1.0,
            _ => 0.0,
        }
    }

    /// Returns the time of the next state change.
    pub(crate) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        match (self.awake, self.cold) {
            (Awake::Loading(until), _) => Some(until),
            (Awake::Ready(since), Some(cold)) => {
                let warming = now.since(since).as_secs_f64() < cold.warm_time;
                warming.then(|| now.after(Duration::from_millis(250)))
            }
            _ => None,
        }
    }
}
