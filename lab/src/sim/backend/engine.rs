//! The jobs in service, which all progress at the same speed, and the jobs that wait.
//!
//! Progress is one counter for all jobs: a job is done when the counter has reached its mark. Slots (speed 1), batch
//! servers (the speed falls with the number of jobs) and thrashing use the same model.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kebne_control::Timestamp;

use crate::sim::number::{at, real};
use crate::sim::scenario::{Batch, Thrash};

/// The id of a job at the backend; unique in a run.
pub(crate) type JobId = u64;

/// The work of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// Work in service seconds or tokens, prefill included.
    pub(crate) work: f64,
    /// Work until the first part of a streamed answer; `None` if the answer does not stream.
    pub(crate) first: Option<f64>,
    /// `true` if the job ends in a fault.
    pub(crate) fault: bool,
}

/// A mark that the progress counter has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Passed {
    /// The first part of the answer is sent.
    First(JobId),
    /// The work is done.
    Finished(JobId),
}

/// The service model of the backend.
#[derive(Debug)]
pub(crate) struct Engine {
    batch: Option<Batch>,
    thrash: Option<Thrash>,
    odometer: f64,
    at: Timestamp,
    /// The marks, as the bits of positive floats, which have the order of the floats.
    marks: BTreeSet<(u64, Passed)>,
    running: BTreeMap<JobId, (u64, Option<u64>)>,
    line: VecDeque<(JobId, Job)>,
    /// The factor by which all work is slowed down.
    pub(crate) drag: f64,
}

impl Engine {
    pub(crate) fn new(batch: Option<Batch>, thrash: Option<Thrash>) -> Self {
        Self {
            batch,
            thrash,
            odometer: 0.0,
            at: Timestamp::ZERO,
            marks: BTreeSet::new(),
            running: BTreeMap::new(),
            line: VecDeque::new(),
            drag: 1.0,
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Returns the work per second of each job while `running` jobs are in service and `waiting` jobs hold memory.
    pub(crate) fn speed(&self, running: usize, waiting: usize) -> f64 {
        let base = self
            .batch
            .map_or(1.0, |b| 1.0 / (b.t0 + b.t1 * real(running)));
        let load = real(running + waiting);
        let thrash = self.thrash.map_or(1.0, |t| {
            (1.0 - t.slope * (load / t.knee - 1.0))
                .max(t.floor)
                .min(1.0)
        });
        base * thrash / self.drag
    }

    fn present_speed(&self) -> f64 {
        self.speed(self.running.len(), self.line.len())
    }

    /// Advances the progress to `now` and returns the marks that were reached, in order.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Vec<Passed> {
        let elapsed = now.since(self.at).as_secs_f64();
        if !self.running.is_empty() {
            self.odometer += elapsed * self.present_speed();
        }
        self.at = now;
        let mut passed = Vec::new();
        while let Some(&(mark, what)) = self.marks.first() {
            if f64::from_bits(mark) > self.odometer + 1e-9 {
                break;
            }
            self.marks.pop_first();
            if let Passed::Finished(job) = what {
                self.running.remove(&job);
            }
            passed.push(what);
        }
        passed
    }

    /// Returns the time at which the next mark is reached if nothing changes.
    pub(crate) fn next_mark(&self) -> Option<Timestamp> {
        let &(mark, _) = self.marks.first()?;
        let left = (f64::from_bits(mark) - self.odometer).max(0.0) / self.present_speed();
        // One nanosecond is added so that rounding cannot cause endless early wakeups.
        Some(at(self.at.as_secs_f64() + left).max(Timestamp::from_nanos(self.at.as_nanos() + 1)))
    }

    pub(crate) fn start(&mut self, id: JobId, job: Job) {
        let end = (self.odometer + job.work).to_bits();
        let first = job.first.map(|work| (self.odometer + work).to_bits());
        self.marks.insert((end, Passed::Finished(id)));
        if let Some(first) = first {
            self.marks.insert((first, Passed::First(id)));
        }
        self.running.insert(id, (end, first));
    }

    pub(crate) fn wait(&mut self, id: JobId, job: Job) {
        self.line.push_back((id, job));
    }

    /// Starts waiting jobs while fewer than `slots` run.
    pub(crate) fn fill(&mut self, slots: usize) {
        while self.running.len() < slots {
            let Some((id, job)) = self.line.pop_front() else {
                return;
            };
            self.start(id, job);
        }
    }

    /// Drops a job whose client has disconnected.
    pub(crate) fn cancel(&mut self, id: JobId) {
        if let Some((end, first)) = self.running.remove(&id) {
            self.marks.remove(&(end, Passed::Finished(id)));
            if let Some(first) = first {
                self.marks.remove(&(first, Passed::First(id)));
            }
        } else {
            self.line.retain(|entry| entry.0 != id);
        }
    }

    /// Drops all jobs, as a crash does.
    pub(crate) fn clear(&mut self) {
        self.marks.clear();
        self.running.clear();
        self.line.clear();
    }
}
