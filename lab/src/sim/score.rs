//! The score of a run, relative to the oracle's run of the same calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sim::ledger::{End, Ledger, WINDOW};
use crate::sim::number::{mean, quantile, ratio, real, whole};
use crate::sim::scenario::Scenario;

/// The numbers of one run, or their mean over seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    /// Goodput: useful work that ended in time, relative to the oracle.
    pub(crate) goodput: f64,
    /// Calls served over calls offered.
    pub(crate) offered: f64,
    /// Calls served over calls admitted.
    pub(crate) admitted: f64,
    /// Successful attempts over attempts, without the faults that the scenario injects.
    pub(crate) success: f64,
    /// Attempts that failed, over successes.
    pub(crate) wasted: f64,
    /// Calls that were neither served nor refused before their deadline, over calls offered.
    pub(crate) lost: f64,
    /// Calls that were refused although there was room before it was too late for them, over calls offered.
    pub(crate) regretted: f64,
    /// Refusals that came after half of the deadline, over all refusals.
    pub(crate) late: f64,
    /// Attempts over calls offered.
    pub(crate) attempts: f64,
    /// Seconds from the event until the work reaches 90 % of the oracle's; `None` without an event, infinite if it
    /// never does.
    pub(crate) t90: Option<f64>,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Jain's index of the tenants' work over their fair shares; 1 for a single tenant.
    pub(crate) fairness: f64,
    /// 99th percentile of calls in flight over true slots.
    pub(crate) over: f64,
    /// Mean of calls in flight over true slots.
    #[serde(default)]
    pub(crate) load: f64,
    /// Loading answers per cold start; `None` without a cold start.
    pub(crate) wakes: Option<f64>,
    /// Attempts by their outcome.
    pub(crate) ends: BTreeMap<String, f64>,
    /// Calls that were not served, by reason.
    pub(crate) reasons: BTreeMap<String, f64>,
}

fn number(count: u64) -> f64 {
    real(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Computes the score of a run.
pub(crate) fn score(scenario: &Scenario, run: &Ledger, oracle: &Ledger) -> Score {
    // A caller that leaves shows nothing about the lane.
    let calls = real(run.ends.len()) - run.ended(End::Left);
    let served = run.ended(End::Served);
    let count = |label: &str| number(run.attempts.get(label).copied().unwrap_or(0));
    let all: f64 = run.attempts.keys().map(|label| count(label)).sum();
    let good = count("success");
    let injected = count("fault") + number(run.unlucky);
    // The slower one of two attempts of a call is wasted work, but not a failure.
    let overtaken = count("cancelled");
    let cold = count("cold");
    Score {
        goodput: ratio(run.work, oracle.work, 1.0),
        offered: ratio(served, calls, 1.0),
        admitted: ratio(served, calls - run.ended(End::Refused), 1.0),
        success: ratio(good, all - injected - overtaken, 1.0),
        wasted: ratio(all - good, good, all),
        lost: ratio(number(run.lost), calls, 0.0),
        regretted: ratio(number(run.regretted), calls, 0.0),
        late: ratio(number(run.late), number(run.refusals), 0.0),
        attempts: ratio(all, calls, 0.0),
        t90: scenario.event.map(|event| reaction(event, run, oracle)),
        p50: quantile(&run.latencies, 0.5),
        p99: quantile(&run.latencies, 0.99),
        fairness: jain(scenario, &run.tenants, &oracle.tenants),
        over: quantile(&crowding(run), 0.99),
        load: crate::sim::number::mean(&crowding(run)),
        wakes: (run.episodes > 0).then(|| ratio(cold, f64::from(run.episodes), 0.0)),
        ends: run
            .attempts
            .keys()
            .map(|label| ((*label).to_owned(), count(label)))
            .collect(),
        reasons: run
            .reasons
            .iter()
            .map(|(k, v)| (k.clone(), number(*v)))
            .collect(),
    }
}

/// Returns the seconds from the event until two windows in a row reach 90 % of the oracle's work.
fn reaction(event: f64, run: &Ledger, oracle: &Ledger) -> f64 {
    let first = whole(event / WINDOW);
    let pairs = run.windows.iter().zip(&oracle.windows).enumerate();
    let good: Vec<(usize, bool)> = pairs
        .skip(first)
        .filter(|(_, (_, oracle))| **oracle > 0.0)
        .map(|(at, (mine, oracle))| (at, *mine >= 0.9 * oracle))
        .collect();
    for pair in good.windows(2) {
        if let [(at, true), (_, true)] = pair {
            return real(at - first) * WINDOW;
        }
    }
    f64::INFINITY
}

/// Returns Jain's index of each tenant's work over the work that the oracle, which is fair, gave it; for tenants of the
/// first priority.
fn jain(scenario: &Scenario, got: &[f64], fair: &[f64]) -> f64 {
    let shares: Vec<f64> = got
        .iter()
        .zip(fair)
        .zip(&scenario.tenants)
        .filter(|((_, fair), tenant)| **fair > 0.0 && tenant.priority == 0)
        .map(|((got, fair), _)| (got / fair).min(1.0))
        .collect();
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    ratio(sum * sum, real(shares.len()) * squares, 1.0)
}

/// Returns the calls in flight over true slots, at each moment.
fn crowding(run: &Ledger) -> Vec<f64> {
    let moments = run.moments.iter().filter(|moment| moment.capacity > 0);
    moments
        .map(|m| f64::from(m.in_flight) / real(m.capacity))
        .collect()
}

/// Averages the scores of several seeds.
pub(crate) fn average(scores: &[Score]) -> Score {
    let over = |get: fn(&Score) -> f64| mean(&scores.iter().map(get).collect::<Vec<_>>());
    let maybe = |get: fn(&Score) -> Option<f64>| {
        let values: Vec<f64> = scores.iter().filter_map(get).collect();
        (!values.is_empty()).then(|| mean(&values))
    };
    Score {
        goodput: over(|s| s.goodput),
        offered: over(|s| s.offered),
        admitted: over(|s| s.admitted),
        success: over(|s| s.success),
        wasted: over(|s| s.wasted),
        lost: over(|s| s.lost),
        regretted: over(|s| s.regretted),
        late: over(|s| s.late),
        attempts: over(|s| s.attempts),
        t90: maybe(|s| s.t90),
        p50: over(|s| s.p50),
        p99: over(|s| s.p99),
        fairness: over(|s| s.fairness),
        over: over(|s| s.over),
        load: over(|s| s.load),
        wakes: maybe(|s| s.wakes),
        ends: sums(scores, |s| &s.ends),
        reasons: sums(scores, |s| &s.reasons),
    }
}

fn sums(scores: &[Score], get: fn(&Score) -> &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    for (label, number) in scores.iter().flat_map(get) {
        *all.entry(label.clone()).or_default() += number / real(scores.len());
    }
    all
}
