//! The queue of future events, ordered by time and, at equal times, by insertion.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use kebne_control::Timestamp;

use crate::sim::backend::{Answer, JobId};

/// A future event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The call with this index arrives.
    Arrival(usize),
    /// The state of the backend changes by itself.
    Backend,
    /// The client learns of a refusal, after the refusal time.
    Told(Answer),
    /// An answer of the backend is handled, some time after it arrived.
    Handled(Answer, Timestamp),
    /// The caller of this call leaves.
    Leave(usize),
    /// The client of this job disconnects.
    Timeout(JobId),
    /// A wakeup that this gateway requested.
    Gateway(usize),
    /// A gateway renews its lease; `true` for the regular renewal, after which the next one is due.
    Renew(usize, bool),
    /// The controllers restart.
    Restart,
    /// The limit and the capacity are sampled.
    Sample,
}

#[derive(Debug)]
struct Entry {
    key: Reverse<(Timestamp, u64)>,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// The future events.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Entry>,
    made: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Timestamp, event: Event) {
        self.made += 1;
        self.heap.push(Entry {
            key: Reverse((at, self.made)),
            event,
        });
    }

    /// Returns the time of the next event.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.heap.peek().map(|entry| entry.key.0.0)
    }

    pub(crate) fn next(&mut self) -> Option<(Timestamp, Event)> {
        let entry = self.heap.pop()?;
        Some((entry.key.0.0, entry.event))
    }
}
