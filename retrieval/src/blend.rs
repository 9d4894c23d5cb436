//! One score of two: how near a text is to a query, and how much of its words it has.

/// The share of the words in [`blend`] if nobody sets another.
///
/// With less, vectors of a model, which hardly tell one number or code from another, hide identifiers that the words find; with more, questions in
/// other words than those of the texts suffer. At this share both together are at least as good as each alone on prose and on identifiers, with
/// a model and with the embedder that is built in (`kebne-lab rag-eval`).
pub const WORDS_SHARE: f32 = 0.6;

/// Returns the score of a text, 0 to 1: `words_share * fit + (1 - words_share) * cosine`.
///
/// `fit` is [`crate::WordHit::fit`], 0 for a text without the words. `cosine` is `None` if the text or the query has no vector; then its fit
/// alone is its score, unless `words_share` is 0. Both are measured against fixed bounds, not against the other texts that were
/// found: a word that all texts have brings no text to the front, and scores of different searches can be compared.
///
/// Source: Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 2023: a convex combination with
/// theoretical bounds is better than reciprocal rank fusion, needs few examples, and hardly depends on its weight.
pub fn blend(cosine: Option<f32>, fit: f32, words_share: f32) -> f32 {
    let share = words_share.clamp(0.0, 1.0);
    let score = match cosine {
        Some(cosine) => share * fit + (1.0 - share) * cosine,
        None if share > 0.0 => fit,
        None => 0.0,
    };
    score.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f32, right: f32) -> bool {
        (left - right).abs() < 1e-6
    }

    #[test]
    fn the_score_is_the_mean_by_the_share() {
        assert!(close(blend(Some(0.6), 0.4, 0.25), 0.25 * 0.4 + 0.75 * 0.6));
        assert!(close(blend(Some(0.6), 0.4, 0.0), 0.6));
        assert!(close(blend(Some(0.6), 0.4, 1.0), 0.4));
    }

    #[test]
    fn a_text_without_a_vector_has_the_score_of_its_words() {
        assert!(close(blend(None, 0.4, 0.2), 0.4));
        assert!(close(blend(None, 0.4, 0.0), 0.0));
    }

    #[test]
    fn a_score_is_never_below_zero() {
        assert!(close(blend(Some(-0.5), 0.0, 0.2), 0.0));
    }
}
