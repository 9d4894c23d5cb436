//! The ids of what was published.
//!
//! Kafka does not know ids. What was published lately is remembered here, so that it is not published again. Of each id only a hash of 128 bits is kept.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use kebne_event_bus::BusError;
use tokio::{sync::watch, time::Instant};

/// The ids that are remembered at most; each takes about 70 bytes.
const IDS_MAX: usize = 1_000_000;

/// The result of publishing, as soon as there is one.
pub(crate) type Outcome = Option<Result<(), BusError>>;

/// What is known of an id.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// Nothing: it may be published.
    No,
    /// It is stored.
    Stored,
    /// It is being published.
    InFlight(watch::Receiver<Outcome>),
    /// Publishing it has failed at this time, and it may be stored or not.
    Uncertain(Instant),
}

/// The ids of what was published lately.
#[derive(Debug)]
pub(crate) struct Ids {
    window: Duration,
    states: HashMap<u128, State>,
    /// The stored ids, the oldest first.
    order: VecDeque<(Instant, u128)>,
    hashers: (RandomState, RandomState),
}

#[derive(Clone, Debug)]
enum State {
    Stored,
    InFlight(watch::Receiver<Outcome>),
    Uncertain(Instant),
}

impl Ids {
    /// Creates a memory that holds ids for this time.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            states: HashMap::new(),
            order: VecDeque::new(),
            hashers: (RandomState::new(), RandomState::new()),
        }
    }

    fn hash(&self, id: &str) -> u128 {
        let (high, low) = (self.hashers.0.hash_one(id), self.hashers.1.hash_one(id));
        u128::from(high) << 64 | u128::from(low)
    }

    pub(crate) fn get(&self, id: &str) -> Known {
        match self.states.get(&self.hash(id)) {
            None => Known::No,
            Some(State::Stored) => Known::Stored,
            Some(State::InFlight(outcome)) => Known::InFlight(outcome.clone()),
            Some(State::Uncertain(since)) => Known::Uncertain(*since),
        }
    }

    /// Notes that an id is being published. The outcome is to be sent to what this returns.
    pub(crate) fn begin(&mut self, id: &str) -> watch::Sender<Outcome> {
        let (sender, receiver) = watch::channel(None);
        self.states.insert(self.hash(id), State::InFlight(receiver));
        sender
    }

    /// Notes that an id is stored.
    pub(crate) fn stored(&mut self, id: &str, now: Instant) {
        let hash = self.hash(id);
        let before = self.states.insert(hash, State::Stored);
        if !matches!(before, Some(State::Stored)) {
            self.order.push_back((now, hash));
        }
        while let Some((since, hash)) = self.order.front().copied() {
            if self.order.len() <= IDS_MAX && since + self.window > now {
                break;
            }
            self.order.pop_front();
            if matches!(self.states.get(&hash), Some(State::Stored)) {
                self.states.remove(&hash);
            }
        }
    }

    /// Notes that publishing an id has failed.
    pub(crate) fn failed(&mut self, id: &str, may_be_stored: bool, now: Instant) {
        let hash = self.hash(id);
        if matches!(self.states.get(&hash), Some(State::Stored)) {
            return;
        }
        if may_be_stored {
            self.states.insert(hash, State::Uncertain(now));
        } else {
            self.states.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ids_are_known_for_their_time() {
        let mut ids = Ids::new(Duration::from_secs(10));
        let start = Instant::now();
        assert!(matches!(ids.get("a"), Known::No));
        let outcome = ids.begin("a");
        assert!(matches!(ids.get("a"), Known::InFlight(_)));
        ids.stored("a", start);
        drop(outcome);
        assert!(matches!(ids.get("a"), Known::Stored));
        ids.stored("b", start + Duration::from_secs(9));
        assert!(matches!(ids.get("a"), Known::Stored));
        ids.stored("c", start + Duration::from_secs(10));
        assert!(matches!(ids.get("a"), Known::No));
        assert!(matches!(ids.get("b"), Known::Stored));
        assert_eq!(ids.order.len(), ids.states.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_forgotten_or_uncertain() {
        let mut ids = Ids::new(Duration::from_secs(10));
        let now = Instant::now();
        drop(ids.begin("a"));
        ids.failed("a", false, now);
        assert!(matches!(ids.get("a"), Known::No));
        drop(ids.begin("a"));
        ids.failed("a", true, now);
        assert!(matches!(ids.get("a"), Known::Uncertain(since) if since == now));
        // It was read in the topic.
        ids.stored("a", now);
        ids.failed("a", true, now);
        assert!(matches!(ids.get("a"), Known::Stored));
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded() {
        let mut ids = Ids::new(Duration::from_hours(1));
        let now = Instant::now();
        for number in 0..=IDS_MAX {
            ids.stored(&number.to_string(), now);
        }
        assert!(matches!(ids.get("0"), Known::No));
        assert!(matches!(ids.get("1"), Known::Stored));
        assert_eq!(ids.states.len(), IDS_MAX);
    }
}
