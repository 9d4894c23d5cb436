//! Counters over time, for "how many in the last five minutes".

use std::{collections::VecDeque, time::Duration};

/// The values of some counters at earlier times, at most one per step and as many as the longest span needs.
#[derive(Debug)]
pub(crate) struct History<const N: usize> {
    step: Duration,
    span: Duration,
    values: VecDeque<(Duration, [u64; N])>,
}

impl<const N: usize> History<N> {
    /// Creates an empty history that answers for at most `span`.
    pub(crate) fn new(step: Duration, span: Duration) -> Self {
        Self {
            step,
            span,
            values: VecDeque::new(),
        }
    }

    /// Notes the counters. Values within a step of the last noted one are not kept.
    pub(crate) fn note(&mut self, at: Duration, counters: [u64; N]) {
        let last = self.values.back().map(|(at, _)| *at);
        if last.is_some_and(|last| at < last + self.step) {
            return;
        }
        self.values.push_back((at, counters));
        // One value at the beginning of the span or before it is kept.
        while self
            .values
            .get(1)
            .is_some_and(|(second, _)| *second + self.span <= at)
        {
            self.values.pop_front();
        }
    }

    /// Returns how much the counters have grown in the last `span`, or since the first note if that is later. A counter
    /// that was begun anew counts as not grown.
    pub(crate) fn growth(&self, at: Duration, counters: [u64; N], span: Duration) -> [u64; N] {
        let from = at.saturating_sub(span);
        let later = self.values.partition_point(|(noted, _)| *noted <= from);
        let before = self.values.get(later.saturating_sub(1));
        let before = before.map_or(counters, |(_, values)| *values);
        std::array::from_fn(|index| {
            let [now, then] = [&counters, &before].map(|values| values.get(index).copied());
            now.unwrap_or(0).saturating_sub(then.unwrap_or(0))
        })
    }
}

/// Converts a count for a ratio; beyond 2^53 it is rounded.
#[expect(
    clippy::cast_precision_loss,
    reason = "the loss is a part in 2^53 of a ratio"
)]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn large_counts_are_not_capped() {
        // Billionths of a currency: a sum of five units is beyond 2^32.
        assert_eq!(
            (real(5_000_000_000) / real(2)).to_bits(),
            2.5e9_f64.to_bits()
        );
    }

    #[test]
    fn growth_is_counted_within_the_span_and_the_history_is_bounded() {
        let mut history = History::new(SECOND, 10 * SECOND);
        for second in 0..1000_u32 {
            history.note(second * SECOND, [u64::from(second), 7]);
        }
        let now = 999 * SECOND;
        assert_eq!(history.growth(now, [999, 7], 5 * SECOND), [5, 0]);
        assert_eq!(history.growth(now, [999, 7], 10 * SECOND), [10, 0]);
        assert!(history.values.len() <= 12, "{}", history.values.len());
    }

    #[test]
    fn a_span_before_the_first_note_begins_with_it() {
        let mut history = History::new(SECOND, 10 * SECOND);
        assert_eq!(history.growth(SECOND, [5], SECOND), [0]);
        history.note(SECOND, [5]);
        assert_eq!(history.growth(2 * SECOND, [8], 10 * SECOND), [3]);
        assert_eq!(history.growth(2 * SECOND, [2], 10 * SECOND), [0], "anew");
    }
}
