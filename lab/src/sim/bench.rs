//! The comparison: runs every scenario and seed with the oracle and with every entrant, on several threads.
//!
//! Each cell depends only on its scenario, seed and entrant, and is stored by index, so the table does not depend on
//! the order in which threads finish.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::sim::entrant::Entrant;
use crate::sim::ledger::{Ledger, Moment};
use crate::sim::scenario::Scenario;
use crate::sim::score::{Score, average, score};
use crate::sim::{oracle, run};

/// The scope of a comparison.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) entrants: Vec<Entrant>,
    /// The seeds of every scenario.
    pub(crate) seeds: Vec<u64>,
    pub(crate) threads: usize,
    /// Whether a progress bar is shown on standard error.
    pub(crate) bar: bool,
}

/// The results of one scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) title: String,
    /// The mean over seeds of each entrant, in the plan's order.
    pub(crate) scores: Vec<Score>,
    /// Goodput of each entrant and seed.
    pub(crate) spread: Vec<Vec<f64>>,
    /// Served over offered calls of the oracle.
    pub(crate) oracle_offered: f64,
    /// Limit and capacity over time, of the first entrant at the first seed.
    #[serde(skip)]
    pub(crate) moments: Vec<Moment>,
}

#[derive(Debug)]
struct Cell {
    scores: Vec<Score>,
    oracle_offered: f64,
    moments: Vec<Moment>,
}

fn cell(scenario: &Scenario, seed: u64, entrants: &[Entrant]) -> Cell {
    let reference = oracle::run(scenario, seed);
    let runs: Vec<Ledger> = entrants
        .iter()
        .map(|entrant| run::run(scenario, seed, *entrant, false))
        .collect();
    let scores = runs
        .iter()
        .map(|run| score(scenario, run, &reference))
        .collect();
    Cell {
        scores,
        oracle_offered: score(scenario, &reference, &reference).offered,
        moments: runs.into_iter().next().map_or(Vec::new(), |r| r.moments),
    }
}

/// Runs the plan.
pub(crate) fn compare(plan: &Plan) -> Vec<Row> {
    let jobs = plan.scenarios.len() * plan.seeds.len();
    let next = AtomicUsize::new(0);
    let cells: Mutex<Vec<Option<Cell>>> = Mutex::new((0..jobs).map(|_| None).collect());
    let bar = if plan.bar {
        ProgressBar::new(u64::try_from(jobs).unwrap_or(0))
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {elapsed}") {
        bar.set_style(style);
    }
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let place = (
                        plan.scenarios.get(job / plan.seeds.len().max(1)),
                        plan.seeds.get(job % plan.seeds.len().max(1)),
                    );
                    let (Some(scenario), Some(&seed)) = place else {
                        return;
                    };
                    bar.set_message(scenario.name.clone());
                    let done = cell(scenario, seed, &plan.entrants);
                    let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(slot) = cells.get_mut(job) {
                        *slot = Some(done);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let cells = cells.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut cells = cells.into_iter().flatten();
    let rows = plan.scenarios.iter().map(|scenario| {
        let own: Vec<Cell> = cells.by_ref().take(plan.seeds.len()).collect();
        row(scenario, own, plan.entrants.len())
    });
    rows.collect()
}

fn row(scenario: &Scenario, cells: Vec<Cell>, entrants: usize) -> Row {
    let by_entrant = |index: usize| -> Vec<Score> {
        let scores = cells.iter().filter_map(|cell| cell.scores.get(index));
        scores.cloned().collect()
    };
    let offered: Vec<f64> = cells.iter().map(|cell| cell.oracle_offered).collect();
    Row {
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        scores: (0..entrants).map(|i| average(&by_entrant(i))).collect(),
        spread: (0..entrants)
            .map(|i| by_entrant(i).iter().map(|s| s.goodput).collect())
            .collect(),
        oracle_offered: crate::sim::number::mean(&offered),
        moments: cells
            .into_iter()
            .next()
            .map_or(Vec::new(), |cell| cell.moments),
    }
}
