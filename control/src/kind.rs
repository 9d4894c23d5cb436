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
    /// Size of the request; zero if unknown.
    pub input: u32,
    /// Upper bound of the answer; zero if unknown.
    pub output: u32,
}

/// The event to which a time was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// The end of the answer.
    Whole,
    /// The end of the answer, divided by its length.
    PerUnit,
}

/// The number of classes that are distinguished. A new one replaces the one seen least.
const KEPT: usize = 64;
/// The number of calls of a class after which its times are evidence.
const KNOWN: u32 = 6;
/// The largest variance of a usual time, relative to that of one call, with which a call is evidence. It is larger if the sizes
/// are far from those seen.
const VARIANCE_MAX: f64 = 2.0 / 3.0;
/// The first variances of a class's time and of the exponents of its sizes, relative to that of one call.
const FIRST: [f64; 3] = [100.0, 0.15, 0.15];
/// What these variances grow by with each call, so that a class is followed that changes. A slowdown of all calls changes
/// the level long before it could become the usual time of a class.
const DRIFT: f64 = 1e-4;
/// Weight of a call in the level of all classes.
const FAST: f64 = 0.1;

/// The usual time of a class: `log time = level + offset + a ln(1 + input) + b ln(1 + output)`, learned by recursive least
/// squares.
#[derive(Clone, Copy, Debug)]
struct Usual {
    /// The offset at the sizes of the first call, and the exponents of the sizes.
    values: [f64; 3],
    /// The covariance of the values, relative to the variance of one call.
    spread: [[f64; 3]; 3],
    first: [f64; 2],
    seen: u32,
}

fn sizes(kind: Kind) -> [f64; 2] {
    [kind.input, kind.output].map(|size| f64::from(size).ln_1p())
}

impl Usual {
    /// Creates a class. The first one defines the level, so its offset is known.
    fn new(kind: Kind, is_first: bool) -> Self {
        let [offset, input, output] = FIRST;
        let offset = if is_first { 0.0 } else { offset };
        Self {
            values: [0.0; 3],
            spread: [[offset, 0.0, 0.0], [0.0, input, 0.0], [0.0, 0.0, output]],
            first: sizes(kind),
            seen: if is_first { KNOWN } else { 0 },
        }
    }

    /// Returns the factors of the values for a call of these sizes.
    fn at(&self, kind: Kind) -> [f64; 3] {
        let [input, output] = sizes(kind);
        [1.0, input - self.first[0], output - self.first[1]]
    }

    /// Returns the offset of a call of these sizes, and its variance relative to that of one call.
    fn offset(&self, at: [f64; 3]) -> (f64, f64) {
        let spread = self.spread.map(|row| dot(row, at));
        (dot(self.values, at), dot(spread, at))
    }

    /// Learns from the difference between a call and its usual time. The offset of the only class is the level itself.
    fn learn(&mut self, at: [f64; 3], surprise: f64, alone: bool) {
        self.seen = self.seen.saturating_add(1);
        let toward = self.spread.map(|row| dot(row, at));
        let all = 1.0 + dot(toward, at);
        for (value, toward) in self.values.iter_mut().zip(toward) {
            *value += toward / all * surprise;
        }
        for (index, row) in self.spread.iter_mut().enumerate() {
            for (cell, other) in row.iter_mut().zip(toward) {
                *cell -= toward[index] * other / all;
            }
            if row[index] < FIRST[index] && !(alone && index == 0) {
                row[index] += DRIFT;
            }
        }
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The usual time of each class, relative to a level common to all.
#[derive(Debug, Default)]
pub struct Kinds {
    usual: BTreeMap<(u32, Measure), Usual>,
    level: f64,
}

impl Kinds {
    /// Returns the logarithm of the time that a call like the first one would take now; `None` before the first call.
    pub fn level(&self) -> Option<f64> {
        (!self.usual.is_empty()).then_some(self.level)
    }

    /// Learns from the logarithm of a time. Returns the value that a call like the first one would have, or `None`
    /// while too little is known about calls of this class and these sizes.
    pub fn compare(&mut self, kind: Kind, measure: Measure, log: f64) -> Option<f64> {
        let key = (kind.class, measure);
        let is_first = self.usual.is_empty();
        if is_first {
            self.level = log;
        }
        if !self.usual.contains_key(&key) && self.usual.len() >= KEPT {
            let least = self.usual.iter().min_by_key(|entry| entry.1.seen);
            if let Some(key) = least.map(|entry| *entry.0) {
                self.usual.remove(&key);
            }
        }
        let alone = self.usual.len() <= 1 && self.usual.keys().all(|known| *known == key);
        let usual = self
            .usual
            .entry(key)
            .or_insert_with(|| Usual::new(kind, is_first));
        let at = usual.at(kind);
        let (offset, variance) = usual.offset(at);
        let like = log - offset;
        let surprise = like - self.level;
        let is_known = usual.seen >= KNOWN && variance <= VARIANCE_MAX;
        usual.learn(at, surprise, alone);
        if !is_known {
            return None;
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
    fn calls_of_sizes_not_seen_before_are_compared_by_the_sizes_that_were() {
        let mut kinds = Kinds::default();
        let mut chance = fastrand::Rng::with_seed(3);
        let mut worst = 0.0_f64;
        for number in 0..300_u32 {
            let (input, output) = (chance.u32(20..2000), chance.u32(20..2000));
            let kind = Kind {
                class: number % 2,
                input,
                output,
            };
            let time = f64::from(1 + number % 2)
                * f64::from(input).powf(0.3)
                * f64::from(output).powf(0.7);
            let like = kinds.compare(kind, Measure::Whole, time.ln() + 0.2 * (chance.f64() - 0.5));
            if number > 150 {
                worst = worst.max((like.unwrap() - kinds.level).abs());
            }
        }
        assert!(worst < 0.7, "{worst}");
    }

    #[test]
    fn sizes_seen_for_the_first_time_do_not_hide_that_all_calls_wait() {
        let mut kinds = Kinds::default();
        let sized = |input| Kind { input, ..kind(0) };
        for number in 0..20 {
            kinds.compare(sized(10 + number), Measure::Whole, 0.0);
        }
        // All calls wait, and each is of a size that was not seen before.
        for input in [100, 150, 200] {
            let like = kinds.compare(sized(input), Measure::Whole, 1.0);
            assert!(like.is_none_or(|like| like > 0.45), "{input}: {like:?}");
        }
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
