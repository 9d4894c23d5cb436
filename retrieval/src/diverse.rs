//! A selection of results that do not repeat each other.

use crate::vector::Vector;

/// Returns the positions of up to `limit` of the candidates by maximal marginal relevance, in the order in which they were chosen.
/// A candidate is its relevance and its vector; one without a vector is similar to none.
///
/// Each step takes the candidate with the greatest `relevance_share * relevance - (1 - relevance_share) * similarity`, where the
/// similarity is the greatest cosine to a candidate that was taken before. With a `relevance_share` of 1 only the relevance
/// counts; with 0 only that candidates differ. Values outside 0 to 1 count as the nearest of the two.
///
/// Source: Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing summaries",
/// SIGIR 1998.
pub fn diverse(
    candidates: &[(f32, Option<&Vector>)],
    limit: usize,
    relevance_share: f32,
) -> Vec<usize> {
    let share = relevance_share.clamp(0.0, 1.0);
    let mut nearest = vec![0.0_f32; candidates.len()];
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    let mut chosen = Vec::with_capacity(limit.min(candidates.len()));
    while chosen.len() < limit {
        let value = |at: usize| share * candidates[at].0 - (1.0 - share) * nearest[at];
        // Of equal values the earlier candidate: `max_by` returns the last greatest one, so the order is reversed.
        let Some(next) = (0..left.len())
            .rev()
            .max_by(|&one, &other| value(left[one]).total_cmp(&value(left[other])))
        else {
            break;
        };
        let taken = left.remove(next);
        chosen.push(taken);
        for &at in &left {
            if let (Some(own), Some(other)) = (candidates[at].1, candidates[taken].1) {
                nearest[at] = nearest[at].max(own.cosine(other));
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> [Vector; 3] {
        [[1.0, 0.0], [0.99, 0.02], [0.3, 0.7]].map(|components| Vector::new(&components).unwrap())
    }

    #[test]
    fn a_repetition_comes_after_what_is_new() {
        let vectors = vectors();
        let [first, again, other] = vectors.each_ref().map(Some);
        let candidates = [(0.9, first), (0.89, again), (0.6, other)];
        assert_eq!(diverse(&candidates, 3, 0.5), [0, 2, 1]);
        assert_eq!(diverse(&candidates, 2, 0.5), [0, 2]);
    }

    #[test]
    fn with_a_share_of_one_only_the_relevance_counts() {
        let vectors = vectors();
        let [first, again, other] = vectors.each_ref().map(Some);
        assert_eq!(
            diverse(&[(0.6, other), (0.9, first), (0.89, again)], 9, 1.0),
            [1, 2, 0]
        );
        assert_eq!(diverse(&[(0.5, first), (0.5, again)], 1, 7.0), [0]);
        assert!(diverse(&[], 3, 0.5).is_empty());
    }
}
