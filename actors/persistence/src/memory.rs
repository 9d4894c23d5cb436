//! A journal in memory, for tests and for what may be lost with the process.

use std::{
    collections::BTreeMap,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::journal::{Journal, JournalError, Payload, Recorded, Snapshots, Step};

/// Keeps events and snapshots in memory, without a bound; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    ids: Arc<Mutex<BTreeMap<String, Kept>>>,
}

#[derive(Debug, Default)]
struct Kept {
    highest: u64,
    events: BTreeMap<u64, Payload>,
    snapshots: BTreeMap<u64, Payload>,
}

impl MemoryJournal {
    fn ids(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T: Send + 'static>(&self, id: &str, act: impl FnOnce(&mut Kept) -> T) -> Step<T> {
        let mut ids = self.ids();
        Box::pin(ready(Ok(act(ids.entry(id.to_owned()).or_default()))))
    }
}

fn recorded((&sequence, payload): (&u64, &Payload)) -> Recorded {
    Recorded {
        sequence,
        payload: payload.clone(),
    }
}

impl Journal for MemoryJournal {
    fn append(&self, id: &str, first: u64, events: Vec<Payload>) -> Step<()> {
        let mut ids = self.ids();
        let kept = ids.entry(id.to_owned()).or_default();
        if first <= kept.highest {
            let conflict = JournalError::Conflict {
                id: id.to_owned(),
                sequence: first,
            };
            return Box::pin(ready(Err(conflict)));
        }
        for (sequence, payload) in (first..).zip(events) {
            kept.highest = sequence;
            kept.events.insert(sequence, payload);
        }
        Box::pin(ready(Ok(())))
    }

    fn read(&self, id: &str, from: u64, limit: usize) -> Step<Vec<Recorded>> {
        self.with(id, |kept| {
            let events = kept.events.range(from..).take(limit);
            events.map(recorded).collect()
        })
    }

    fn highest(&self, id: &str) -> Step<u64> {
        self.with(id, |kept| kept.highest)
    }

    fn delete(&self, id: &str, to: u64) -> Step<()> {
        self.with(id, |kept| kept.events.retain(|&sequence, _| sequence > to))
    }
}

impl Snapshots for MemoryJournal {
    fn save(&self, id: &str, snapshot: Recorded) -> Step<()> {
        self.with(id, |kept| {
            kept.snapshots.insert(snapshot.sequence, snapshot.payload);
        })
    }

    fn latest(&self, id: &str) -> Step<Option<Recorded>> {
        self.with(id, |kept| kept.snapshots.last_key_value().map(recorded))
    }

    fn delete_snapshots(&self, id: &str, to: u64) -> Step<()> {
        self.with(id, |kept| {
            kept.snapshots.retain(|&sequence, _| sequence > to);
        })
    }
}
