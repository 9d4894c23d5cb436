//! One ranking of several.

use std::collections::{BTreeMap, BTreeSet};

/// The offset of ranks in [`fuse`], from the paper: the greater it is, the less the first ranks count more than the later ones.
pub const RANK_OFFSET: f32 = 60.0;

/// An item of a fused ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fused {
    /// The item.
    pub id: u64,
    /// The sum over the rankings of `weight / (RANK_OFFSET + rank)`, where the first rank is 1.
    pub score: f32,
}

/// Fuses rankings by reciprocal rank: only the order of each ranking counts, so that scores of different scales need not be
/// compared. Each ranking has a weight. The greatest score comes first; of equal scores the smaller identifier.
///
/// An item that a ranking names twice counts there at its first place.
///
/// Source: Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
/// methods", SIGIR 2009.
pub fn fuse<'a>(rankings: impl IntoIterator<Item = (f32, &'a [u64])>) -> Vec<Fused> {
    let mut scores: BTreeMap<u64, f32> = BTreeMap::new();
    for (weight, ranking) in rankings {
        let mut seen = BTreeSet::new();
        let mut place = RANK_OFFSET;
        for &id in ranking {
            if seen.insert(id) {
                place += 1.0;
                *scores.entry(id).or_default() += weight / place;
            }
        }
    }
    let mut fused: Vec<Fused> = scores
        .into_iter()
        .map(|(id, score)| Fused { id, score })
        .collect();
    fused.sort_by(|left, right| {
        right
            .score
            .total_cmp(&left.score)
            .then(left.id.cmp(&right.id))
    });
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(rankings: &[(f32, &[u64])]) -> Vec<u64> {
        fuse(rankings.iter().copied())
            .into_iter()
            .map(|item| item.id)
            .collect()
    }

    #[test]
    fn an_item_of_both_rankings_comes_before_the_first_of_one() {
        assert_eq!(order(&[(1.0, &[1, 2]), (1.0, &[3, 2])]), [2, 1, 3]);
    }

    #[test]
    fn a_weight_decides_between_firsts() {
        assert_eq!(order(&[(1.0, &[1]), (2.0, &[3])]), [3, 1]);
        assert_eq!(order(&[(0.0, &[5]), (1.0, &[4])]), [4, 5]);
    }

    #[test]
    fn an_item_that_is_named_twice_counts_once() {
        let twice = fuse([(1.0, &[7, 7, 8][..])]);
        assert_eq!(twice, fuse([(1.0, &[7, 8][..])]));
        assert!((twice[0].score - 1.0 / 61.0).abs() < 1e-6);
    }
}
