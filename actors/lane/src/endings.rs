//! Counts the calls of a lane and their endings.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use serde::{Serialize, Serializer};

use crate::call::Ending;

/// The counters of one lane, shared by its handles and guards.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    calls: AtomicU64,
    ended: [AtomicU64; Ending::ALL.len()],
    /// The lane was cut off.
    is_cut_off: AtomicBool,
}

/// The calls of a lane and their endings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndingCounts {
    /// Calls that reached the lane.
    pub calls: u64,
    /// Calls by ending, in the order of [`Ending::ALL`]; serialized under the labels of the endings.
    #[serde(serialize_with = "by_label")]
    pub ended: [u64; Ending::ALL.len()],
}

impl Endings {
    pub(crate) fn call(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, ending: Ending) {
        if let Some(counter) = self.ended.get(ending as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// From now on, calls that are dropped count as drained.
    pub(crate) fn cut_off(&self) {
        self.is_cut_off.store(true, SeqCst);
    }

    /// Returns the ending of a call that is dropped now.
    pub(crate) fn of_dropped(&self) -> Ending {
        if self.is_cut_off.load(SeqCst) {
            Ending::Drained
        } else {
            Ending::Cancelled
        }
    }

    pub(crate) fn counts(&self) -> EndingCounts {
        // Endings are read first: a call that ends meanwhile then counts as live instead of as ended without having
        // arrived.
        let ended = std::array::from_fn(|index| {
            self.ended
                .get(index)
                .map_or(0, |counter| counter.load(Relaxed))
        });
        EndingCounts {
            calls: self.calls.load(Relaxed),
            ended,
        }
    }
}

impl EndingCounts {
    /// Returns the calls that ended in `ending`.
    pub fn of(&self, ending: Ending) -> u64 {
        self.ended.get(ending as usize).copied().unwrap_or(0)
    }

    /// Returns the calls that have not ended yet.
    pub fn live(&self) -> u64 {
        self.calls.saturating_sub(self.ended.iter().sum())
    }
}

fn by_label<S: Serializer>(
    ended: &[u64; Ending::ALL.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Ending::ALL.iter().map(|ending| ending.label()).zip(ended))
}
