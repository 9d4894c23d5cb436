//! The ledger of work pulling: the workers, which of them are idle, and what each of them holds.
//!
//! Pure: no clock, no actor, no random numbers. It is used by the desk of this module and by worker pools elsewhere.
//! An item that was handed out leaves the ledger only through [`Ledger::take`], so that what a worker held when it
//! stopped can be given to another one.

use std::collections::{BTreeMap, VecDeque};

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It was started or restarts, and has not pulled yet.
    Starting,
    /// It pulled and has not received anything since.
    Idle,
    /// It received something and has not pulled again.
    Working,
}

/// Workers `W` and items `T` that are handed to them, each time under a new number `H`.
#[derive(Debug)]
pub struct Ledger<W, H, T> {
    workers: BTreeMap<W, Standing>,
    /// The idle workers; the one that pulled first is in front.
    idle: VecDeque<W>,
    held: BTreeMap<H, (W, T)>,
}

impl<W, H, T> Default for Ledger<W, H, T> {
    fn default() -> Self {
        Self {
            workers: BTreeMap::new(),
            idle: VecDeque::new(),
            held: BTreeMap::new(),
        }
    }
}

impl<W: Copy + Ord, H: Copy + Ord, T> Ledger<W, H, T> {
    /// Creates a ledger without workers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a worker that has not pulled yet.
    pub fn hire(&mut self, worker: W) {
        self.set(worker, Standing::Starting);
    }

    /// Notes that a worker waits for work. Returns `false` if the worker is unknown. Pulling twice counts once.
    pub fn pull(&mut self, worker: W) -> bool {
        let known = self.knows(worker);
        if known && self.workers.get(&worker) != Some(&Standing::Idle) {
            self.set(worker, Standing::Idle);
        }
        known
    }

    /// Notes that a worker restarts: it receives nothing until it pulls.
    pub fn restart(&mut self, worker: W) {
        if self.knows(worker) {
            self.set(worker, Standing::Starting);
        }
    }

    /// Removes a worker; what it holds stays in the ledger. Returns `false` if the worker was unknown.
    pub fn dismiss(&mut self, worker: W) -> bool {
        self.idle.retain(|idle| *idle != worker);
        self.workers.remove(&worker).is_some()
    }

    /// Removes all workers; what they hold stays in the ledger.
    pub fn dismiss_all(&mut self) {
        self.workers.clear();
        self.idle.clear();
    }

    fn set(&mut self, worker: W, standing: Standing) {
        self.idle.retain(|idle| *idle != worker);
        if standing == Standing::Idle {
            self.idle.push_back(worker);
        }
        self.workers.insert(worker, standing);
    }

    /// Returns `true` if the worker was added and not dismissed.
    pub fn knows(&self, worker: W) -> bool {
        self.workers.contains_key(&worker)
    }

    /// Returns the idle workers; the one that pulled first is in front.
    pub fn idle(&self) -> impl DoubleEndedIterator<Item = W> {
        self.idle.iter().copied()
    }

    /// Notes that `thing` was handed to a worker, under a number that was not used before.
    pub fn hand(&mut self, worker: W, number: H, thing: T) {
        if self.knows(worker) {
            self.set(worker, Standing::Working);
        }
        let before = self.held.insert(number, (worker, thing));
        debug_assert!(before.is_none(), "a number is used twice");
    }

    /// Removes and returns what was handed out under that number. The state of its worker does not change.
    pub fn take(&mut self, number: H) -> Option<(W, T)> {
        self.held.remove(&number)
    }

    /// Returns what was handed out under that number, and the worker that has it.
    pub fn held(&self, number: H) -> Option<(W, &T)> {
        let (worker, thing) = self.held.get(&number)?;
        Some((*worker, thing))
    }

    /// Returns the numbers of everything that is held, in ascending order.
    pub fn numbers(&self) -> Vec<H> {
        self.held.keys().copied().collect()
    }

    /// Returns the numbers of what a worker holds, in ascending order.
    pub fn numbers_of(&self, worker: W) -> Vec<H> {
        let held = self.held.iter().filter(|entry| entry.1.0 == worker);
        held.map(|entry| *entry.0).collect()
    }

    /// Returns everything that is held, in the order of the numbers.
    pub fn things(&self) -> impl Iterator<Item = &T> {
        self.held.values().map(|(_, thing)| thing)
    }

    /// Returns the number of workers.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Returns the number of idle workers.
    pub fn idle_count(&self) -> usize {
        self.idle.len()
    }

    /// Returns the number of workers that have not pulled yet.
    pub fn starting_count(&self) -> usize {
        let mut standings = self.workers.values();
        standings
            .by_ref()
            .filter(|s| **s == Standing::Starting)
            .count()
    }

    /// Returns the number of things that are handed out.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn idle(ledger: &Ledger<u8, u32, char>) -> Vec<u8> {
        ledger.idle().collect()
    }

    #[test]
    fn a_worker_gets_nothing_before_it_pulls_and_after_it_restarts() {
        let mut ledger = Ledger::new();
        ledger.hire(1);
        assert_eq!((idle(&ledger), ledger.starting_count()), (vec![], 1));
        assert!(ledger.pull(1));
        assert!(ledger.pull(1), "pulling twice counts once");
        assert_eq!((idle(&ledger), ledger.starting_count()), (vec![1], 0));
        ledger.hand(1, 10, 'a');
        assert_eq!((idle(&ledger), ledger.held_count()), (vec![], 1));
        ledger.restart(1);
        assert_eq!(ledger.starting_count(), 1);
        assert_eq!(ledger.numbers_of(1), [10], "a restart loses nothing");
        assert!(!ledger.pull(2), "the worker is unknown");
        ledger.restart(2);
        assert_eq!(ledger.workers(), 1);
    }

    #[test]
    fn what_a_dead_worker_held_is_still_there() {
        let mut ledger = Ledger::new();
        for worker in [1, 2] {
            ledger.hire(worker);
            ledger.pull(worker);
        }
        ledger.hand(1, 10, 'a');
        ledger.hand(2, 11, 'b');
        assert!(ledger.dismiss(1));
        assert!(!ledger.dismiss(1));
        assert_eq!(ledger.numbers_of(1), [10]);
        assert_eq!(ledger.take(10), Some((1, 'a')));
        assert_eq!(ledger.take(10), None);
        ledger.dismiss_all();
        assert_eq!(ledger.workers(), 0);
        assert_eq!(ledger.held(11), Some((2, &'b')));
    }

    #[test]
    fn idle_workers_stand_in_the_order_of_pulling() {
        let mut ledger: Ledger<u8, u32, char> = Ledger::new();
        for worker in [3, 1, 2] {
            ledger.hire(worker);
            ledger.pull(worker);
        }
        ledger.pull(3);
        assert_eq!(idle(&ledger), [3, 1, 2]);
        ledger.restart(1);
        ledger.pull(1);
        assert_eq!(idle(&ledger), [3, 2, 1]);
        assert_eq!(ledger.idle().next_back(), Some(1));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_counts_agree(
            events in prop::collection::vec((0..6_u8, 0..5_u8), 0..200)
        ) {
            let mut ledger = Ledger::new();
            let (mut next, mut out) = (0_u32, BTreeSet::new());
            for (event, worker) in events {
                match event {
                    0 => ledger.hire(worker),
                    1 => prop_assert_eq!(ledger.pull(worker), ledger.knows(worker)),
                    2 => ledger.restart(worker),
                    3 => drop(ledger.dismiss(worker)),
                    4 => {
                        let first = ledger.idle().next();
                        if let Some(idle) = first {
                            ledger.hand(idle, next, 'x');
                            out.insert(next);
                            next += 1;
                        }
                    }
                    _ => if let Some(number) = ledger.numbers_of(worker).first() {
                        prop_assert_eq!(ledger.take(*number), Some((worker, 'x')));
                        out.remove(number);
                    },
                }
                let held: BTreeSet<u32> = ledger.numbers().into_iter().collect();
                prop_assert_eq!(&held, &out);
                prop_assert_eq!(ledger.held_count(), ledger.things().count());
                let distinct: BTreeSet<u8> = ledger.idle().collect();
                prop_assert_eq!(distinct.len(), ledger.idle_count());
                prop_assert!(distinct.iter().all(|worker| ledger.knows(*worker)));
                prop_assert!(ledger.idle_count() + ledger.starting_count() <= ledger.workers());
            }
        }
    }
}
