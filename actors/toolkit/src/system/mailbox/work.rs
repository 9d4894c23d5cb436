//! The work queue: one list for each priority in use.

use std::collections::{BTreeMap, VecDeque};

use actix::Actor;

use crate::system::envelope::Envelope;

/// Messages by priority, in their order within it.
pub(super) struct Work<A: Actor> {
    by_priority: BTreeMap<u8, VecDeque<Entry<A>>>,
    len: usize,
}

struct Entry<A: Actor> {
    envelope: Envelope<A>,
    /// Never dropped for room.
    essential: bool,
}

/// Which message is dropped for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Oldest,
    Youngest,
}

impl<A: Actor> Work<A> {
    pub(super) fn new() -> Self {
        Self {
            by_priority: BTreeMap::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back(&mut self, priority: u8, envelope: Envelope<A>) {
        self.push(priority, envelope, false);
    }

    pub(super) fn push_essential(&mut self, priority: u8, envelope: Envelope<A>) {
        self.push(priority, envelope, true);
    }

    fn push(&mut self, priority: u8, envelope: Envelope<A>, essential: bool) {
        self.len += 1;
        let queue = self.by_priority.entry(priority).or_default();
        queue.push_back(Entry {
            envelope,
            essential,
        });
    }

    /// Puts a message before all others, whatever their priority.
    pub(super) fn push_front(&mut self, envelope: Envelope<A>) {
        self.len += 1;
        let queue = self.by_priority.entry(u8::MAX).or_default();
        queue.push_front(Entry {
            envelope,
            essential: false,
        });
    }

    pub(super) fn pop_first(&mut self) -> Option<Envelope<A>> {
        let mut queues = self.by_priority.values_mut().rev();
        let entry = queues.find_map(VecDeque::pop_front)?;
        self.len -= 1;
        Some(entry.envelope)
    }

    /// Takes a message of the lowest priority, none above `priority`.
    pub(super) fn evict(&mut self, end: End, priority: u8) -> Option<Envelope<A>> {
        let mut queues = self.by_priority.range_mut(..=priority);
        let entry = queues.find_map(|(_, queue)| {
            let mut entries = queue.iter();
            let at = match end {
                End::Oldest => entries.position(|entry| !entry.essential),
                End::Youngest => entries.rposition(|entry| !entry.essential),
            };
            at.and_then(|at| queue.remove(at))
        })?;
        self.len -= 1;
        Some(entry.envelope)
    }

    /// Takes all messages that may be dropped for room.
    pub(super) fn evict_all(&mut self) -> Vec<Envelope<A>> {
        let mut evicted = Vec::new();
        for queue in self.by_priority.values_mut().rev() {
            let all = std::mem::take(queue);
            let (essential, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|entry| entry.essential);
            queue.extend(essential);
            evicted.extend(others.into_iter().map(|entry| entry.envelope));
        }
        self.len -= evicted.len();
        evicted
    }

    /// Takes all messages, the first first.
    pub(super) fn take_all(&mut self) -> Vec<Envelope<A>> {
        self.len = 0;
        let queues = std::mem::take(&mut self.by_priority);
        let entries = queues.into_values().rev().flatten();
        entries.map(|entry| entry.envelope).collect()
    }
}
