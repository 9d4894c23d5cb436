//! Failures that come sooner than answers do, kept until an answer to the same call would have come.
//!
//! Of calls that are sent together the failures of a broken replica end first. Counted at once, those of a new level would
//! all come before its answers, and no higher level would ever be proved.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Timestamp;
use crate::limit::{Sample, Signal};

/// Most failures kept; more than any window holds. Further ones count at once.
const KEPT: usize = 512;

/// The failures kept, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct EarlyFailures(VecDeque<Sample>);

impl EarlyFailures {
    /// Keeps a failure that came before the usual time of an answer was over; returns `false` if the sample counts at once.
    pub(super) fn keeps(&mut self, sample: &Sample, usual: Option<Duration>) -> bool {
        let sooner = usual.is_none_or(|usual| sample.latency < usual);
        let failed = sample.signal == Signal::Fault && !sample.acknowledged;
        let keeps = failed && sooner && self.0.len() < KEPT;
        if keeps {
            self.0.push_back(*sample);
        }
        keeps
    }

    /// Returns the next failure whose answer would have come by now.
    pub(super) fn next(&mut self, usual: Option<Duration>, now: Timestamp) -> Option<Sample> {
        let usual = usual?;
        self.0.pop_front_if(|early| early.sent.after(usual) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_kept_until_the_answers_are_due_and_only_so_many() {
        let at = Timestamp::from_secs_f64;
        let sample = |signal| Sample {
            signal,
            in_flight: 2,
            in_flight_end: 2,
            sent: at(10.0),
            latency: Duration::from_millis(20),
            log_latency: None,
            binding: true,
            acknowledged: false,
        };
        let usual = Some(Duration::from_secs(1));
        let mut early = EarlyFailures::default();
        assert!(!early.keeps(&sample(Signal::Served), usual));
        assert!(!early.keeps(&sample(Signal::Fault), Some(Duration::from_millis(10))));
        let kept = (0..600).filter(|_| early.keeps(&sample(Signal::Fault), usual));
        assert_eq!(kept.count(), KEPT);
        assert!(early.next(usual, at(10.9)).is_none());
        assert!(early.next(None, at(99.0)).is_none(), "nothing is usual yet");
        assert!(early.next(usual, at(11.0)).is_some());
        assert!(early.keeps(&sample(Signal::Fault), None));
    }
}
