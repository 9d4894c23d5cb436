//! The replica with which a call stays, because it has cached the beginning of the prompt.
//!
//! A session is placed by rendezvous hashing: each replica gets a number from the session and its own name, and the
//! highest one wins, so that a replica that leaves moves only its own sessions. A prompt stays with the replica that was
//! last sent the longest beginning of it, compared in blocks.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use memchr::memmem;

/// The bytes of a block.
const BLOCK: usize = 256;
/// The blocks of a prompt that are compared.
const BLOCKS_MAX: usize = 64;
/// The beginnings that are remembered in one generation; two are kept.
const REMEMBERED_MAX: usize = 16_384;
/// The keys at which prompts begin. What comes before differs in its order, not in its meaning.
const KEYS: [&[u8]; 3] = [b"\"messages\"", b"\"input\"", b"\"prompt\""];

/// Returns the position of the name that a session belongs to.
pub(super) fn of_session<'n>(session: &str, names: impl Iterator<Item = &'n str>) -> Option<usize> {
    let scored = names.enumerate().map(|(place, name)| {
        let mut hasher = DefaultHasher::new();
        (session, name).hash(&mut hasher);
        (hasher.finish(), place)
    });
    scored.max().map(|(_, place)| place)
}

/// The beginning of a prompt: one hash per block, each of everything up to its end.
#[derive(Debug)]
pub(super) struct Beginning(Vec<u64>);

impl Beginning {
    /// Reads the beginning of the prompt in a body.
    pub(super) fn of(body: &[u8]) -> Self {
        let found = KEYS.iter().filter_map(|key| memmem::find(body, key)).min();
        let prompt = &body[found.unwrap_or(0)..];
        let mut hasher = DefaultHasher::new();
        let blocks = prompt.chunks_exact(BLOCK).take(BLOCKS_MAX);
        let hashes = blocks.map(|block| {
            block.hash(&mut hasher);
            hasher.finish()
        });
        Self(hashes.collect())
    }
}

/// The lanes that were last sent each beginning.
#[derive(Debug, Default)]
pub(super) struct Beginnings(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, usize>,
    old: HashMap<u64, usize>,
}

impl Beginnings {
    /// Returns the lane that was last sent the longest part of a beginning.
    pub(super) fn lane_of(&self, beginning: &Beginning) -> Option<usize> {
        let kept = self.lock();
        let lane = |hash| kept.young.get(hash).or_else(|| kept.old.get(hash));
        beginning.0.iter().rev().find_map(lane).copied()
    }

    /// Records that a lane was sent a beginning.
    pub(super) fn sent(&self, beginning: &Beginning, lane: usize) {
        let mut kept = self.lock();
        if kept.young.len() + beginning.0.len() > REMEMBERED_MAX {
            kept.old = std::mem::take(&mut kept.young);
        }
        let hashes = beginning.0.iter().map(|hash| (*hash, lane));
        kept.young.extend(hashes);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Vec<u8> {
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#).into_bytes()
    }

    #[test]
    fn a_prompt_belongs_to_the_lane_of_its_longest_known_beginning() {
        let beginnings = Beginnings::default();
        let (base, branch) = ("a".repeat(1000), "b".repeat(1000));
        let longer = format!("{base}{branch}");
        let other = format!("{base}{}", "c".repeat(1000));
        assert_eq!(beginnings.lane_of(&Beginning::of(&body(&base))), None);
        beginnings.sent(&Beginning::of(&body(&base)), 1);
        beginnings.sent(&Beginning::of(&body(&longer)), 2);
        let of = |text: &str| beginnings.lane_of(&Beginning::of(&body(text)));
        assert_eq!(of(&longer), Some(2));
        // The shared part was last sent to 2.
        assert_eq!(of(&other), Some(2));
        beginnings.sent(&Beginning::of(&body(&other)), 3);
        assert_eq!(of(&longer), Some(2));
        assert_eq!(of("x"), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let beginnings = Beginnings::default();
        for number in 0..3000 {
            let text = format!("{number} {}", "x".repeat(BLOCK * 20));
            beginnings.sent(&Beginning::of(&body(&text)), 0);
        }
        let kept = beginnings.lock();
        assert!(kept.young.len() <= REMEMBERED_MAX && kept.old.len() <= REMEMBERED_MAX);
    }

    #[test]
    fn a_session_keeps_its_replica_when_another_leaves() {
        let names = ["a", "b", "c"];
        let mut counts = [0; 3];
        for number in 0..300 {
            let session = format!("session-{number}");
            let place = of_session(&session, names.into_iter()).unwrap();
            counts[place] += 1;
            if names[place] != "c" {
                let fewer = of_session(&session, ["a", "b"].into_iter()).unwrap();
                assert_eq!(fewer, place);
            }
        }
        assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
        assert_eq!(of_session("s", std::iter::empty()), None);
    }
}
