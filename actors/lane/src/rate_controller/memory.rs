//! State that survives a restart of the controller: learned values, and the last verdicts and state changes.

use std::collections::VecDeque;

use kebne_control::{LaneState, Lease, Snapshot, Timestamp, Verdict};

use crate::snapshot::PastVerdict;

/// Verdicts kept for `/state`: enough to see the last climb.
const VERDICTS_KEPT: usize = 32;
/// State changes kept for `/state`: enough to see the last cold start and what led to it.
const STATES_KEPT: usize = 16;

/// The controller's memory.
#[derive(Debug)]
pub(crate) struct ControllerMemory {
    pub(crate) learned: Option<Snapshot>,
    /// The last lease of a backend that is shared with other gateways.
    pub(crate) lease: Option<Lease>,
    verdicts: VecDeque<(Timestamp, Verdict)>,
    /// The number of verdicts so far.
    verdicts_seen: u64,
    states: VecDeque<(LaneState, LaneState)>,
}

impl ControllerMemory {
    pub(crate) fn new(learned: Option<Snapshot>) -> Self {
        Self {
            learned,
            lease: None,
            verdicts: VecDeque::new(),
            verdicts_seen: 0,
            states: VecDeque::new(),
        }
    }

    pub(crate) fn note(&mut self, verdict: Verdict, now: Timestamp) {
        if self.verdicts.len() >= VERDICTS_KEPT {
            self.verdicts.pop_front();
        }
        self.verdicts.push_back((now, verdict));
        self.verdicts_seen += 1;
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
        let newest = self.verdicts.iter().rev();
        let mut verdicts: Vec<_> = newest
            .zip((1..=self.verdicts_seen).rev())
            .map(|(&(at, verdict), number)| PastVerdict {
                number,
                verdict,
                age: now.since(at),
            })
            .collect();
        verdicts.reverse();
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kebne_control::VerdictKind;

    use super::*;

    #[test]
    fn a_verdict_keeps_its_number_when_older_ones_are_dropped() {
        let mut memory = ControllerMemory::new(None);
        for second in 0..40 {
            let verdict = Verdict {
                kind: VerdictKind::Up,
                from: 1.0,
                to: f64::from(second),
                elasticity: None,
                result: "accept",
            };
            memory.note(verdict, Timestamp::from_secs_f64(f64::from(second)));
        }
        let verdicts = memory.verdicts(Timestamp::from_secs_f64(41.0));
        let (first, last) = (verdicts.first().unwrap(), verdicts.last().unwrap());
        assert_eq!(verdicts.len(), VERDICTS_KEPT);
        assert_eq!((first.number, last.number), (9, 40));
        assert_eq!((last.age, last.verdict.to), (Duration::from_secs(2), 39.0));
    }
}
