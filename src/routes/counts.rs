//! How often each decision was made, how intents were found, and how copies for shadows ended.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::routes::Outcome;

/// The counts of all routes. Their number is bounded by the settings: routes that are gone are removed.
#[derive(Debug, Default)]
pub struct Counts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    decisions: BTreeMap<[String; 3], u64>,
    intents: BTreeMap<(String, Outcome), u64>,
    shadows: BTreeMap<(String, String, &'static str), ShadowSum>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ShadowSum {
    count: u64,
    time: Duration,
    tokens: u64,
}

/// How often a rule has led to a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecisionCount {
    /// The route.
    pub route: String,
    /// The rule.
    pub rule: String,
    /// The model that was called.
    pub target: String,
    /// The calls since the start.
    pub count: u64,
}

/// How often an intent was found in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentCount {
    /// The route.
    pub route: String,
    /// How it was found.
    pub outcome: Outcome,
    /// The calls since the start.
    pub count: u64,
}

/// The copies for a shadow that ended in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowCount {
    /// The route.
    pub route: String,
    /// The model.
    pub model: String,
    /// How they ended.
    pub ending: &'static str,
    /// Their number since the start.
    pub count: u64,
    /// The time that they took together.
    pub time: Duration,
    /// The tokens that they used together, as reported.
    pub tokens: u64,
}

impl Counts {
    /// Counts a decision.
    pub fn decided(&self, route: &str, rule: &str, target: &str, outcome: Outcome) {
        let mut inner = self.lock();
        let decision = [route, rule, target].map(str::to_owned);
        *inner.decisions.entry(decision).or_default() += 1;
        if outcome != Outcome::NotNeeded {
            *inner
                .intents
                .entry((route.to_owned(), outcome))
                .or_default() += 1;
        }
    }

    /// Counts the end of a copy.
    pub fn shadow_ended(
        &self,
        (route, model): (&str, &str),
        ending: &'static str,
        time: Duration,
        tokens: u64,
    ) {
        let mut inner = self.lock();
        let key = (route.to_owned(), model.to_owned(), ending);
        let sum = inner.shadows.entry(key).or_default();
        sum.count += 1;
        sum.time = sum.time.saturating_add(time);
        sum.tokens = sum.tokens.saturating_add(tokens);
    }

    /// Removes the counts of routes that are gone.
    pub fn keep(&self, routes: &[String]) {
        let mut inner = self.lock();
        inner
            .decisions
            .retain(|[route, ..], _| routes.contains(route));
        inner.intents.retain(|(route, _), _| routes.contains(route));
        inner
            .shadows
            .retain(|(route, ..), _| routes.contains(route));
    }

    /// Returns the decisions.
    pub fn decisions(&self) -> Vec<DecisionCount> {
        let inner = self.lock();
        let all = inner.decisions.iter();
        all.map(|([route, rule, target], count)| DecisionCount {
            route: route.clone(),
            rule: rule.clone(),
            target: target.clone(),
            count: *count,
        })
        .collect()
    }

    /// Returns how intents were found.
    pub fn intents(&self) -> Vec<IntentCount> {
        let inner = self.lock();
        let all = inner.intents.iter();
        all.map(|((route, outcome), count)| IntentCount {
            route: route.clone(),
            outcome: *outcome,
            count: *count,
        })
        .collect()
    }

    /// Returns how copies for shadows ended.
    pub fn shadows(&self) -> Vec<ShadowCount> {
        let inner = self.lock();
        let all = inner.shadows.iter();
        all.map(|((route, model, ending), sum)| ShadowCount {
            route: route.clone(),
            model: model.clone(),
            ending,
            count: sum.count,
            time: sum.time,
            tokens: sum.tokens,
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
