//! What the store of jobs holds, as it was counted last.

use kebne_jobs::Totals;

use super::{Live, lock};

impl Live {
    /// Takes note of what the store of jobs holds; `None` if it does not answer.
    pub fn note_jobs(&self, totals: Option<Totals>) {
        *lock(&self.jobs) = totals;
    }

    /// Returns what the store of jobs held when it was counted last.
    pub fn jobs(&self) -> Option<Totals> {
        lock(&self.jobs).clone()
    }
}
