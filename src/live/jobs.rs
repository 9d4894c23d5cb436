//! What the stores of jobs and of agents hold, as they were counted last.

use kebne_jobs::Totals;

use super::{Live, lock};

impl Live {
    /// Takes note of what the store of jobs holds; `None` if it does not answer.
    pub fn note_jobs(&self, totals: Option<Totals>) {
        *lock(&self.jobs) = totals;
    }

    /// Takes note of the runs that the store of agents holds; `None` if it does not answer.
    pub fn note_agents(&self, totals: Option<kebne_agents::Totals>) {
        *lock(&self.agents) = totals;
    }

    /// Returns the runs that the store of agents held when they were counted last.
    pub fn agents(&self) -> Option<kebne_agents::Totals> {
        *lock(&self.agents)
    }

    /// Returns what the store of jobs held when it was counted last.
    pub fn jobs(&self) -> Option<Totals> {
        lock(&self.jobs).clone()
    }
}
