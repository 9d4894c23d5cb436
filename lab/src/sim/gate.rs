//! The gate: a short run whose results must not fall below recorded numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sim::bench::{Plan, Row, compare};
use crate::sim::entrant::Entrant;
use crate::sim::number::mean;
use crate::sim::scenario::Scenario;
use crate::sim::{engines, jobs, mixed, random};

/// The largest allowed decrease of the mean goodput.
const MEAN_SLACK: f64 = 0.005;
/// The largest allowed decrease in one scenario.
const ONE_SLACK: f64 = 0.03;
/// The seeds of the gate. The bench uses others, so that a law is not tuned on the gate's runs.
const SEEDS: [u64; 2] = [7, 8];
/// The gate's random scenarios.
const RANDOM: std::ops::Range<u64> = 0..24;

/// The recorded numbers of one scenario.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    /// Goodput: useful work relative to the oracle, at most 1.
    pub(crate) goodput: f64,
    /// The share of attempts without an avoidable failure.
    pub(crate) success: f64,
}

/// All recorded numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Marks {
    /// The numbers of each scenario by its name.
    pub(crate) scenarios: BTreeMap<String, Mark>,
}

/// Runs the gate's plan.
pub(crate) fn measure(named: Vec<Scenario>, entrant: Entrant, bar: bool) -> Marks {
    // The soak scenario is run only by the bench, because it takes as long as all others together.
    let short: Vec<Scenario> = named.into_iter().filter(|s| s.duration < 1000.0).collect();
    let variants: Vec<Scenario> = short.iter().map(mixed::variant).collect();
    let drawn = RANDOM
        .map(random::draw)
        .chain(RANDOM.map(mixed::draw))
        .chain(RANDOM.map(jobs::draw))
        .chain(RANDOM.map(engines::draw));
    let plan = Plan {
        scenarios: short.into_iter().chain(variants).chain(drawn).collect(),
        entrants: vec![entrant],
        seeds: SEEDS.to_vec(),
        threads: 2,
        bar,
    };
    let rows = compare(&plan);
    Marks {
        scenarios: rows.iter().filter_map(mark).collect(),
    }
}

fn mark(row: &Row) -> Option<(String, Mark)> {
    let score = row.scores.first()?;
    // Rounded to five digits for readability.
    let short = |value: f64| (value * 1e5).round() / 1e5;
    let mark = Mark {
        goodput: short(score.goodput.min(1.0)),
        success: short(score.success),
    };
    Some((row.scenario.clone(), mark))
}

/// Compares the numbers with the recorded ones and returns a description of each decrease that is too large.
pub(crate) fn judge(recorded: &Marks, measured: &Marks) -> Vec<String> {
    let mut failures = Vec::new();
    let pairs: Vec<(&String, Mark, Mark)> = recorded
        .scenarios
        .iter()
        .filter_map(|(name, old)| Some((name, *old, *measured.scenarios.get(name)?)))
        .collect();
    if recorded.scenarios.len() != measured.scenarios.len()
        || pairs.len() != recorded.scenarios.len()
    {
        failures
            .push("the scenarios differ from the recorded ones; run `gate --record`".to_owned());
    }
    compare_one("goodput", &pairs, |mark| mark.goodput, &mut failures);
    compare_one("success", &pairs, |mark| mark.success, &mut failures);
    failures
}

fn compare_one(
    what: &str,
    pairs: &[(&String, Mark, Mark)],
    get: fn(&Mark) -> f64,
    failures: &mut Vec<String>,
) {
    let olds: Vec<f64> = pairs.iter().map(|(_, old, _)| get(old)).collect();
    let news: Vec<f64> = pairs.iter().map(|(_, _, new)| get(new)).collect();
    let (old, new) = (mean(&olds), mean(&news));
    if new < old - MEAN_SLACK {
        failures.push(format!("mean {what} fell from {old:.4} to {new:.4}"));
    }
    for (name, old, new) in pairs {
        let (old, new) = (get(old), get(new));
        if new < old - ONE_SLACK {
            failures.push(format!("{name}: {what} fell from {old:.3} to {new:.3}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(first: f64, second: f64) -> Marks {
        let mark = |goodput| Mark {
            goodput,
            success: 1.0,
        };
        Marks {
            scenarios: [
                ("A".to_owned(), mark(first)),
                ("B".to_owned(), mark(second)),
            ]
            .into(),
        }
    }

    #[test]
    fn a_fall_of_one_scenario_or_of_the_mean_is_named() {
        let recorded = marks(0.95, 0.95);
        assert!(judge(&recorded, &marks(0.95, 0.945)).is_empty());
        assert!(judge(&recorded, &marks(0.99, 0.925)).is_empty());
        let one = judge(&recorded, &marks(0.99, 0.91));
        assert_eq!(one, ["B: goodput fell from 0.950 to 0.910"]);
        let mean = judge(&recorded, &marks(0.94, 0.94));
        assert_eq!(mean, ["mean goodput fell from 0.9500 to 0.9400"]);
    }

    #[test]
    fn a_missing_scenario_fails_the_gate() {
        let mut measured = marks(1.0, 1.0);
        measured.scenarios.remove("B");
        assert_eq!(judge(&marks(0.9, 0.9), &measured).len(), 1);
    }
}
