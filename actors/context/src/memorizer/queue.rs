//! The sessions that wait, each once. Owners take turns.

use std::collections::{BTreeMap, VecDeque};

/// A session that may need a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) owner: String,
    pub(super) session: String,
    /// The tokens that the history of its next call will have.
    pub(super) history_tokens: u64,
}

/// A bounded queue.
#[derive(Debug)]
pub(super) struct Queue {
    max: usize,
    len: usize,
    /// The jobs of each owner that has some.
    jobs: BTreeMap<String, VecDeque<Job>>,
    /// These owners, the next first.
    owners: VecDeque<String>,
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            len: 0,
            jobs: BTreeMap::new(),
            owners: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a job; a job of the same session is replaced. Returns `false` if the queue is full.
    pub(super) fn push(&mut self, job: Job) -> bool {
        let of_owner = self.jobs.get_mut(&job.owner);
        let waits = of_owner.and_then(|jobs| {
            let mut jobs = jobs.iter_mut();
            jobs.find(|waits| waits.session == job.session)
        });
        if let Some(waits) = waits {
            *waits = job;
            return true;
        }
        if self.len >= self.max {
            return false;
        }
        let jobs = self.jobs.entry(job.owner.clone()).or_default();
        if jobs.is_empty() {
            self.owners.push_back(job.owner.clone());
        }
        jobs.push_back(job);
        self.len += 1;
        true
    }

    /// Takes the next job. Owners are served one after another.
    pub(super) fn pop(&mut self) -> Option<Job> {
        let owner = self.owners.pop_front()?;
        let jobs = self.jobs.get_mut(&owner)?;
        let job = jobs.pop_front()?;
        self.len -= 1;
        if jobs.is_empty() {
            self.jobs.remove(&owner);
        } else {
            self.owners.push_back(owner);
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(owner: &str, session: &str) -> Job {
        Job {
            owner: owner.to_owned(),
            session: session.to_owned(),
            history_tokens: 1,
        }
    }

    #[test]
    fn owners_take_turns_and_a_session_waits_once() {
        let mut queue = Queue::new(5);
        for session in ["a1", "a2", "a3", "a2"] {
            assert!(queue.push(job("ann", session)));
        }
        assert!(queue.push(job("bob", "b1")));
        assert!(queue.push(job("eve", "e1")));
        assert!(!queue.push(job("eve", "e2")));
        let again = Job {
            history_tokens: 7,
            ..job("bob", "b1")
        };
        assert!(queue.push(again.clone()));
        assert_eq!(queue.len(), 5);
        assert_eq!(queue.pop(), Some(job("ann", "a1")));
        assert_eq!(queue.pop(), Some(again));
        let rest: Vec<String> = std::iter::from_fn(|| Some(queue.pop()?.session)).collect();
        assert_eq!(rest, ["e1", "a2", "a3"]);
        assert_eq!(queue.len(), 0);
        assert!(queue.push(job("ann", "a1")));
    }
}
