//! Exact scores for the candidates of an index.

use crate::{index::Hit, vector::Vector};

/// The candidates that an index is asked for, for each result that is wanted: with one byte per component all true neighbours are among
/// so many (`scripts/test-recall`).
pub const CANDIDATES_EACH: usize = 4;

/// Gives hits the exact cosine to the query, and orders them by it; of equal scores the smaller identifier comes first. `exact` returns the
/// vector of an identifier as it was made; a hit without one keeps its score.
///
/// An index of one byte per component distinguishes cosines that differ by a thousandth or more. So the first few of its hits are the true
/// ones, but not always in their order, and those at the end of a list may have displaced nearer ones. Among more
/// candidates than are wanted, the exact cosine finds them.
pub fn rescored(
    mut hits: Vec<Hit>,
    query: &Vector,
    mut exact: impl FnMut(u64) -> Option<Vector>,
) -> Vec<Hit> {
    for hit in &mut hits {
        if let Some(vector) = exact(hit.id) {
            hit.score = query.cosine(&vector);
        }
    }
    hits.sort_unstable_by(|left, right| {
        let by_score = right.score.total_cmp(&left.score);
        by_score.then(left.id.cmp(&right.id))
    });
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FlatIndex, VectorIndex as _};

    #[test]
    fn the_order_is_that_of_the_exact_cosines() {
        let mut rng = fastrand::Rng::with_seed(9);
        // All of them differ by less than a code of one byte distinguishes.
        let mut near = || {
            let components: Vec<f32> = (0..32).map(|_| 1.0 + 0.004 * rng.f32()).collect();
            Vector::new(&components).unwrap()
        };
        let vectors: Vec<Vector> = (0..40).map(|_| near()).collect();
        let query = near();
        let mut index = FlatIndex::new(32).unwrap();
        for (id, vector) in (0..).zip(&vectors) {
            index.insert(id, vector).unwrap();
        }
        let hits = index.search(&query, 40, &|_| true).unwrap();
        let mut truth: Vec<u64> = (0..40).collect();
        let of = |id: u64| usize::try_from(id).ok().and_then(|at| vectors.get(at));
        let cosine = |id: &u64| query.cosine(of(*id).unwrap());
        truth.sort_by(|left, right| cosine(right).total_cmp(&cosine(left)).then(left.cmp(right)));
        let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.id).collect::<Vec<_>>();
        assert_ne!(ids(&hits), truth);
        let exact = rescored(hits, &query, |id| of(id).cloned());
        assert_eq!(ids(&exact), truth);
    }

    #[test]
    fn a_hit_without_a_vector_keeps_its_score() {
        let hits = [(1, 0.2), (2, 0.5), (3, 0.5)].map(|(id, score)| Hit { id, score });
        let query = Vector::new(&[1.0, 0.0]).unwrap();
        let exact = |id| (id == 1).then(|| query.clone());
        let found = rescored(hits.to_vec(), &query, exact);
        assert_eq!(
            found.iter().map(|hit| hit.id).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert!((found[0].score - 1.0).abs() < 1e-6);
    }
}
