//! Counters by label over time: which of them grew, and how much, in the last minutes.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use crate::history::History;

/// Labels that are kept; those beyond it are not. Reasons, lanes and models are few.
const LABELS_MAX: usize = 256;

/// The counters of labels at earlier times.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    step: Duration,
    span: Duration,
    labels: BTreeMap<K, History<1>>,
}

impl<K: Ord + Clone> Shares<K> {
    /// Creates an empty history that answers for at most `span`.
    pub(crate) fn new(step: Duration, span: Duration) -> Self {
        Self {
            step,
            span,
            labels: BTreeMap::new(),
        }
    }

    /// Notes the counters. Labels that have none any more are forgotten.
    pub(crate) fn note(&mut self, at: Duration, counts: &[(K, u64)]) {
        self.labels
            .retain(|label, _| counts.iter().any(|(counted, _)| counted == label));
        for (label, count) in counts {
            if let Some(history) = self.labels.get_mut(label) {
                history.note(at, [*count]);
            } else if self.labels.len() < LABELS_MAX {
                let mut history = History::new(self.step, self.span);
                // A label that was not there had counted nothing.
                history.note(Duration::ZERO, [0]);
                history.note(at, [*count]);
                self.labels.insert(label.clone(), history);
            }
        }
    }

    /// Forgets all growth until now.
    pub(crate) fn restart(&mut self, at: Duration, counts: &[(K, u64)]) {
        self.labels.clear();
        for (label, count) in counts.iter().take(LABELS_MAX) {
            let mut history = History::new(self.step, self.span);
            history.note(at, [*count]);
            self.labels.insert(label.clone(), history);
        }
    }

    /// Returns how much the counters have grown in the last `span`, the greatest first and without those that have not.
    pub(crate) fn growth(
        &self,
        at: Duration,
        counts: &[(K, u64)],
        span: Duration,
    ) -> Vec<(K, u64)> {
        let grown = counts.iter().filter_map(|(label, count)| {
            let [grown] = self.labels.get(label)?.growth(at, [*count], span);
            (grown > 0).then(|| (label.clone(), grown))
        });
        let mut grown: Vec<_> = grown.collect();
        grown.sort_by_key(|(_, grown)| Reverse(*grown));
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grew_is_told_by_label_also_if_the_label_is_new() {
        let second = Duration::from_secs(1);
        let mut shares = Shares::new(second, 10 * second);
        for time in 1..100_u32 {
            let old = ("old", 5 + u64::from(time / 90));
            let new = ("new", 40);
            let counts = if time < 95 { vec![old] } else { vec![old, new] };
            shares.note(time * second, &counts);
        }
        let counts = [("old", 6), ("new", 40)];
        let grown = shares.growth(99 * second, &counts, 10 * second);
        assert_eq!(grown, [("new", 40), ("old", 1)]);
        assert_eq!(shares.growth(99 * second, &counts, second), []);
        shares.note(100 * second, &[("old", 6)]);
        assert_eq!(shares.labels.len(), 1);
    }
}
