//! Measures of a ranking's quality against judgements.

use std::collections::BTreeMap;

/// The judgements of one query: how relevant each item is. Items that are not named have the relevance 0.
#[derive(Clone, Debug, Default)]
pub struct Judged(BTreeMap<u64, u32>);

/// The quality of a ranking, each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// The share of the relevant items that are among the first `k`; of more than `k` relevant ones only `k` can be.
    pub recall: f64,
    /// 1 divided by the place of the first relevant item among the first `k`; 0 if there is none.
    pub reciprocal_rank: f64,
    /// The discounted cumulative gain of the first `k`, divided by that of the best order. The gain of an item is
    /// `2^relevance - 1`, its discount `log2(place + 1)`.
    pub ndcg: f64,
}

impl Judged {
    /// Creates judgements. A relevance is 0 (not relevant) to 30; greater ones count as 30.
    pub fn new(relevances: impl IntoIterator<Item = (u64, u32)>) -> Self {
        Self(
            relevances
                .into_iter()
                .map(|(id, relevance)| (id, relevance.min(30)))
                .filter(|(_, relevance)| *relevance > 0)
                .collect(),
        )
    }

    /// Returns the quality of the first `k` items of a ranking, or `None` if no item is relevant or `k` is 0. An item that is
    /// named twice counts at its first place.
    ///
    /// Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002, with the exponential gain
    /// of Burges et al. 2005.
    pub fn quality(&self, ranking: &[u64], k: usize) -> Option<Quality> {
        if self.0.is_empty() || k == 0 {
            return None;
        }
        let mut unseen = self.0.clone();
        let gains: Vec<u32> = ranking
            .iter()
            .take(k)
            .map(|id| unseen.remove(id).unwrap_or(0))
            .collect();
        let mut ideal: Vec<u32> = self.0.values().copied().collect();
        ideal.sort_unstable_by(|left, right| right.cmp(left));
        ideal.truncate(k);
        let found = gains.iter().filter(|relevance| **relevance > 0).count();
        let first = gains.iter().position(|relevance| *relevance > 0);
        Some(Quality {
            recall: ratio(found, ideal.len()),
            reciprocal_rank: first.map_or(0.0, |at| ratio(1, at + 1)),
            ndcg: discounted(&gains) / discounted(&ideal),
        })
    }
}

impl Quality {
    /// Returns the mean over queries, or `None` if there are none.
    pub fn mean(of: &[Self]) -> Option<Self> {
        let mean = |part: fn(&Self) -> f64| of.iter().map(part).sum::<f64>() / ratio(of.len(), 1);
        (!of.is_empty()).then(|| Self {
            recall: mean(|quality| quality.recall),
            reciprocal_rank: mean(|quality| quality.reciprocal_rank),
            ndcg: mean(|quality| quality.ndcg),
        })
    }
}

fn discounted(relevances: &[u32]) -> f64 {
    let gain = |relevance: u32| f64::from((1_u32 << relevance) - 1);
    relevances
        .iter()
        .enumerate()
        .map(|(at, relevance)| gain(*relevance) / ratio(at + 2, 1).log2())
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "counts of results")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn the_best_order_has_quality_one() {
        let judged = Judged::new([(1, 3), (2, 1), (3, 0)]);
        let best = judged.quality(&[1, 2, 9], 3).unwrap();
        assert!(
            close(best.recall, 1.0) && close(best.reciprocal_rank, 1.0) && close(best.ndcg, 1.0),
            "{best:?}"
        );
    }

    #[test]
    fn a_late_item_counts_less() {
        let judged = Judged::new([(1, 3), (2, 1)]);
        let late = judged.quality(&[9, 1, 2], 2).unwrap();
        assert!(close(late.recall, 0.5) && close(late.reciprocal_rank, 0.5));
        // (2^3 - 1) / log2(3), divided by 7 / log2(2) + 1 / log2(3).
        assert!(
            close(late.ndcg, 7.0 / 3_f64.log2() / (7.0 + 1.0 / 3_f64.log2())),
            "{late:?}"
        );
    }

    #[test]
    fn more_relevant_items_than_places_can_reach_a_recall_of_one() {
        let judged = Judged::new((0..20).map(|id| (id, 1)));
        assert!(close(judged.quality(&[4, 5], 2).unwrap().recall, 1.0));
        assert!(
            close(judged.quality(&[4, 4], 2).unwrap().recall, 0.5),
            "a repetition is not a second item"
        );
    }

    #[test]
    fn without_relevant_items_there_is_no_quality() {
        assert_eq!(Judged::new([(1, 0)]).quality(&[1], 1), None);
        assert_eq!(Judged::new([(1, 1)]).quality(&[1], 0), None);
        assert_eq!(Quality::mean(&[]), None);
    }
}
