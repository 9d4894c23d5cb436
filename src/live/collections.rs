//! Collections on the live page: what they hold, and how long the steps of the last searches took.

use std::{collections::VecDeque, time::Duration};

use kebne_collections::Totals;
use serde::Serialize;

use super::{Live, lock};

/// The calls whose times are kept.
const CALLS_KEPT: usize = 256;
/// The most steps of a call.
const STEPS_MAX: usize = 8;

/// What collections hold, and how searches in them go.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CollectionsSample {
    /// The number of collections.
    pub collections: u64,
    /// Files of collections that can be searched.
    pub files: u64,
    /// Files that wait to be read.
    pub waiting: u64,
    /// Files that cannot be read.
    pub failed: u64,
    /// The chunks of all files.
    pub chunks: u64,
    /// The bytes of the chunks and their vectors.
    pub bytes: u64,
    /// The bytes that the indexes in memory take.
    pub index_bytes: u64,
    /// The steps of the last calls that searched.
    pub steps: Vec<StepSample>,
}

/// How long one step took in the last calls that had it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepSample {
    /// The name: `fetch`, `embed`, `search`, `rerank`, `assemble` or `inference`.
    pub step: &'static str,
    /// The number of calls.
    pub calls: usize,
    /// The median.
    pub p50_ms: f64,
    /// The 95th of 100.
    pub p95_ms: f64,
}

/// The times of the steps of the last calls that searched.
#[derive(Debug, Default)]
pub(super) struct StepTimes {
    calls: VecDeque<Vec<(&'static str, Duration)>>,
}

impl Live {
    /// Takes note of what collections hold; `None` if the store does not answer.
    pub fn note_collections(&self, totals: Option<Totals>) {
        *lock(&self.collections) = totals;
    }

    /// Returns what collections held when they were counted last.
    pub fn collections(&self) -> Option<Totals> {
        *lock(&self.collections)
    }

    /// Takes note of the steps of a call that searched.
    pub fn steps(&self, steps: impl Iterator<Item = (&'static str, Duration)>) {
        lock(&self.steps).add(steps);
    }

    /// Returns what collections hold and how searches go; `None` while there is nothing.
    pub fn collections_sample(&self, index_bytes: usize) -> Option<CollectionsSample> {
        let totals = self.collections().unwrap_or_default();
        let steps = lock(&self.steps).samples();
        let is_empty = totals.collections == 0 && steps.is_empty();
        (!is_empty).then(|| CollectionsSample::new(&totals, index_bytes, steps))
    }
}

impl StepTimes {
    /// Adds the steps of a call.
    pub(super) fn add(&mut self, steps: impl Iterator<Item = (&'static str, Duration)>) {
        let steps: Vec<_> = steps.take(STEPS_MAX).collect();
        if steps.is_empty() {
            return;
        }
        if self.calls.len() >= CALLS_KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(steps);
    }

    /// Returns the steps in the order in which a call has them.
    pub(super) fn samples(&self) -> Vec<StepSample> {
        let names = [
            "fetch",
            "embed",
            "search",
            "rerank",
            "assemble",
            "inference",
        ];
        let all = || self.calls.iter().flatten();
        let samples = names.into_iter().filter_map(|step| {
            let of_step = all().filter(|(name, _)| *name == step);
            let mut times: Vec<Duration> = of_step.map(|(_, time)| *time).collect();
            times.sort_unstable();
            let last = times.len().checked_sub(1)?;
            let at = |percent: usize| millis(times[last * percent / 100]);
            Some(StepSample {
                step,
                calls: times.len(),
                p50_ms: at(50),
                p95_ms: at(95),
            })
        });
        samples.collect()
    }
}

impl CollectionsSample {
    /// Returns the sample of what collections hold.
    pub(super) fn new(totals: &Totals, index_bytes: usize, steps: Vec<StepSample>) -> Self {
        Self {
            collections: totals.collections,
            files: totals.files.completed,
            waiting: totals.files.in_progress,
            failed: totals.files.failed,
            chunks: totals.chunks,
            bytes: totals.bytes,
            index_bytes: u64::try_from(index_bytes).unwrap_or(u64::MAX),
            steps,
        }
    }
}

/// Returns milliseconds with two digits after the point.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_the_last_calls_are_summed_up_in_their_order() {
        let mut times = StepTimes::default();
        for at in 1..=300_u64 {
            let steps = [
                ("search", Duration::from_micros(at * 10)),
                ("embed", Duration::from_millis(2)),
            ];
            times.add(steps.into_iter().skip(usize::from(at % 2 == 0) * 2));
        }
        let samples = times.samples();
        assert_eq!(
            samples.iter().map(|step| step.step).collect::<Vec<_>>(),
            ["embed", "search"]
        );
        assert_eq!(samples[1].calls, 150);
        assert!(
            samples[1].p50_ms > 1.4 && samples[1].p95_ms > 2.7,
            "{samples:?}"
        );
        assert!((samples[0].p50_ms - 2.0).abs() < 1e-9);
        assert!(StepTimes::default().samples().is_empty());
    }

    #[test]
    fn only_so_many_calls_are_kept() {
        let mut times = StepTimes::default();
        for _ in 0..1000 {
            times.add([("search", Duration::from_millis(1))].into_iter());
        }
        assert_eq!(times.samples()[0].calls, CALLS_KEPT);
    }
}
