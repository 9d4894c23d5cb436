//! What the alerts need of ended calls: the tokens of each lane's calls, the last time to come back that it gave, and how
//! the calls of each model ended.
//!
//! Owns a few numbers for each lane and each model of the settings. A call costs two searches by name and some additions.

mod pace;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kebne_lane::Ending;
use kebne_monitor::{FailedCalls, Times};

use crate::{live::ModelSample, record::CallRecord};

use pace::Pace;

/// Hints are cut off at a minute, and those near it are spread downwards by up to a quarter: such a hint means "a minute or
/// more", so it cannot be wrong.
const HINT_MAX: Duration = Duration::from_secs(45);

/// The combinations of a model, a lane and a reason whose failures are counted; further ones are not.
const FAILED_MAX: usize = 1024;

/// The numbers of all lanes and models.
#[derive(Debug)]
pub struct Tally {
    /// Calls that were admitted and failed, by model, lane and reason.
    failed: Mutex<BTreeMap<Failure, u64>>,
    lanes: RwLock<Vec<Arc<LaneTally>>>,
    models: RwLock<Vec<Arc<ModelTally>>>,
}

/// A model, the lane that failed its call, and the reason code.
type Failure = (Arc<str>, Arc<str>, &'static str);

#[derive(Debug)]
struct ModelTally {
    name: Arc<str>,
    /// The lane that alone serves the model and serves no other one.
    only_lane: Option<Arc<str>>,
    ended: ModelEndings,
}

/// Calls of a model that were answered, and those that were admitted and failed. They outlive a change of its backends.
#[derive(Debug, Default, Clone)]
struct ModelEndings(Arc<[AtomicU64; 2]>);

#[derive(Debug)]
struct LaneTally {
    name: Arc<str>,
    pace: Pace,
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
            name: name.into(),
            pace: Pace::default(),
            metered: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            priced: AtomicU64::new(0),
            cost: AtomicU64::new(0),
            promised_ms: AtomicU64::new(0),
        }
    }
}

impl Tally {
    /// Creates the numbers of lanes and models without calls.
    pub fn new<'a>(lanes: impl Iterator<Item = &'a str>, models: &[ModelSample]) -> Self {
        let tally = Self {
            failed: Mutex::default(),
            lanes: RwLock::default(),
            models: RwLock::default(),
        };
        tally.keep(lanes, models);
        tally
    }

    /// Changes the lanes and the models. Those that stay keep their numbers.
    pub fn keep<'a>(&self, lanes: impl Iterator<Item = &'a str>, models: &[ModelSample]) {
        let kept = lanes.map(|name| {
            let known = self.lane(name);
            known.unwrap_or_else(|| Arc::new(LaneTally::new(name)))
        });
        let kept: Vec<_> = kept.collect();
        let stays = |name: &Arc<str>| kept.iter().any(|lane| lane.name == *name);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|(_, lane, _), _| stays(lane));
        drop(failed);
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = kept;
        let kept = models.iter().map(|model| {
            let known = self.model(&model.name);
            let ended = known.map_or_else(ModelEndings::default, |known| known.ended.clone());
            Arc::new(ModelTally {
                name: model.name.as_str().into(),
                only_lane: only_lane(model, models),
                ended,
            })
        });
        let kept = kept.collect();
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Takes note of a call that has ended.
    pub fn call_ended(&self, record: &CallRecord) {
        if let Some(model) = self.model(&record.model) {
            let [succeeded, failed] = &*model.ended.0;
            match record.ending {
                Ending::Success => _ = succeeded.fetch_add(1, Relaxed),
                Ending::Error | Ending::Timeout | Ending::Panic => {
                    _ = failed.fetch_add(1, Relaxed);
                    self.failed(&model.name, record);
                }
                Ending::Shed
                | Ending::Cancelled
                | Ending::Drained
                | Ending::Rejected
                | Ending::Withdrawn => {}
            }
        }
        let Some(lane) = self.lane(record.lane()) else {
            return;
        };
        lane.pace.note(record);
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

    /// Counts a call that was admitted and failed.
    fn failed(&self, model: &Arc<str>, record: &CallRecord) {
        let Some(lane) = self.lane(record.lane()) else {
            return;
        };
        let key = (Arc::clone(model), Arc::clone(&lane.name), record.reason);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() < FAILED_MAX || failed.contains_key(&key) {
            *failed.entry(key).or_default() += 1;
        }
    }

    /// Returns the calls that were admitted and failed.
    pub fn failures(&self) -> Vec<FailedCalls> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed
            .iter()
            .map(|((model, lane, reason), count)| FailedCalls {
                model: Arc::clone(model),
                lane: Arc::clone(lane),
                reason,
                count: *count,
            });
        failed.collect()
    }

    /// Returns the time to the first token of a lane's answers and that of its whole answers.
    pub fn times(&self, lane: &str) -> [Option<Times>; 2] {
        self.lane(lane)
            .map_or([None, None], |lane| lane.pace.times())
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

    /// Returns how the calls of each model have ended.
    pub fn models(&self) -> Vec<kebne_monitor::ModelSample> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let models = models.iter().map(|model| {
            let [succeeded, failed] = &*model.ended.0;
            kebne_monitor::ModelSample {
                name: Arc::clone(&model.name),
                only_lane: model.only_lane.clone(),
                succeeded: succeeded.load(Relaxed),
                failed: failed.load(Relaxed),
            }
        });
        models.collect()
    }

    /// Takes the last hint that a refused caller of a lane got since the last time.
    pub fn take_promised(&self, lane: &str) -> Option<Duration> {
        let millis = self.lane(lane)?.promised_ms.swap(0, Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    fn lane(&self, name: &str) -> Option<Arc<LaneTally>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().find(|lane| *lane.name == *name).cloned()
    }

    fn model(&self, name: &str) -> Option<Arc<ModelTally>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.iter().find(|model| *model.name == *name).cloned()
    }
}

/// Returns the lane that alone serves a model and serves no other one of all `models`.
fn only_lane(model: &ModelSample, models: &[ModelSample]) -> Option<Arc<str>> {
    let [lane] = model.backends.as_slice() else {
        return None;
    };
    let serving = models.iter().filter(|model| model.backends.contains(lane));
    (serving.count() == 1).then(|| lane.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, backends: &[&str]) -> ModelSample {
        ModelSample {
            name: name.to_owned(),
            backends: backends.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn a_lane_speaks_for_a_model_if_neither_has_another() {
        let models = [
            model("both", &["a", "b"]),
            model("first", &["a"]),
            model("alone", &["c"]),
        ];
        let lanes = models.each_ref().map(|model| only_lane(model, &models));
        assert_eq!(lanes, [None, None, Some("c".into())]);
    }

    #[test]
    fn what_is_known_of_a_model_outlives_a_change_of_its_backends() {
        let tally = Tally::new(["a"].into_iter(), &[model("m", &["a"])]);
        tally.model("m").unwrap().ended.0[0].fetch_add(3, Relaxed);
        tally.keep(["b"].into_iter(), &[model("m", &["b"]), model("n", &["b"])]);
        let [m, n] = tally.models().try_into().unwrap();
        assert_eq!((m.succeeded, m.only_lane), (3, None));
        assert_eq!((n.succeeded, n.failed), (0, 0));
    }
}
