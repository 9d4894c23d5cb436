//! What is counted since the start.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{
    model::Usage,
    run::{CallOutcome, Ending, RunEvent},
};

/// Counts of this process.
#[derive(Debug, Default)]
pub struct Counts {
    running: AtomicUsize,
    tally: Mutex<Tally>,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs that were started.
    pub started: u64,
    /// Runs that have ended, by their ending.
    pub ended: BTreeMap<Ending, u64>,
    /// Answers of models.
    pub steps: u64,
    /// Calls of tools that have a result, by its kind.
    pub calls: BTreeMap<&'static str, u64>,
    /// Decisions of humans.
    pub decisions: u64,
    /// What models have used, as they report it.
    pub usage: Usage,
}

impl Counts {
    /// Returns how many runs go on in this process.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// Returns what was counted.
    pub fn tally(&self) -> Tally {
        self.lock().clone()
    }

    pub(crate) fn set_running(&self, running: usize) {
        self.running.store(running, Relaxed);
    }

    /// Counts an event, once, when it is written.
    pub(crate) fn note(&self, event: &RunEvent) {
        let mut tally = self.lock();
        match event {
            RunEvent::Began(_) => tally.started += 1,
            RunEvent::Answered { usage, .. } => {
                tally.steps += 1;
                tally.usage = tally.usage.plus(*usage);
            }
            RunEvent::Returned { outcome, .. } => {
                *tally.calls.entry(outcome.name()).or_default() += 1;
            }
            RunEvent::Decided { .. } => tally.decisions += 1,
            RunEvent::Ended { ending, .. } => *tally.ended.entry(*ending).or_default() += 1,
            RunEvent::Calling { .. }
            | RunEvent::Held { .. }
            | RunEvent::HandedOff { .. }
            | RunEvent::CancelAsked { .. } => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallOutcome {
    /// All kinds of results.
    pub const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Unknown, Self::Denied];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Denied => "denied",
        }
    }
}
