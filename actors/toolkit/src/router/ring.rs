//! A ring of routees for consistent hashing. Each routee has many points on it; a message goes to the next point.
//!
//! The hash is the same on every machine and in every build (FNV-1a, mixed by the finalizer of splitmix64); the
//! standard library does not promise that for its own hash. Only integers depend on the byte order of the machine.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

/// Routees by their points.
#[derive(Debug)]
pub(super) struct Ring {
    /// The number of points of each routee.
    points: u32,
    by_point: BTreeMap<u64, u64>,
}

impl Ring {
    pub(super) fn new(points: u32) -> Self {
        Self {
            points: points.max(1),
            by_point: BTreeMap::new(),
        }
    }

    /// Adds a routee; its points depend on its name only.
    pub(super) fn add(&mut self, routee: u64, name: &str) {
        for point in points(self.points, name) {
            // If two routees have the same point, which is very unlikely, the first one keeps it.
            self.by_point.entry(point).or_insert(routee);
        }
    }

    pub(super) fn remove(&mut self, routee: u64, name: &str) {
        for point in points(self.points, name) {
            if self.by_point.get(&point) == Some(&routee) {
                self.by_point.remove(&point);
            }
        }
    }

    /// Returns the routee at the first point at or after `hash`, around the ring.
    pub(super) fn find(&self, hash: u64) -> Option<u64> {
        let mut from = self.by_point.range(hash..);
        let next = from.next().or_else(|| self.by_point.first_key_value());
        next.map(|(_, routee)| *routee)
    }
}

/// Returns the points of a routee.
fn points(count: u32, name: &str) -> impl Iterator<Item = u64> + use<'_> {
    (0..count).map(move |point| hash_of(&(name, point)))
}

/// Returns the hash of a key.
pub(super) fn hash_of(key: &impl Hash) -> u64 {
    let mut hasher = Fnv::default();
    key.hash(&mut hasher);
    hasher.finish()
}

/// FNV-1a, 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Spreads short keys, whose FNV hashes are close together, over the whole ring.
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(routees: std::ops::Range<u64>) -> Ring {
        let mut ring = Ring::new(100);
        for routee in routees {
            ring.add(routee, &format!("/user/router/routee-{routee}"));
        }
        ring
    }

    fn places(ring: &Ring) -> Vec<u64> {
        let keys = 0..10_000;
        keys.map(|key| ring.find(hash_of(&key)).unwrap()).collect()
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // FNV-1a of "a" is 0xaf63dc4c8601ec8c; the rest is the mixing.
        let mut fnv = Fnv::default();
        fnv.write(b"a");
        assert_eq!(fnv.0, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash_of(&"a"), hash_of(&"a".to_owned()));
    }

    #[test]
    fn only_the_keys_of_the_routee_that_leaves_move() {
        let mut ring = ring(0..5);
        let before = places(&ring);
        ring.remove(2, "/user/router/routee-2");
        for (old, new) in before.iter().zip(places(&ring)) {
            assert!(new != 2 && (*old == 2 || *old == new));
        }
        ring.add(2, "/user/router/routee-2");
        assert_eq!(
            places(&ring),
            before,
            "the routee gets its former keys back"
        );
    }

    #[test]
    fn a_newcomer_takes_keys_from_the_others_only_for_itself() {
        let mut ring = ring(0..5);
        let before = places(&ring);
        ring.add(5, "/user/router/routee-5");
        for (old, new) in before.iter().zip(places(&ring)) {
            assert!(new == 5 || *old == new);
        }
    }

    #[test]
    fn many_points_share_the_keys_out() {
        let mut count = [0; 5];
        for routee in places(&ring(0..5)) {
            count[usize::try_from(routee).unwrap()] += 1;
        }
        assert!(
            count.iter().all(|keys| (1000..3500).contains(keys)),
            "{count:?}"
        );
    }

    #[test]
    fn an_empty_ring_finds_nobody() {
        assert_eq!(Ring::new(0).find(7), None);
    }
}
