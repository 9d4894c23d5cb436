//! The metrics of ended calls.
//!
//! What each call counts is found once per model and operation, so that a call neither makes labels nor waits for a
//! lock that others hold; only refusals and failures look their counters up.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kebne_lane::Ending;
use kebne_quota::Money;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::{
    cost::{Consumed, Prices},
    metrics::{
        labels::{
            Answered, Attempted, ByModel, ByStep, Costs, Ended, GenAi, GenAiEnded, GenAiTokens,
            Guarded, Refused, Tokens,
        },
        names,
        promises::Promises,
        register,
    },
    record::CallRecord,
};

/// Buckets of the conventions for durations, and some for cold starts of minutes.
const DURATION_BUCKETS: [f64; 17] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68, 655.36,
];
/// Buckets of the conventions for the first token, and some for cold starts of minutes.
const FIRST_TOKEN_BUCKETS: [f64; 20] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 60.0, 180.0, 600.0,
];
/// Buckets of the conventions for the time between tokens.
const PER_TOKEN_BUCKETS: [f64; 13] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];
/// Buckets of the conventions for numbers of tokens.
const TOKEN_BUCKETS: [f64; 11] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
];
/// Buckets for the steps of a search, from a look into an index to a model that loads.
const STEP_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0,
];
/// Buckets for waits, from none to a cold start of minutes.
pub(super) const WAIT_BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0,
];

/// The name of this service in the labels of the conventions.
const PROVIDER: &str = "kebne";

/// The outcomes of attempts: those of the law, and the endings of calls whose attempts still ran.
const OUTCOMES: [&str; 17] = [
    "success",
    "cold",
    "absent",
    "rate",
    "limit",
    "quota",
    "fault",
    "timeout",
    "client",
    "unusable",
    "misconfigured",
    "cancelled",
    "error",
    "shed",
    "panic",
    "drained",
    "rejected",
];

/// The most models that are counted by their names, those that are gone included; calls of further ones count as those of an
/// unknown model.
const MODELS_MAX: usize = 4096;

/// The most operations that one model is counted by.
const OPERATIONS_MAX: usize = 16;

/// The families of all models.
#[derive(Clone)]
pub(super) struct Families {
    ended: Family<Ended, Counter>,
    answered: Family<Answered, Counter>,
    refused: Family<Refused, Counter>,
    duration: Family<GenAiEnded, Histogram, fn() -> Histogram>,
    first_token: Family<GenAi, Histogram, fn() -> Histogram>,
    per_token: Family<GenAi, Histogram, fn() -> Histogram>,
    token_usage: Family<GenAiTokens, Histogram, fn() -> Histogram>,
    tokens: Family<Tokens, Counter>,
    queue_wait: Family<ByModel, Histogram, fn() -> Histogram>,
    cold_wait: Family<ByModel, Histogram, fn() -> Histogram>,
    attempts: Family<Attempted, Counter>,
    guards: Family<Guarded, Counter>,
    steps: Family<ByStep, Histogram, fn() -> Histogram>,
}

/// The metrics of ended calls.
pub(super) struct Calls {
    families: Families,
    /// By the model's own name; the empty name is that of unknown models. Models that are gone stay.
    models: RwLock<HashMap<Arc<str>, Arc<Model>>>,
    /// The attempts that succeeded, by lane.
    succeeded: HashMap<Arc<str>, Counter>,
    promises: Promises,
    currency: Arc<str>,
}

/// The metrics of the calls to one model.
struct Model {
    name: Arc<str>,
    endings: [Counter; Ending::ALL.len()],
    ok: Counter,
    queue_wait: Histogram,
    cold_wait: Histogram,
    input: Counter,
    cached: Counter,
    output: Counter,
    /// The cost of its calls.
    cost: Cost,
    operations: [OnceLock<Operation>; OPERATIONS_MAX],
}

/// The cost of calls in billionths, by what it is computed from.
#[derive(Default)]
struct Cost {
    /// `true` once the model has had a price.
    is_priced: AtomicBool,
    reported: AtomicU64,
    estimated: AtomicU64,
}

/// The metrics of one operation of a model.
struct Operation {
    name: &'static str,
    labels: GenAi,
    duration: Histogram,
    first_token: Histogram,
    per_token: Histogram,
    input: Histogram,
    output: Histogram,
}

impl Families {
    fn new() -> Self {
        Self {
            ended: Family::default(),
            answered: Family::default(),
            refused: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_BUCKETS)),
            per_token: Family::new_with_constructor(|| Histogram::new(PER_TOKEN_BUCKETS)),
            token_usage: Family::new_with_constructor(|| Histogram::new(TOKEN_BUCKETS)),
            tokens: Family::default(),
            queue_wait: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
            cold_wait: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
            attempts: Family::default(),
            guards: Family::default(),
            steps: Family::new_with_constructor(|| Histogram::new(STEP_BUCKETS)),
        }
    }
}

impl Model {
    fn new(name: &str, families: &Families) -> Self {
        let name: Arc<str> = name.into();
        let model = || Arc::clone(&name);
        let tokens = |kind| {
            let labels = Tokens {
                model: model(),
                kind,
            };
            families.tokens.get_or_create_owned(&labels)
        };
        let by_model = ByModel { model: model() };
        Self {
            endings: Ending::ALL.map(|ending| {
                let labels = Ended {
                    model: model(),
                    ending: ending.label(),
                };
                families.ended.get_or_create_owned(&labels)
            }),
            ok: families.answered.get_or_create_owned(&Answered {
                model: model(),
                status: 200,
            }),
            queue_wait: families.queue_wait.get_or_create_owned(&by_model),
            cold_wait: families.cold_wait.get_or_create_owned(&by_model),
            input: tokens("input"),
            cached: tokens("cached"),
            output: tokens("output"),
            cost: Cost::default(),
            operations: std::array::from_fn(|_| OnceLock::new()),
            name,
        }
    }

    /// Returns the metrics of an operation, which are made when it is first called.
    fn operation(&self, name: &'static str, families: &Families) -> Option<&Operation> {
        for place in &self.operations {
            let operation = place.get_or_init(|| Operation::new(name, &self.name, families));
            if operation.name == name {
                return Some(operation);
            }
        }
        None
    }
}

impl Cost {
    fn count(&self, consumed: &Consumed) {
        let sum = if consumed.is_estimated {
            &self.estimated
        } else {
            &self.reported
        };
        sum.fetch_add(consumed.cost.unwrap_or_default().nano(), Relaxed);
    }
}

impl Operation {
    fn new(name: &'static str, model: &Arc<str>, families: &Families) -> Self {
        let labels = GenAi {
            gen_ai_operation_name: name,
            gen_ai_provider_name: PROVIDER,
            gen_ai_request_model: Arc::clone(model),
        };
        let tokens = |gen_ai_token_type| {
            let call = labels.clone();
            families.token_usage.get_or_create_owned(&GenAiTokens {
                call,
                gen_ai_token_type,
            })
        };
        Self {
            name,
            duration: families.duration.get_or_create_owned(&GenAiEnded {
                call: labels.clone(),
                error_type: "",
            }),
            first_token: families.first_token.get_or_create_owned(&labels),
            per_token: families.per_token.get_or_create_owned(&labels),
            input: tokens("input"),
            output: tokens("output"),
            labels,
        }
    }

    fn count(&self, record: &CallRecord, families: &Families) {
        let total = record.total().as_secs_f64();
        if record.ending != Ending::Success {
            let labels = GenAiEnded {
                call: self.labels.clone(),
                error_type: record.ending.label(),
            };
            families.duration.get_or_create(&labels).observe(total);
            return;
        }
        self.duration.observe(total);
        if let Some(first) = record.first_token() {
            self.first_token.observe(first.as_secs_f64());
        }
        if let Some(per_token) = record.time_per_token() {
            self.per_token.observe(per_token.as_secs_f64());
        }
        for (histogram, tokens) in [
            (&self.input, record.usage.input),
            (&self.output, record.usage.output),
        ] {
            let tokens = tokens.and_then(|tokens| u32::try_from(tokens).ok());
            if let Some(tokens) = tokens {
                histogram.observe(f64::from(tokens));
            }
        }
    }
}

impl Calls {
    /// Creates the metrics of the calls to these models through these lanes.
    pub(super) fn new<'a>(
        models: impl Iterator<Item = &'a str>,
        lanes: impl Iterator<Item = &'a str>,
        prices: &Prices,
    ) -> Self {
        let families = Families::new();
        let succeeded = lanes.map(|lane| {
            let lane: Arc<str> = lane.into();
            let labels = Attempted {
                lane: Arc::clone(&lane),
                outcome: "success",
            };
            (lane, families.attempts.get_or_create_owned(&labels))
        });
        let calls = Self {
            succeeded: succeeded.collect(),
            promises: Promises::new(),
            models: RwLock::default(),
            families,
            currency: Arc::clone(prices.currency()),
        };
        calls.change(models.chain([""]), prices);
        calls
    }

    /// Adds the models that are not counted yet, and follows their prices.
    pub(super) fn change<'a>(&self, models: impl Iterator<Item = &'a str>, prices: &Prices) {
        let mut counted = self.models.write().unwrap_or_else(PoisonError::into_inner);
        for name in models {
            if !counted.contains_key(name) && counted.len() < MODELS_MAX {
                let model = Arc::new(Model::new(name, &self.families));
                self.promises.add(&model.name);
                counted.insert(Arc::clone(&model.name), model);
            }
            if let Some(model) = counted.get(name)
                && prices.of(name).is_some()
            {
                model.cost.is_priced.store(true, Relaxed);
            }
        }
    }

    /// Returns the metrics of a model, or those of unknown models.
    fn model(&self, name: &str) -> Option<Arc<Model>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(name).or_else(|| models.get("")).cloned()
    }

    /// Counts an ended call.
    pub(super) fn count(&self, record: &CallRecord) {
        let Some(model) = self.model(&record.model) else {
            return;
        };
        // The endings are in the order of the discriminants.
        if let Some(counter) = model.endings.get(record.ending as usize) {
            counter.inc();
        }
        match record.status {
            Some(200) => {
                model.ok.inc();
            }
            Some(status) => {
                let model = Arc::clone(&model.name);
                let labels = Answered { model, status };
                self.families.answered.get_or_create(&labels).inc();
            }
            None => {}
        }
        if record.ending == Ending::Shed {
            let labels = Refused {
                model: Arc::clone(&model.name),
                reason: record.reason,
            };
            self.families.refused.get_or_create(&labels).inc();
        }
        for hit in &record.hits {
            self.families.guards.get_or_create(&Guarded::of(hit)).inc();
        }
        for (step, time) in record.steps() {
            let steps = &self.families.steps;
            steps
                .get_or_create(&ByStep { step })
                .observe(time.as_secs_f64());
        }
        self.count_parts(record, &model);
        self.promises.note(record);
    }

    fn count_parts(&self, record: &CallRecord, model: &Model) {
        if record.trail.entered.is_some() {
            let wait = record.trail.queued;
            model.queue_wait.observe(wait.as_secs_f64());
        }
        if record.trail.cold > Duration::ZERO {
            let cold = record.trail.cold;
            model.cold_wait.observe(cold.as_secs_f64());
        }
        for (counter, tokens) in [
            (&model.input, record.usage.input),
            (&model.cached, record.usage.cached),
            (&model.output, record.usage.output),
        ] {
            if let Some(tokens) = tokens {
                counter.inc_by(tokens);
            }
        }
        model.cost.count(&record.consumed);
        if !record.operation.is_empty()
            && let Some(operation) = model.operation(record.operation, &self.families)
        {
            operation.count(record, &self.families);
        }
        for (attempt, (outcome, _)) in record.trail.attempts.iter().zip(record.causes()) {
            let Some(lane) = record.trail.lanes.get(attempt.lane) else {
                continue;
            };
            let known = self.succeeded.get(lane);
            if let Some(succeeded) = known.filter(|_| outcome == "success") {
                succeeded.inc();
                continue;
            }
            let lane = Arc::clone(lane);
            let labels = Attempted { lane, outcome };
            self.families.attempts.get_or_create(&labels).inc();
        }
    }

    /// Returns the costs. They are summed in billionths and become numbers of units only here.
    fn costs(&self) -> Family<Costs, Counter<f64, AtomicU64>> {
        let family = Family::<Costs, Counter<f64, AtomicU64>>::default();
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let is_priced = |model: &&Arc<Model>| model.cost.is_priced.load(Relaxed);
        for model in models.values().filter(is_priced) {
            let cost = &model.cost;
            for (basis, sum) in [("reported", &cost.reported), ("estimated", &cost.estimated)] {
                let labels = Costs {
                    model: Arc::clone(&model.name),
                    currency: Arc::clone(&self.currency),
                    basis,
                };
                let sum = Money::from_nano(sum.load(Relaxed));
                family.get_or_create(&labels).inc_by(sum.units());
            }
        }
        family
    }

    /// Removes the counters of a lane that is gone, unless it was there from the start.
    pub(super) fn lane_gone(&self, lane: &str) {
        let lane: Arc<str> = lane.into();
        if self.succeeded.contains_key(&lane) {
            return;
        }
        for outcome in OUTCOMES {
            let lane = Arc::clone(&lane);
            self.families.attempts.remove(&Attempted { lane, outcome });
        }
    }

    /// Registers the families.
    pub(super) fn register(&self, registry: &mut Registry) {
        let families = self.families.clone();
        register(registry, &names::REQUESTS, families.ended);
        register(registry, &names::ANSWERS, families.answered);
        register(registry, &names::REFUSALS, families.refused);
        register(registry, &names::DURATION, families.duration);
        register(registry, &names::FIRST_TOKEN, families.first_token);
        register(registry, &names::PER_TOKEN, families.per_token);
        register(registry, &names::TOKEN_USAGE, families.token_usage);
        register(registry, &names::TOKENS, families.tokens);
        register(registry, &names::COST, self.costs());
        register(registry, &names::QUEUE_WAIT, families.queue_wait);
        register(registry, &names::COLD_WAIT, families.cold_wait);
        register(registry, &names::ATTEMPTS, families.attempts);
        register(registry, &names::GUARD, families.guards);
        register(registry, &names::STEP_SECONDS, families.steps);
        self.promises.register(registry);
    }
}
