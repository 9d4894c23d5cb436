//! State that survives a restart of the controller: learned values, and the last verdicts and state changes.

use std::collections::VecDeque;

use kebne_control::{LaneState, Snapshot, Timestamp, Verdict};

use crate::snapshot::PastVerdict;

/// Verdicts kept for `/state`: enough to see the last climb.
const VERDICTS_KEPT: usize = 32;
/// State changes kept for `/state`: enough to see the last cold start and what led to it.
const STATES_KEPT: usize = 16;

/// The controller's memory.
#[derive(Debug)]
pub(crate) struct ControllerMemory {
    pub(crate) learned: Option<Snapshot>,
    verdicts: VecDeque<(Timestamp, Verdict)>,
    states: VecDeque<(LaneState, LaneState)>,
}

impl ControllerMemory {
    pub(crate) fn new(learned: Option<Snapshot>) -> Self {
        Self {
            learned,
            verdicts: VecDeque::new(),
            states: VecDeque::new(),
        }
    }

    pub(crate) fn note(&mut self, verdict: Verdict, now: Timestamp) {
        if self.verdicts.len() >= VERDICTS_KEPT {
            self.verdicts.pop_front();
        }
        self.verdicts.push_back((now, verdict));
    }

    pub(crate) fn moved(&mut self, from: LaneState, to: LaneState) {
        if self.states.len() >= STATES_KEPT {
            self.states.pop_front();
        }
        self.states.push_back((from, to));
    }

    /// Returns the last state changes, oldest first, like `idle->probe`.
    pub(crate) fn states(&self) -> Vec<String> {
        let label =
            |(from, to): &(LaneState, LaneState)| format!("{}->{}", from.label(), to.label());
        self.states.iter().map(label).collect()
    }

    /// Returns the last verdicts, oldest first, with their age at `now`.
    pub(crate) fn verdicts(&self, now: Timestamp) -> Vec<PastVerdict> {
        let verdicts = self.verdicts.iter();
        verdicts
            .map(|&(at, verdict)| PastVerdict {
                verdict,
                age: now.since(at),
            })
            .collect()
    }
}
