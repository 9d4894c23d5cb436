//! What calls count for the live view: first tokens by lane, and calls by key. Each count is one atomic addition.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kebne_quota::Money;
use serde::Serialize;

use crate::{
    cost::{Consumed, Prices},
    gateway::inner::{Spent, SpentByKey},
    settings::Settings,
};

/// Buckets of the time to the first token. Each is 2^(1/4) wider than the one before, so a quantile is off by a tenth
/// at most.
const BUCKETS: usize = 80;
/// The upper bound of the first bucket in seconds. The last bucket begins at 2^20 ms, about 17 minutes.
const FIRST_BOUND_SECONDS: f64 = 0.001;
/// Buckets per doubling of the time.
const PER_DOUBLING: f64 = 4.0;

/// The number of keys that are counted; those beyond it are not shown.
const KEYS_MAX: usize = 1000;

/// A histogram of times to the first token, as it is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstTokens([u64; BUCKETS]);

/// Quantiles of the time to the first token of recent calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// The number of calls.
    pub calls: u64,
}

#[derive(Debug)]
struct Histogram([AtomicU64; BUCKETS]);

/// The calls of one key.
#[derive(Debug, Default)]
struct KeyCounts {
    calls: AtomicU64,
    ended: AtomicU64,
    tokens: AtomicU64,
    /// In billionths of the currency.
    cost: AtomicU64,
}

/// The counts of all keys, in the order in which they were added.
#[derive(Debug, Default)]
struct KeyTable {
    places: HashMap<String, usize>,
    counts: Vec<(String, KeyCounts)>,
}

/// The calls of one key at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeySample {
    /// The name of the key.
    pub name: String,
    /// Calls that have not ended.
    pub in_flight: u64,
    /// Calls since the start.
    pub calls: u64,
    /// Tokens of calls that have ended since the start, and of what the gateway has asked models on behalf of the key.
    pub tokens: u64,
    /// Their cost in units of the currency.
    pub cost: Money,
    /// The part of its fullest budget that is used or reserved, in thousandths; `None` if it has no budget.
    pub budget_permille: Option<u64>,
}

/// The cost of all calls at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CostSample {
    /// The currency.
    pub currency: Arc<str>,
    /// The cost of the calls that have ended since the start, in units of the currency.
    pub total: Money,
}

/// The cost of all calls.
#[derive(Debug)]
pub(super) struct Costs {
    currency: Arc<str>,
    has_prices: AtomicBool,
    /// In billionths of the currency.
    total: AtomicU64,
}

/// The counters. Their number is that of the lanes and keys of the settings.
#[derive(Debug)]
pub(super) struct Counters {
    lanes: RwLock<Vec<(String, Arc<Histogram>)>>,
    /// Keys that are created while the service runs are added by their first call.
    keys: RwLock<KeyTable>,
    costs: Costs,
}

impl FirstTokens {
    pub(super) const NONE: Self = Self([0; BUCKETS]);

    /// Returns the quantiles of the calls that were counted after `before`; `None` without a call.
    pub(super) fn since(&self, before: &Self) -> Option<Quantiles> {
        let counts: Vec<u64> = self
            .0
            .iter()
            .zip(&before.0)
            .map(|(now, then)| now.saturating_sub(*then))
            .collect();
        let calls: u64 = counts.iter().sum();
        let at = |share: f64| 1000.0 * quantile(&counts, real(calls) * share);
        (calls > 0).then(|| Quantiles {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            calls,
        })
    }
}

/// Returns the time in seconds below which `rank` calls are, interpolated within a bucket.
fn quantile(counts: &[u64], rank: f64) -> f64 {
    let mut below = 0.0;
    let mut lower = 0.0;
    for (index, &count) in counts.iter().enumerate() {
        let upper = bound(index);
        let count = real(count);
        if count > 0.0 && below + count >= rank {
            return lower + (upper - lower) * ((rank - below) / count).clamp(0.0, 1.0);
        }
        below += count;
        lower = upper;
    }
    lower
}

/// Returns the upper bound of a bucket, in seconds.
fn bound(index: usize) -> f64 {
    let doublings = f64::from(u32::try_from(index).unwrap_or(u32::MAX)) / PER_DOUBLING;
    FIRST_BOUND_SECONDS * doublings.exp2()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls are far below 2^52"
)]
fn real(count: u64) -> f64 {
    count as f64
}

impl Histogram {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn note(&self, time: Duration) {
        let doublings = (time.as_secs_f64() / FIRST_BOUND_SECONDS).max(1.0).log2();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and the index is bounded below"
        )]
        let index = (doublings * PER_DOUBLING).ceil() as usize;
        if let Some(bucket) = self.0.get(index.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    fn read(&self) -> FirstTokens {
        FirstTokens(std::array::from_fn(|index| {
            self.0.get(index).map_or(0, |bucket| bucket.load(Relaxed))
        }))
    }
}

impl KeyTable {
    fn new(names: impl Iterator<Item = String>) -> Self {
        let mut table = Self::default();
        for name in names {
            table.add(&name);
        }
        table
    }

    fn get(&self, name: &str) -> Option<&KeyCounts> {
        let place = *self.places.get(name)?;
        self.counts.get(place).map(|(_, counts)| counts)
    }

    fn add(&mut self, name: &str) {
        if !self.places.contains_key(name) {
            self.places.insert(name.to_owned(), self.counts.len());
            self.counts.push((name.to_owned(), KeyCounts::default()));
        }
    }

    fn get_or_add(&mut self, name: &str) -> Option<&KeyCounts> {
        if self.counts.len() < KEYS_MAX {
            self.add(name);
        }
        self.get(name)
    }
}

impl Costs {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            currency: settings.cost.currency.as_str().into(),
            has_prices: AtomicBool::new(!Prices::new(settings).is_empty()),
            total: AtomicU64::new(0),
        }
    }
}

/// Returns a lane without calls.
fn counted(name: String) -> (String, Arc<Histogram>) {
    (name, Arc::new(Histogram::new()))
}

impl Counters {
    pub(super) fn new(
        lanes: impl Iterator<Item = String>,
        keys: impl Iterator<Item = String>,
        costs: Costs,
    ) -> Self {
        Self {
            lanes: RwLock::new(lanes.map(counted).collect()),
            keys: RwLock::new(KeyTable::new(keys)),
            costs,
        }
    }

    pub(super) fn first_token(&self, lane: &str, time: Duration) {
        if let Some(histogram) = self.lane(lane) {
            histogram.note(time);
        }
    }

    /// Changes the lanes. Those that stay keep their counts.
    pub(super) fn keep(&self, lanes: impl Iterator<Item = String>) {
        let kept = lanes.map(|name| match self.lane(&name) {
            Some(histogram) => (name, histogram),
            None => counted(name),
        });
        let kept = kept.collect();
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Adds the keys that are not counted yet.
    pub(super) fn add_keys<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            keys.get_or_add(name);
        }
    }

    /// Follows whether models have prices.
    pub(super) fn change_prices(&self, settings: &Settings) {
        let has_prices = !Prices::new(settings).is_empty();
        self.costs.has_prices.store(has_prices, Relaxed);
    }

    fn lane(&self, lane: &str) -> Option<Arc<Histogram>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let found = lanes.iter().find(|(name, _)| name == lane);
        found.map(|(_, histogram)| Arc::clone(histogram))
    }

    pub(super) fn arrived(&self, key: &str) {
        let count = |counts: &KeyCounts| counts.calls.fetch_add(1, Relaxed);
        if key.is_empty() || self.with_key(key, count).is_some() || self.is_full() {
            return;
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = keys.get_or_add(key) {
            count(counts);
        }
    }

    pub(super) fn ended(&self, key: &str, consumed: &Consumed) {
        let cost = consumed.cost.unwrap_or_default().nano();
        if cost > 0 {
            self.costs.total.fetch_add(cost, Relaxed);
        }
        self.with_key(key, |counts| {
            counts.tokens.fetch_add(consumed.tokens, Relaxed);
            counts.cost.fetch_add(cost, Relaxed);
            counts.ended.fetch_add(1, Relaxed);
        });
    }

    /// Returns the cost of all calls, those of the gateway itself included (`spent`); `None` if no model has a price.
    pub(super) fn cost(&self, spent: &SpentByKey) -> Option<CostSample> {
        let has_prices = self.costs.has_prices.load(Relaxed);
        let inner = spent.values().map(|spent| spent.cost);
        let of_calls = Money::from_nano(self.costs.total.load(Relaxed));
        has_prices.then(|| CostSample {
            currency: Arc::clone(&self.costs.currency),
            total: inner.fold(of_calls, Money::saturating_add),
        })
    }

    fn is_full(&self) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.counts.len() >= KEYS_MAX
    }

    fn with_key<T>(&self, name: &str, with: impl FnOnce(&KeyCounts) -> T) -> Option<T> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(name).map(with)
    }

    /// Returns the first tokens of a lane since the start.
    pub(super) fn first_tokens(&self, lane: &str) -> FirstTokens {
        let found = self.lane(lane);
        found.map_or(FirstTokens::NONE, |histogram| histogram.read())
    }

    /// Returns the keys. `budgets` and `spent` are those of [`Seen`](super::Seen).
    pub(super) fn keys(
        &self,
        budgets: &BTreeMap<Arc<str>, u64>,
        spent: &SpentByKey,
    ) -> Vec<KeySample> {
        let mut inner = HashMap::<&str, Spent>::new();
        for ((_, key), spent) in spent {
            let sum = inner.entry(key).or_default();
            sum.tokens = sum.tokens.saturating_add(spent.tokens);
            sum.cost = sum.cost.saturating_add(spent.cost);
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.counts.iter();
        keys.map(|(name, key)| {
            // The endings are read first, so that a call that ends meanwhile counts as in flight.
            let ended = key.ended.load(Relaxed);
            let calls = key.calls.load(Relaxed);
            let inner = inner.get(name.as_str()).copied().unwrap_or_default();
            let cost = Money::from_nano(key.cost.load(Relaxed));
            KeySample {
                name: name.clone(),
                in_flight: calls.saturating_sub(ended),
                calls,
                tokens: key.tokens.load(Relaxed).saturating_add(inner.tokens),
                cost: cost.saturating_add(inner.cost),
                budget_permille: budgets.get(name.as_str()).copied(),
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::inner::Purpose;

    fn counters(lanes: &[&str], keys: &[&str]) -> Counters {
        let mut settings = Settings::default();
        settings.models[0].price = Some(kebne_quota::Price::default());
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let costs = Costs::new(&settings);
        Counters::new(owned(lanes).into_iter(), owned(keys).into_iter(), costs)
    }

    #[test]
    fn quantiles_are_those_of_the_calls_since_the_earlier_moment() {
        let counters = counters(&["a"], &[]);
        counters.first_token("a", Duration::from_secs(100));
        let before = counters.first_tokens("a");
        assert_eq!(before.since(&before), None);
        for _ in 0..98 {
            counters.first_token("a", Duration::from_millis(100));
        }
        for _ in 0..2 {
            counters.first_token("a", Duration::from_secs(3));
        }
        counters.first_token("unknown", Duration::from_secs(3));
        let seen = counters.first_tokens("a").since(&before).unwrap();
        assert_eq!(seen.calls, 100);
        assert!((90.0..=110.0).contains(&seen.p50_ms), "{seen:?}");
        assert!((2700.0..=3300.0).contains(&seen.p99_ms), "{seen:?}");
    }

    #[test]
    fn extreme_times_are_counted_in_the_outer_buckets() {
        let counters = counters(&["a"], &[]);
        counters.first_token("a", Duration::ZERO);
        counters.first_token("a", Duration::MAX);
        let seen = counters
            .first_tokens("a")
            .since(&FirstTokens::NONE)
            .unwrap();
        assert_eq!(seen.calls, 2);
        assert!(seen.p50_ms <= 1.0, "{seen:?}");
        assert!(seen.p99_ms >= 800_000.0, "{seen:?}");
    }

    #[test]
    fn a_key_counts_its_calls_and_those_in_flight() {
        let counters = counters(&[], &["a", "b"]);
        counters.arrived("a");
        counters.arrived("a");
        let consumed = Consumed {
            tokens: 12,
            cost: Some(Money::from_nano(5)),
            is_estimated: false,
        };
        counters.ended("a", &consumed);
        counters.ended("unknown", &consumed);
        counters.arrived("new");
        let spent = |tokens| Spent {
            tokens,
            cost: Money::from_nano(tokens),
        };
        let spent = SpentByKey::from([
            ((Purpose::Summary, "b".into()), spent(3)),
            ((Purpose::Embedding, "b".into()), spent(4)),
            ((Purpose::Embedding, "".into()), spent(50)),
        ]);
        let keys = counters.keys(&BTreeMap::from([("b".into(), 870)]), &spent);
        assert_eq!((keys[0].calls, keys[0].in_flight), (2, 1));
        assert_eq!((keys[0].tokens, keys[0].cost.nano()), (12, 5));
        assert_eq!((keys[1].calls, keys[1].in_flight), (0, 0));
        // What was asked of models on behalf of a key is used by it, and is no call.
        assert_eq!((keys[1].tokens, keys[1].cost.nano()), (7, 7));
        assert_eq!(
            (keys[0].budget_permille, keys[1].budget_permille),
            (None, Some(870))
        );
        let cost = counters.cost(&spent).unwrap();
        assert_eq!((&*cost.currency, cost.total.nano()), ("USD", 67));
    }
}
