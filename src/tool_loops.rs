//! Counts the calls for which the gateway has called tools, by how their rounds have ended.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
#[cfg(feature = "mcp")]
use std::{cell::Cell, sync::Arc};

/// The endings: an answer of the model, calls that are handed to the caller, calls that wait for its approval, the bounds, an error, and a caller that has left.
pub(crate) const ENDINGS: [&str; 10] = [
    "completed",
    "handed_over",
    "awaiting_approval",
    "steps_used",
    "tokens_used",
    "time_used",
    "looping",
    "stalled",
    "failed",
    "abandoned",
];

/// The counts since the start.
#[derive(Debug, Default)]
pub struct ToolLoops([AtomicU64; ENDINGS.len()]);

/// Counts one call when it is dropped: as abandoned, unless another ending was set.
#[cfg(feature = "mcp")]
#[derive(Debug)]
pub(crate) struct Counting {
    loops: Arc<ToolLoops>,
    ending: Cell<&'static str>,
}

impl ToolLoops {
    /// Returns the counts by ending.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Relaxed));
        ENDINGS.into_iter().zip(counts)
    }

    /// Begins to count a call.
    #[cfg(feature = "mcp")]
    pub(crate) fn begin(self: &Arc<Self>) -> Counting {
        Counting {
            loops: Arc::clone(self),
            ending: Cell::new("abandoned"),
        }
    }
}

#[cfg(feature = "mcp")]
impl Counting {
    /// Sets the ending, one of [`ENDINGS`]. The last one counts.
    pub(crate) fn set(&self, ending: &'static str) {
        self.ending.set(ending);
    }
}

#[cfg(feature = "mcp")]
impl Drop for Counting {
    fn drop(&mut self) {
        let ending = self.ending.get();
        let place = ENDINGS.iter().position(|known| *known == ending);
        debug_assert!(place.is_some(), "`{ending}` is not counted");
        if let Some(count) = place.and_then(|place| self.loops.0.get(place)) {
            count.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
#[cfg(feature = "mcp")]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_counted_once_under_its_last_ending() {
        let loops = Arc::new(ToolLoops::default());
        drop(loops.begin());
        let one = loops.begin();
        one.set("completed");
        one.set("failed");
        drop(one);
        let counted = loops.all().filter(|(_, count)| *count > 0);
        assert_eq!(
            counted.collect::<Vec<_>>(),
            [("failed", 1), ("abandoned", 1)]
        );
    }
}
