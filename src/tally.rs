//! What the alerts need of ended calls: the tokens of each lane's calls, and the last time to come back that it gave.
//!
//! Owns a few numbers for each lane of the settings. A call costs one search by the lane's name and an addition.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kebne_lane::Ending;

use crate::record::CallRecord;

/// Hints are cut off at a minute, and those near it are spread downwards by up to a quarter: such a hint means "a minute or
/// more", so it cannot be wrong.
const HINT_MAX: Duration = Duration::from_secs(45);

/// The numbers of all lanes.
#[derive(Debug)]
pub struct Tally(RwLock<Vec<Arc<LaneTally>>>);

#[derive(Debug)]
struct LaneTally {
    name: String,
    /// Calls that succeeded and whose tokens are known, and their tokens.
    metered: AtomicU64,
    tokens: AtomicU64,
    /// Calls that succeeded and have a cost, and their cost in billionths.
    priced: AtomicU64,
    cost: AtomicU64,
    /// Milliseconds of the last hint; zero if it was taken.
    promised_ms: AtomicU64,
}

impl LaneTally {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            metered: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            priced: AtomicU64::new(0),
            cost: AtomicU64::new(0),
            promised_ms: AtomicU64::new(0),
        }
    }
}

impl Tally {
    /// Creates the numbers of lanes without calls.
    pub fn new<'a>(lanes: impl Iterator<Item = &'a str>) -> Self {
        let lanes = lanes.map(|name| Arc::new(LaneTally::new(name)));
        Self(RwLock::new(lanes.collect()))
    }

    /// Changes the lanes. Those that stay keep their numbers.
    pub fn keep<'a>(&self, lanes: impl Iterator<Item = &'a str>) {
        let kept = lanes.map(|name| {
            let known = self.lane(name);
            known.unwrap_or_else(|| Arc::new(LaneTally::new(name)))
        });
        let kept = kept.collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Takes note of a call that has ended.
    pub fn call_ended(&self, record: &CallRecord) {
        let Some(lane) = self.lane(record.lane()) else {
            return;
        };
        let usage = &record.usage;
        if record.ending == Ending::Success && (usage.input.is_some() || usage.output.is_some()) {
            let tokens = usage
                .input
                .unwrap_or(0)
                .saturating_add(usage.output.unwrap_or(0));
            lane.tokens.fetch_add(tokens, Relaxed);
            lane.metered.fetch_add(1, Relaxed);
        }
        if let Some(cost) = record.consumed.cost
            && record.ending == Ending::Success
        {
            lane.cost.fetch_add(cost.nano(), Relaxed);
            lane.priced.fetch_add(1, Relaxed);
        }
        let promised = record.retry_after.filter(|hint| *hint < HINT_MAX);
        if let Some(hint) = promised.filter(|_| record.ending == Ending::Shed) {
            let millis = u64::try_from(hint.as_millis()).unwrap_or(0);
            lane.promised_ms.store(millis, Relaxed);
        }
    }

    /// Returns the calls of a lane whose tokens are known, and their tokens.
    pub fn tokens(&self, lane: &str) -> (u64, u64) {
        let lane = self.lane(lane);
        lane.map_or((0, 0), |lane| {
            (lane.metered.load(Relaxed), lane.tokens.load(Relaxed))
        })
    }

    /// Returns the calls of a lane that have a cost, and their cost in billionths.
    pub fn costs(&self, lane: &str) -> (u64, u64) {
        let lane = self.lane(lane);
        lane.map_or((0, 0), |lane| {
            (lane.priced.load(Relaxed), lane.cost.load(Relaxed))
        })
    }

    /// Takes the last hint that a refused caller of a lane got since the last time.
    pub fn take_promised(&self, lane: &str) -> Option<Duration> {
        let millis = self.lane(lane)?.promised_ms.swap(0, Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    fn lane(&self, name: &str) -> Option<Arc<LaneTally>> {
        let lanes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().find(|lane| lane.name == name).cloned()
    }
}
