//! The jobs of a desk: waiting, in work, or lost too often.
//!
//! Pure. It consists of the [`Ledger`] of workers and the queue of jobs in front of it. A job that was accepted leaves
//! the book exactly once: confirmed or given back.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::Ledger;

/// The number of a job; an older job has a smaller number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct JobId(u64);

/// The number of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HandId(u64);

/// The number of a worker, which is its actor's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ActorId(pub(super) u64);

/// A job and the number of times it was delivered.
#[derive(Debug)]
struct Entry<P> {
    payload: P,
    deliveries: u32,
}

/// Whether a worker can receive a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    /// It can work at once.
    Ready,
    /// It can after its restart. Such a worker is chosen only if no other is idle.
    Later,
    /// It is about to be removed.
    Gone,
}

/// A job to be handed to a worker.
#[derive(Debug)]
pub(super) struct Hand<'a, P> {
    pub(super) worker: ActorId,
    pub(super) number: HandId,
    /// Which delivery of the job this is, from 1.
    pub(super) delivery: u32,
    pub(super) payload: &'a mut P,
}

/// The result for a job that a worker lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost<P> {
    /// It waits for another worker, before all younger jobs.
    Waits,
    /// It was delivered as often as the limit allows.
    GivenBack { payload: P, deliveries: u32 },
}

/// The jobs and the workers of one desk.
#[derive(Debug)]
pub(super) struct Book<P> {
    deliveries_max: Option<u32>,
    jobs: BTreeMap<JobId, Entry<P>>,
    waiting: BTreeSet<JobId>,
    ledger: Ledger<ActorId, HandId, JobId>,
    last_job: u64,
    last_hand: u64,
}

impl<P> Book<P> {
    pub(super) fn new(deliveries_max: Option<u32>) -> Self {
        Self {
            deliveries_max,
            jobs: BTreeMap::new(),
            waiting: BTreeSet::new(),
            ledger: Ledger::new(),
            last_job: 0,
            last_hand: 0,
        }
    }

    /// Accepts a job and places it behind all waiting jobs.
    pub(super) fn accept(&mut self, payload: P) {
        self.last_job += 1;
        let job = JobId(self.last_job);
        let entry = Entry {
            payload,
            deliveries: 0,
        };
        self.jobs.insert(job, entry);
        self.waiting.insert(job);
    }

    /// Registers a worker that waits for work. Returns `false` if it is already registered.
    pub(super) fn register(&mut self, worker: ActorId) -> bool {
        if self.ledger.knows(worker) {
            return false;
        }
        self.ledger.hire(worker);
        self.ledger.pull(worker);
        true
    }

    /// Removes a worker. Returns the result for each job that it had.
    pub(super) fn strike(&mut self, worker: ActorId) -> Vec<Lost<P>> {
        self.ledger.dismiss(worker);
        let hands = self.ledger.numbers_of(worker);
        let lost = hands.into_iter().filter_map(|hand| self.lose(hand));
        lost.collect()
    }

    /// Hands the oldest waiting job to the worker that has been idle longest among the fittest.
    pub(super) fn hand_out(&mut self, fitness: impl Fn(ActorId) -> Fitness) -> Option<Hand<'_, P>> {
        let job = *self.waiting.first()?;
        let worker = self.fittest(fitness)?;
        let entry = self.jobs.get_mut(&job)?;
        self.waiting.remove(&job);
        self.last_hand += 1;
        let hand = HandId(self.last_hand);
        self.ledger.hand(worker, hand, job);
        entry.deliveries = entry.deliveries.saturating_add(1);
        Some(Hand {
            worker,
            number: hand,
            delivery: entry.deliveries,
            payload: &mut entry.payload,
        })
    }

    /// Returns the first idle worker that is ready, or else the first that will be.
    fn fittest(&self, fitness: impl Fn(ActorId) -> Fitness) -> Option<ActorId> {
        let mut later = None;
        for worker in self.ledger.idle() {
            match fitness(worker) {
                Fitness::Ready => return Some(worker),
                Fitness::Later => later = later.or(Some(worker)),
                Fitness::Gone => {}
            }
        }
        later
    }

    /// Takes back a job that did not reach its worker, and removes the worker. It does not count as a delivery.
    pub(super) fn retract(&mut self, hand: HandId) {
        let Some((worker, job)) = self.ledger.take(hand) else {
            return;
        };
        self.ledger.dismiss(worker);
        if let Some(entry) = self.jobs.get_mut(&job) {
            entry.deliveries = entry.deliveries.saturating_sub(1);
            self.waiting.insert(job);
        }
    }

    /// Returns the jobs that a worker holds.
    pub(super) fn held_by(&self, worker: ActorId) -> impl Iterator<Item = &P> {
        let hands = self.ledger.numbers_of(worker).into_iter();
        let jobs = hands.filter_map(|hand| self.ledger.held(hand));
        jobs.filter_map(|(_, job)| Some(&self.jobs.get(job)?.payload))
    }

    /// Notes that a job is done and that its worker waits for the next one. Returns the job and the number of times it
    /// was delivered. Returns `None` if the job has meanwhile gone to another worker.
    pub(super) fn confirm(&mut self, hand: HandId) -> Option<(P, u32)> {
        let (worker, job) = self.ledger.take(hand)?;
        self.ledger.pull(worker);
        let entry = self.jobs.remove(&job)?;
        Some((entry.payload, entry.deliveries))
    }

    /// Notes that a worker dropped a job without confirming it, and so waits for the next one.
    pub(super) fn give_up(&mut self, hand: HandId) -> Option<Lost<P>> {
        let (worker, _) = self.ledger.held(hand)?;
        self.ledger.pull(worker);
        self.lose(hand)
    }

    fn lose(&mut self, hand: HandId) -> Option<Lost<P>> {
        let (_, job) = self.ledger.take(hand)?;
        let deliveries = self.jobs.get(&job)?.deliveries;
        if self.deliveries_max.is_none_or(|max| deliveries < max) {
            self.waiting.insert(job);
            return Some(Lost::Waits);
        }
        let entry = self.jobs.remove(&job)?;
        Some(Lost::GivenBack {
            payload: entry.payload,
            deliveries,
        })
    }

    /// Returns the number of further jobs that could be delivered at once.
    pub(super) fn demand(&self) -> usize {
        self.ledger.idle_count().saturating_sub(self.waiting.len())
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn in_work(&self) -> usize {
        self.ledger.held_count()
    }

    pub(super) fn workers(&self) -> usize {
        self.ledger.workers()
    }

    pub(super) fn idle(&self) -> usize {
        self.ledger.idle_count()
    }

    /// Removes and returns all jobs, which will not be done.
    pub(super) fn abandon(&mut self) -> Vec<P> {
        self.waiting.clear();
        self.ledger.dismiss_all();
        let jobs = std::mem::take(&mut self.jobs);
        jobs.into_values().map(|entry| entry.payload).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any(_: ActorId) -> Fitness {
        Fitness::Ready
    }

    fn hand(book: &mut Book<u32>) -> Option<(u64, HandId, u32, u32)> {
        let hand = book.hand_out(any)?;
        Some((hand.worker.0, hand.number, hand.delivery, *hand.payload))
    }

    #[test]
    fn jobs_go_out_in_order_to_the_worker_that_was_idle_longest() {
        let mut book = Book::new(None);
        book.accept(7);
        assert!(hand(&mut book).is_none(), "no worker is registered");
        assert!(book.register(ActorId(2)));
        assert!(book.register(ActorId(1)));
        assert!(!book.register(ActorId(2)), "registering twice counts once");
        assert_eq!(book.demand(), 1);
        let (worker, first, ..) = hand(&mut book).unwrap();
        assert_eq!(worker, 2);
        assert!(hand(&mut book).is_none(), "no job waits");
        assert_eq!(book.confirm(first), Some((7, 1)));
        book.accept(8);
        assert_eq!(hand(&mut book).unwrap().0, 1);
        assert_eq!((book.demand(), book.in_work()), (1, 1));
    }

    #[test]
    fn a_lost_job_goes_before_younger_ones_and_its_late_worker_is_not_heard() {
        let mut book = Book::new(None);
        book.register(ActorId(1));
        book.accept(7);
        book.accept(8);
        let (_, first, ..) = hand(&mut book).unwrap();
        assert_eq!(book.strike(ActorId(1)), [Lost::Waits]);
        book.register(ActorId(2));
        let (worker, second, delivery, job) = hand(&mut book).unwrap();
        assert_eq!((worker, delivery, job), (2, 2, 7));
        assert_eq!(book.confirm(first), None);
        assert_eq!(book.give_up(first), None);
        assert_eq!(book.confirm(second), Some((7, 2)));
        assert_eq!(hand(&mut book).unwrap().3, 8);
    }

    #[test]
    fn a_job_that_was_lost_too_often_is_given_back() {
        let mut book = Book::new(Some(2));
        book.register(ActorId(1));
        book.accept(7);
        for lost in [
            Lost::Waits,
            Lost::GivenBack {
                payload: 7,
                deliveries: 2,
            },
        ] {
            let (_, number, ..) = hand(&mut book).unwrap();
            assert_eq!(book.give_up(number), Some(lost));
        }
        assert_eq!((book.waiting(), book.in_work(), book.idle()), (0, 0, 1));
    }

    #[test]
    fn a_worker_that_restarts_gets_a_job_only_when_no_other_is_idle_and_a_dying_one_never() {
        let mut book = Book::new(None);
        for worker in [0, 1, 2] {
            book.register(ActorId(worker));
            book.accept(0);
        }
        let fitness = |worker: ActorId| match worker.0 {
            0 => Fitness::Gone,
            1 => Fitness::Later,
            _ => Fitness::Ready,
        };
        assert_eq!(book.hand_out(fitness).unwrap().worker, ActorId(2));
        assert_eq!(book.hand_out(fitness).unwrap().worker, ActorId(1));
        assert!(book.hand_out(fitness).is_none());
    }

    #[test]
    fn a_job_that_did_not_reach_its_worker_was_not_delivered() {
        let mut book = Book::new(Some(1));
        book.register(ActorId(1));
        book.accept(7);
        let (_, number, ..) = hand(&mut book).unwrap();
        book.retract(number);
        assert_eq!((book.workers(), book.waiting()), (0, 1));
        book.register(ActorId(2));
        let (worker, _, delivery, job) = hand(&mut book).unwrap();
        assert_eq!((worker, delivery, job), (2, 1, 7));
        assert_eq!(book.held_by(ActorId(2)).collect::<Vec<_>>(), [&7]);
    }

    proptest! {
        #[test]
        fn every_job_ends_once_and_none_is_handed_out_too_often(
            events in prop::collection::vec((0..6_u8, 0..4_u64), 0..300),
            max in 1..4_u32,
        ) {
            let mut book = Book::new(Some(max));
            let (mut accepted, mut ended, mut hands) = (0, BTreeSet::new(), Vec::new());
            for (event, number) in events {
                let lost = match event {
                    0 => {
                        book.accept(accepted);
                        accepted += 1;
                        vec![]
                    }
                    1 => {
                        book.register(ActorId(number));
                        vec![]
                    }
                    2 => book.strike(ActorId(number)),
                    3 => {
                        if let Some((_, hand, delivery, _)) = hand(&mut book) {
                            prop_assert!(delivery <= max);
                            hands.push(hand);
                        }
                        vec![]
                    }
                    4 => {
                        if let Some((job, _)) = hands.pop().and_then(|hand| book.confirm(hand)) {
                            prop_assert!(ended.insert(job));
                        }
                        vec![]
                    }
                    _ => hands.pop().and_then(|hand| book.give_up(hand)).into_iter().collect(),
                };
                for lost in lost {
                    if let Lost::GivenBack { payload, deliveries } = lost {
                        prop_assert_eq!(deliveries, max);
                        prop_assert!(ended.insert(payload));
                    }
                }
                let open = book.waiting() + book.in_work();
                prop_assert_eq!(open + ended.len(), accepted as usize);
                prop_assert!(book.idle() + book.in_work() <= book.workers());
            }
            for job in book.abandon() {
                prop_assert!(ended.insert(job));
            }
            prop_assert_eq!(ended.len(), accepted as usize);
        }
    }
}
