//! The live view: one sample per second of what the gateway does, shared by all who watch.
//!
//! Owns the newest sample, the history of the last ten minutes, and the counters that only the live view needs. It exists so
//! that any number of pages costs one sampler: a sample is serialized at most once, and a watcher that is slow misses
//! samples instead of queueing them. It never asks an actor itself; the service gives it a snapshot each second.

mod collections;
mod counters;
mod history;
mod jobs;
mod sample;
mod words;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use kebne_collections::Totals;
use kebne_context::{MemoryCounts, StoreHealth};
use kebne_control::Outcome;
use kebne_lane::{Ending, EndingCounts, LaneSnapshot};
use serde::Serialize;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    cost::Consumed,
    gateway::{GatewaySnapshot, HealthReport, inner::SpentByKey},
    routes::DecisionCount,
    settings::{BackendKind, BackendSettings, Settings},
    unix_time,
};
use collections::StepTimes;
use counters::{Costs, Counters, FirstTokens};
use history::History;

pub use collections::{CollectionsSample, StepSample};
pub use counters::{CostSample, KeySample, Quantiles};
pub use history::Point;
pub use sample::{
    CacheSample, LaneSample, Level, ModelSample, Overall, Sample, SessionsSample, VerdictSample,
};

/// Time between two samples.
pub const EVERY: Duration = Duration::from_secs(1);
/// The number of samples over which the time to the first token is measured: ten seconds, so that a lane of one call per
/// second has enough of them.
const FIRST_TOKEN_SAMPLES: usize = 10;

/// The live view.
#[derive(Debug)]
pub struct Live {
    counters: Counters,
    models: RwLock<Arc<[ModelSample]>>,
    recorder: Mutex<Recorder>,
    /// The newest moment; `None` before the first one.
    newest: watch::Sender<Option<Arc<Moment>>>,
    /// The number of sessions; [`u64::MAX`] while it is not known.
    sessions: AtomicU64,
    /// What collections held when they were counted last.
    collections: Mutex<Option<Totals>>,
    /// What the store of jobs held when it was counted last.
    jobs: Mutex<Option<kebne_jobs::Totals>>,
    /// The runs that the store of agents held when they were counted last.
    agents: Mutex<Option<kebne_agents::Totals>>,
    /// The steps of the last calls that searched.
    steps: Mutex<StepTimes>,
    closed: CancellationToken,
}

/// What the service knows at one moment.
#[derive(Debug)]
pub struct Seen {
    /// The gateway.
    pub gateway: GatewaySnapshot,
    /// `true` if no new calls are admitted.
    pub draining: bool,
    /// Time since the start.
    pub uptime: Duration,
    /// The session store.
    pub store: StoreHealth,
    /// Questions that the session store has not answered since the start.
    pub store_failures: u64,
    /// The work on the memory of sessions; `None` if no model is set for it.
    pub memory: Option<MemoryCounts>,
    /// What calls of the gateway itself have used.
    pub spent: SpentByKey,
    /// Of each key with budgets the part of its fullest one that is used or reserved, in thousandths.
    pub budgets: BTreeMap<Arc<str>, u64>,
    /// The kept answers; `None` if no model has any.
    pub cache: Option<CacheSample>,
    /// What routes have decided since the start.
    pub routes: Vec<DecisionCount>,
    /// The bytes that the indexes of collections take.
    pub index_bytes: usize,
}

/// One sample with what it was made of.
#[derive(Debug)]
pub struct Moment {
    /// What the service knew.
    pub seen: Seen,
    /// The sample.
    pub sample: Sample,
    /// The event of the sample, made when the first watcher needs it.
    event: OnceLock<Bytes>,
}

/// What is known of earlier samples.
#[derive(Debug)]
struct Recorder {
    lanes: Vec<LaneRecord>,
    /// When the last sample was taken.
    at: Option<Instant>,
}

#[derive(Debug)]
struct LaneRecord {
    name: String,
    kind: BackendKind,
    history: History,
    endings: EndingCounts,
    /// The first tokens at the last samples, oldest first.
    first_tokens: VecDeque<FirstTokens>,
    /// Attempts that the server refused because of the gateway's settings, and the successes when the last one was seen; the
    /// latter is `None` once a later call has succeeded.
    refused: u64,
    succeeded_then: Option<u64>,
}

/// The first event of a watcher.
#[derive(Serialize)]
struct PastEvent<'a> {
    every_ms: u64,
    columns: Vec<&'static str>,
    lanes: Vec<PastLane<'a>>,
}

#[derive(Serialize)]
struct PastLane<'a> {
    name: &'a str,
    points: &'a History,
}

impl Live {
    /// Creates the view of a service that is about to start.
    pub fn new(settings: &Settings) -> Self {
        let backends = settings.backends.iter();
        let lanes = backends.clone().map(LaneRecord::new);
        let keys = settings.server.keys.iter().map(|key| key.name.clone());
        Self {
            counters: Counters::new(
                backends.map(|backend| backend.name.clone()),
                keys,
                Costs::new(settings),
            ),
            models: RwLock::new(models(settings)),
            recorder: Mutex::new(Recorder {
                lanes: lanes.collect(),
                at: None,
            }),
            newest: watch::Sender::new(None),
            sessions: AtomicU64::new(u64::MAX),
            collections: Mutex::default(),
            jobs: Mutex::default(),
            agents: Mutex::default(),
            steps: Mutex::default(),
            closed: CancellationToken::new(),
        }
    }

    /// Counts a call of a key.
    pub fn arrived(&self, key: &str) {
        self.counters.arrived(key);
    }

    /// Counts the end of a call that was counted by [`Live::arrived`].
    pub fn ended(&self, key: &str, consumed: &Consumed) {
        self.counters.ended(key, consumed);
    }

    /// Counts an answer that has begun after `time`.
    pub fn first_token(&self, lane: &str, time: Duration) {
        self.counters.first_token(lane, time);
    }

    /// Returns the models and their backends.
    pub fn models(&self) -> Arc<[ModelSample]> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&models)
    }

    /// Changes the lanes and the models. Lanes that stay keep their history, also those that were started anew (`retired`).
    pub fn change(&self, settings: &Settings, retired: &[String]) {
        let backends = settings.backends.iter();
        self.counters
            .keep(backends.clone().map(|backend| backend.name.clone()));
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = models(settings);
        let mut recorder = self.recorder();
        let mut before = std::mem::take(&mut recorder.lanes);
        let lanes = backends.map(|backend| {
            let place = before.iter().position(|lane| lane.name == backend.name);
            let Some(place) = place else {
                return LaneRecord::new(backend);
            };
            let mut lane = before.swap_remove(place);
            if retired.contains(&lane.name) {
                let history = std::mem::take(&mut lane.history);
                lane = LaneRecord::new(backend);
                lane.history = history;
            }
            lane
        });
        recorder.lanes = lanes.collect();
    }

    /// Adds the keys that are not counted yet, and follows whether models have prices.
    pub fn change_keys(&self, settings: &Settings) {
        let keys = settings.server.keys.iter();
        self.counters.add_keys(keys.map(|key| key.name.as_str()));
        self.counters.change_prices(settings);
    }

    /// Takes note of the number of sessions; `None` if the store does not answer.
    pub fn note_sessions(&self, count: Option<u64>) {
        self.sessions.store(count.unwrap_or(u64::MAX), Relaxed);
    }

    /// Returns the number of sessions that was noted last.
    pub fn sessions(&self) -> Option<u64> {
        let count = self.sessions.load(Relaxed);
        (count < u64::MAX).then_some(count)
    }

    /// Takes a sample. To be called each second.
    pub fn take(&self, seen: Seen) {
        let now = Instant::now();
        let at_ms = unix_time::millis();
        let mut recorder = self.recorder();
        let before = recorder.at.replace(now);
        let elapsed = before.map(|before| now.duration_since(before));
        let expected = recorder.lanes.len();
        let mut lanes = Vec::with_capacity(expected);
        for snapshot in &seen.gateway.lanes {
            let record = recorder
                .lanes
                .iter_mut()
                .find(|lane| *lane.name == *snapshot.name);
            if let Some(record) = record {
                let first_tokens = self.counters.first_tokens(&record.name);
                let point = record.note(at_ms, snapshot, &first_tokens, elapsed);
                let misconfigured = record.is_misconfigured(snapshot);
                let mut checks = seen.gateway.health.iter();
                let check = checks.find(|report| *report.lane == *snapshot.name);
                let check = check.and_then(HealthReport::unreachable);
                let kind = record.kind;
                lanes.push(LaneSample::new(snapshot, kind, point, misconfigured, check));
            }
        }
        let sessions = SessionsSample::new(&seen.store, seen.store_failures, self.sessions());
        let sample = Sample {
            at_ms,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: seen.uptime.as_secs(),
            draining: seen.draining,
            overall: Overall::new(&lanes, expected, seen.draining, &sessions),
            lanes,
            models: self.models(),
            servers: sample::servers(&seen.gateway.servers),
            actors: seen.gateway.actors.clone(),
            dead_letters: seen.gateway.dead_letters,
            sessions,
            memory: seen.memory,
            collections: self.collections_sample(seen.index_bytes),
            keys: self.counters.keys(&seen.budgets, &seen.spent),
            routes: seen.routes.clone(),
            cost: self.counters.cost(&seen.spent),
            cache: seen.cache.clone(),
        };
        let moment = Moment {
            seen,
            sample,
            event: OnceLock::new(),
        };
        // The history and the newest sample change together: a new watcher sees each point once.
        self.newest.send_replace(Some(Arc::new(moment)));
    }

    /// Watches the samples. The newest one may be there already.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Moment>>> {
        self.newest.subscribe()
    }

    /// Returns the event with the history, and a watch of the samples after it.
    pub fn follow(&self) -> (Bytes, watch::Receiver<Option<Arc<Moment>>>) {
        let recorder = self.recorder();
        let lanes = recorder.lanes.iter().map(|lane| PastLane {
            name: &lane.name,
            points: &lane.history,
        });
        let past = PastEvent {
            every_ms: u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX),
            columns: history::columns(),
            lanes: lanes.collect(),
        };
        (event("history", &past), self.newest.subscribe())
    }

    /// Ends the watches, so that their connections do not delay the stop of the service.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Returns the token that is cancelled when the view is closed.
    pub fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        lock(&self.recorder)
    }
}

impl Moment {
    /// Returns the event with the sample. All watchers share its bytes.
    pub fn event(&self) -> Bytes {
        self.event
            .get_or_init(|| event("sample", &self.sample))
            .clone()
    }
}

impl LaneRecord {
    fn new(backend: &BackendSettings) -> Self {
        Self {
            name: backend.name.clone(),
            kind: backend.kind,
            history: History::default(),
            endings: EndingCounts::default(),
            first_tokens: VecDeque::with_capacity(FIRST_TOKEN_SAMPLES),
            refused: 0,
            succeeded_then: None,
        }
    }

    /// Returns `true` if the server refused the gateway's key or requests, and no call has succeeded since.
    fn is_misconfigured(&mut self, lane: &LaneSnapshot) -> bool {
        let failures = lane.failures.iter();
        let of_settings =
            failures.filter(|failure| failure.class == Outcome::Misconfigured.label());
        let refused = of_settings.map(|failure| failure.count).sum();
        let succeeded = lane.endings.of(Ending::Success);
        if refused > self.refused {
            self.refused = refused;
            self.succeeded_then = Some(succeeded);
        }
        self.succeeded_then = self.succeeded_then.filter(|then| succeeded <= *then);
        self.succeeded_then.is_some()
    }

    /// Adds a point to the history.
    fn note(
        &mut self,
        at_ms: u64,
        lane: &LaneSnapshot,
        first_tokens: &FirstTokens,
        elapsed: Option<Duration>,
    ) -> Point {
        let before = std::mem::replace(&mut self.endings, lane.endings);
        let seconds = elapsed.map_or(f64::INFINITY, |elapsed| elapsed.as_secs_f64().max(0.001));
        let per_second = Ending::ALL.map(|ending| {
            let ended = lane.endings.of(ending).saturating_sub(before.of(ending));
            f64::from(u32::try_from(ended).unwrap_or(u32::MAX)) / seconds
        });
        let recent = first_tokens.since(self.first_tokens.front().unwrap_or(&FirstTokens::NONE));
        if self.first_tokens.len() >= FIRST_TOKEN_SAMPLES {
            self.first_tokens.pop_front();
        }
        self.first_tokens.push_back(*first_tokens);
        let point = Point::new(at_ms, lane, per_second, recent);
        self.history.add(point);
        point
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the models with their backends; without models, each backend under its own name.
fn models(settings: &Settings) -> Arc<[ModelSample]> {
    let models = settings.models.iter().map(|model| ModelSample {
        name: model.name.clone(),
        backends: model.backend_names().cloned().collect(),
    });
    let backends = settings.backends.iter().map(|backend| ModelSample {
        name: backend.name.clone(),
        backends: vec![backend.name.clone()],
    });
    if settings.models.is_empty() {
        backends.collect()
    } else {
        models.collect()
    }
}

/// Returns a server-sent event.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    if let Err(error) = serde_json::to_writer(&mut text, data) {
        tracing::error!(%error, name, "an event of the live view cannot be written");
        return Bytes::new();
    }
    text.extend_from_slice(b"\n\n");
    Bytes::from(text)
}

#[cfg(test)]
mod tests;
