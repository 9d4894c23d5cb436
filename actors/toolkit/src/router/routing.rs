//! The strategies by which a router chooses a routee.

use std::{fmt, hash::Hash, sync::Arc};

use super::ring::{Ring, hash_of};
use crate::clock::Dice;

type Key<M> = Arc<dyn Fn(&M) -> u64 + Send + Sync>;

/// The strategy by which a router chooses a routee for a message.
pub struct Routing<M>(Kind<M>);

enum Kind<M> {
    RoundRobin,
    Random { seed: u64 },
    ConsistentHash { points: u32, key: Key<M> },
    LeastLoaded { seed: u64 },
}

impl<M> Routing<M> {
    /// Chooses the routees in turn. If a routee leaves, no other routee misses its turn.
    pub fn round_robin() -> Self {
        Self(Kind::RoundRobin)
    }

    /// Chooses a random routee, each with the same probability.
    pub fn random(seed: u64) -> Self {
        Self(Kind::Random { seed })
    }

    /// Chooses the same routee for the same `key` while that routee exists; when it leaves, only its keys move. Each
    /// routee has `points` points on a ring (Pekko's virtual nodes; at least 1). With 10 points the keys are spread
    /// roughly, with 100 within a third.
    pub fn consistent_hash<K: Hash>(
        points: u32,
        key: impl Fn(&M) -> K + Send + Sync + 'static,
    ) -> Self {
        let key = Arc::new(move |message: &M| hash_of(&key(message)));
        Self(Kind::ConsistentHash { points, key })
    }

    /// Chooses the less loaded of two random routees: see `MessageRef::load`. The result is close to the least loaded
    /// of all at the cost of reading two loads, and not all senders choose the same idle routee.
    ///
    /// Pekko's smallest mailbox reads the load of all routees, and does not count asks in progress.
    pub fn least_loaded(seed: u64) -> Self {
        Self(Kind::LeastLoaded { seed })
    }

    /// Returns the message's place on the ring. Without a ring the value has no meaning.
    pub(super) fn key(&self, message: &M) -> u64 {
        match &self.0 {
            Kind::ConsistentHash { key, .. } => key(message),
            Kind::RoundRobin | Kind::Random { .. } | Kind::LeastLoaded { .. } => 0,
        }
    }

    pub(super) fn chooser(&self) -> Chooser {
        match &self.0 {
            Kind::RoundRobin => Chooser::RoundRobin { next: 0 },
            Kind::Random { seed } => Chooser::Random(Dice::seeded(*seed)),
            Kind::ConsistentHash { points, .. } => Chooser::Ring(Ring::new(*points)),
            Kind::LeastLoaded { seed } => Chooser::LeastLoaded(Dice::seeded(*seed)),
        }
    }
}

impl<M> Clone for Routing<M> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Kind::RoundRobin => Kind::RoundRobin,
            Kind::Random { seed } => Kind::Random { seed: *seed },
            Kind::ConsistentHash { points, key } => Kind::ConsistentHash {
                points: *points,
                key: Arc::clone(key),
            },
            Kind::LeastLoaded { seed } => Kind::LeastLoaded { seed: *seed },
        })
    }
}

impl<M> fmt::Debug for Routing<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &self.0 {
            Kind::RoundRobin => "RoundRobin",
            Kind::Random { .. } => "Random",
            Kind::ConsistentHash { .. } => "ConsistentHash",
            Kind::LeastLoaded { .. } => "LeastLoaded",
        })
    }
}

/// A routee as a strategy sees it.
pub(super) trait Routee {
    fn id(&self) -> u64;
    fn name(&self) -> &str;
    fn load(&self) -> usize;
}

/// A strategy with its state.
#[derive(Debug)]
pub(super) enum Chooser {
    RoundRobin { next: usize },
    Random(Dice),
    Ring(Ring),
    LeastLoaded(Dice),
}

impl Chooser {
    /// Notes that a routee was put at the end.
    pub(super) fn added(&mut self, routee: &impl Routee) {
        if let Self::Ring(ring) = self {
            ring.add(routee.id(), routee.name());
        }
    }

    /// Notes that the routee at `place` was taken out.
    pub(super) fn removed(&mut self, place: usize, routee: &impl Routee) {
        match self {
            Self::RoundRobin { next } if place < *next => *next -= 1,
            Self::Ring(ring) => ring.remove(routee.id(), routee.name()),
            Self::RoundRobin { .. } | Self::Random(_) | Self::LeastLoaded(_) => {}
        }
    }

    /// Chooses a place among the routees. Returns `None` if there are none.
    pub(super) fn choose<R: Routee>(&mut self, key: u64, routees: &[R]) -> Option<usize> {
        let count = routees.len();
        if count == 0 {
            return None;
        }
        match self {
            Self::RoundRobin { next } => {
                let place = *next % count;
                *next = place + 1;
                Some(place)
            }
            Self::Random(dice) => Some(any(dice, count)),
            Self::Ring(ring) => {
                let id = ring.find(key)?;
                routees.iter().position(|routee| routee.id() == id)
            }
            Self::LeastLoaded(dice) => {
                let first = any(dice, count);
                if count == 1 {
                    return Some(first);
                }
                // Chooses one of the others, each with the same probability.
                let second = (first + 1 + any(dice, count - 1)) % count;
                let load = |place: usize| routees.get(place).map(Routee::load);
                let lighter = load(second) < load(first);
                Some(if lighter { second } else { first })
            }
        }
    }
}

/// Returns a random place below `count`, which must be greater than 0.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count is a count"
)]
pub(super) fn any(dice: &mut Dice, count: usize) -> usize {
    let place = (dice.unit() * count as f64) as usize;
    place.min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(u64, usize);
    impl Routee for Fake {
        fn id(&self) -> u64 {
            self.0
        }
        fn name(&self) -> &'static str {
            "fake"
        }
        fn load(&self) -> usize {
            self.1
        }
    }

    fn fakes(loads: &[usize]) -> Vec<Fake> {
        let numbered = loads.iter().enumerate();
        numbered
            .map(|(id, load)| Fake(id.try_into().unwrap(), *load))
            .collect()
    }

    fn draw(chooser: &mut Chooser, routees: &[Fake], times: usize) -> Vec<usize> {
        (0..times)
            .map(|_| chooser.choose(0, routees).unwrap())
            .collect()
    }

    #[test]
    fn each_in_turn_and_one_that_leaves_makes_none_miss_its_turn() {
        let mut chooser = Routing::<()>::round_robin().chooser();
        let mut routees = fakes(&[0, 0, 0, 0]);
        assert_eq!(draw(&mut chooser, &routees, 6), [0, 1, 2, 3, 0, 1]);
        // It is the turn of 2 now; 0, which leaves, was before it.
        let gone = routees.remove(0);
        chooser.removed(0, &gone);
        let next = chooser.choose(0, &routees).unwrap();
        assert_eq!(routees[next].0, 2);
        // The last routee leaves during its turn.
        let gone = routees.remove(2);
        chooser.removed(2, &gone);
        let next = chooser.choose(0, &routees).unwrap();
        assert_eq!(routees[next].0, 1);
    }

    #[test]
    fn chance_repeats_with_its_seed_and_treats_all_alike() {
        let routees = fakes(&[0, 0, 0]);
        let drawn = |seed| {
            let mut chooser = Routing::<()>::random(seed).chooser();
            draw(&mut chooser, &routees, 3000)
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        for place in 0..3 {
            let count = drawn(1).iter().filter(|drawn| **drawn == place).count();
            assert!((900..1100).contains(&count), "{count}");
        }
    }

    #[test]
    fn the_heaviest_is_never_chosen_and_the_lightest_most() {
        let routees = fakes(&[5, 1, 9, 3]);
        let mut chooser = Routing::<()>::least_loaded(1).chooser();
        let drawn = draw(&mut chooser, &routees, 6000);
        let count = |place| drawn.iter().filter(|drawn| **drawn == place).count();
        assert_eq!(count(2), 0, "it has the higher load of any two");
        // The lightest is in half of the six pairs, the next in two of them, the next in one.
        for (place, expected) in [(1, 3000), (3, 2000), (0, 1000)] {
            let seen = count(place);
            assert!(seen.abs_diff(expected) < 150, "{place}: {seen}");
        }
    }

    #[test]
    fn one_routee_needs_no_chance_and_none_is_not_chosen() {
        for routing in [
            Routing::<()>::round_robin(),
            Routing::random(1),
            Routing::least_loaded(1),
            Routing::consistent_hash(10, |()| 1),
        ] {
            let mut chooser = routing.chooser();
            assert_eq!(chooser.choose(0, &fakes(&[])), None);
            let one = fakes(&[7]);
            chooser.added(&one[0]);
            assert_eq!(chooser.choose(0, &one), Some(0), "{routing:?}");
        }
    }
}
