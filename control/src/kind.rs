//! Kinds of calls whose times can be compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The kind of a call, as numbers that the sender defines. Calls of different kinds take different times under the
/// same load.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Kind {
    /// The operation and its mode.
    pub class: u32,
    /// Size of the request; zero if unknown. Sizes within a factor of four are treated as equal.
    pub input: u32,
    /// Upper bound of the answer; zero if unknown. Sizes within a factor of four are treated as equal.
    pub output: u32,
}

/// The event to which a time was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    /// The end of the answer.
    Whole,
    /// The end of the answer, divided by its length.
    PerUnit,
}

type Key = (u32, u32, u32, Measure);

/// The number of kinds that are distinguished. A new kind replaces the one seen least.
const KEPT: usize = 64;
/// The number of calls of a kind after which its times are evidence.
const KNOWN: u32 = 6;
/// Weight of a call in the usual time of its kind and in the level of all kinds. A slowdown of all calls changes the
/// level long before it could become the usual time of a kind.
const SLOW: f64 = 0.01;
/// The same weight after the first call of a kind; it falls with their number. The level must move faster, or a kind that
/// is first seen while all calls become slower would take that for its usual time.
const YOUNG: f64 = 0.3;
const FAST: f64 = 0.1;

/// The usual time of each kind, as offsets from a level common to all kinds: `log time = level + offset of the kind`.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    usual: BTreeMap<Key, (f64, u32)>,
    level: f64,
}

fn size(tokens: u32) -> u32 {
    (32 - tokens.leading_zeros()).div_ceil(2)
}

impl Kinds {
    /// Returns the logarithm of the time that a call of the first kind would take now; `None` before the first call.
    pub(crate) fn level(&self) -> Option<f64> {
        (!self.usual.is_empty()).then_some(self.level)
    }

    /// Learns from the logarithm of a time. Returns the value that a call of the first kind would have, or `None`
    /// while too little is known about the kind.
    pub(crate) fn compare(&mut self, kind: Kind, measure: Measure, log: f64) -> Option<f64> {
        let key = (kind.class, size(kind.input), size(kind.output), measure);
        if self.usual.is_empty() {
            self.level = log;
            self.usual.insert(key, (0.0, KNOWN));
            return Some(log);
        }
        if !self.usual.contains_key(&key) && self.usual.len() >= KEPT {
            let least = self.usual.iter().min_by_key(|entry| entry.1.1);
            if let Some(key) = least.map(|entry| *entry.0) {
                self.usual.remove(&key);
            }
        }
        let alone = self.usual.len() == 1;
        let (offset, seen) = self.usual.entry(key).or_insert((0.0, 0));
        *seen = seen.saturating_add(1);
        if *seen <= KNOWN {
            *offset += (log - self.level - *offset) / f64::from(*seen);
            return None;
        }
        let like = log - *offset;
        let surprise = like - self.level;
        if !alone {
            *offset += SLOW.max(YOUNG / f64::from(*seen)) * surprise;
        }
        self.level += FAST * surprise;
        Some(like)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(class: u32) -> Kind {
        Kind {
            class,
            ..Kind::default()
        }
    }

    #[test]
    fn kinds_a_thousand_times_apart_are_alike_after_a_few_calls() {
        let mut kinds = Kinds::default();
        let mut chance = fastrand::Rng::with_seed(1);
        let mut alike = Vec::new();
        for number in 0..400_u32 {
            let class = u32::from(chance.bool());
            let usual = if class == 0 { -3.0 } else { 4.0 };
            let log = usual + chance.f64() - 0.5;
            let seen = kinds.compare(kind(class), Measure::Whole, log);
            if number > 50 {
                alike.push(seen.unwrap());
            }
        }
        let spread = alike
            .iter()
            .fold(0.0_f64, |most, log| most.max((log + 3.0).abs()));
        assert!(spread < 1.2, "{spread}");
    }

    #[test]
    fn what_slows_all_kinds_down_is_not_taken_for_usual() {
        let mut kinds = Kinds::default();
        for number in 0..200 {
            kinds.compare(kind(number % 2), Measure::Whole, f64::from(number % 2));
        }
        let mut last = 0.0;
        for number in 0..40 {
            let log = f64::from(number % 2) + 1.0;
            last = kinds
                .compare(kind(number % 2), Measure::Whole, log)
                .unwrap();
        }
        assert!(last > 0.7, "{last}");
    }

    #[test]
    fn a_kind_seen_for_the_first_time_while_all_calls_become_slower_does_not_hide_that() {
        let mut kinds = Kinds::default();
        for number in 0..200_u32 {
            kinds.compare(kind(0), Measure::Whole, 0.0);
            kinds.compare(kind(1 + number % 2), Measure::Whole, 1.0);
        }
        for _ in 0..8 {
            kinds.compare(kind(3), Measure::Whole, 2.0);
        }
        let mut last = 0.0;
        for _ in 0..20 {
            kinds.compare(kind(0), Measure::Whole, 1.0);
            last = kinds.compare(kind(3), Measure::Whole, 3.0).unwrap();
        }
        assert!(last > 0.7, "{last}");
    }

    #[test]
    fn a_new_kind_is_no_evidence_and_kinds_do_not_pile_up() {
        let mut kinds = Kinds::default();
        assert!(kinds.compare(kind(0), Measure::Whole, 0.0).is_some());
        assert!(kinds.compare(kind(1), Measure::Whole, 0.0).is_none());
        for class in 0..1000 {
            kinds.compare(kind(class), Measure::Whole, 0.0);
        }
        assert!(kinds.usual.len() <= KEPT);
    }
}
