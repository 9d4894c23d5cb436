//! The chunks of several collections in one order.
//!
//! The indexes name candidates, by vectors and by words. Each candidate then gets both of its scores, wherever it was found: the cosine of its
//! stored vector, which is exacter than that of the index, and how well its words fit.

use std::collections::{BTreeMap, BTreeSet};

use kebne_retrieval::{CANDIDATES_EACH, Hit, Vector, WordHit, blend};

use crate::{
    query::{Query, QueryVectors},
    search::{Index, read},
    sqlite::Visible,
};

/// The fewest candidates of each index.
const CANDIDATES_MIN: usize = 50;

/// The candidates of a search.
#[derive(Default)]
pub(super) struct Found {
    /// The positions of the chunks' collections in the query.
    places: BTreeMap<u64, usize>,
    /// For each text of the query.
    of_texts: Vec<OfText>,
}

/// What was found for a text, of all collections together.
#[derive(Default)]
struct OfText {
    candidates: BTreeSet<u64>,
    cosines: BTreeMap<u64, f32>,
    words: BTreeMap<u64, WordHit>,
}

/// The candidates in their order.
#[derive(Default)]
pub(super) struct Ranking {
    /// Each chunk with its score of 0 to 1, the best first.
    pub(super) scored: Vec<(u64, f32)>,
    /// The greatest cosine of each chunk that has a vector.
    pub(super) cosines: BTreeMap<u64, f32>,
}

impl Found {
    /// Returns what the indexes find.
    pub(super) fn of(
        query: &Query,
        vectors: &QueryVectors,
        visible: &[(String, Visible, Index)],
    ) -> Self {
        let mut found = Self::default();
        let limit = CANDIDATES_MIN.max(query.count().saturating_mul(CANDIDATES_EACH));
        for (number, text) in query.texts.iter().enumerate() {
            let vector = vectors.vectors.get(number);
            let mut of_text = OfText::default();
            let (mut near, mut fitting): (Vec<Hit>, Vec<WordHit>) = (Vec::new(), Vec::new());
            for (at, (_, _, index)) in visible.iter().enumerate() {
                let index = read(index);
                let (by_vector, by_words) =
                    index.candidates(text, vector, query.filter.as_ref(), limit);
                let ids = by_vector.iter().map(|hit| hit.id);
                let ids = ids.chain(by_words.iter().map(|hit| hit.id));
                found.places.extend(ids.map(|id| (id, at)));
                near.extend(by_vector);
                fitting.extend(by_words);
            }
            of_text.cosines = near.iter().map(|hit| (hit.id, hit.score)).collect();
            of_text.words = fitting.iter().map(|hit| (hit.id, *hit)).collect();
            let near = near.into_iter().map(|hit| (hit.id, hit.score));
            of_text.candidates.extend(best(near.collect(), limit));
            let fitting = fitting.into_iter().map(|hit| (hit.id, hit.fit));
            of_text.candidates.extend(best(fitting.collect(), limit));
            found.of_texts.push(of_text);
        }
        found
    }

    /// Returns the position of a chunk's collection in the query.
    pub(super) fn place(&self, chunk: u64) -> Option<usize> {
        self.places.get(&chunk).copied()
    }

    /// Returns the chunks of all texts.
    pub(super) fn chunks(&self) -> BTreeSet<u64> {
        let all = self.of_texts.iter();
        all.flat_map(|of_text| of_text.candidates.iter().copied())
            .collect()
    }

    /// Returns the candidates with their scores; `exact` are their stored vectors. A chunk that fits several texts has the score of the one
    /// that it fits best.
    pub(super) fn ranked(
        &self,
        (query, words_share): (&Query, f32),
        vectors: &QueryVectors,
        exact: &BTreeMap<u64, Vector>,
    ) -> Ranking {
        let mut ranking = Ranking::default();
        let mut scores: BTreeMap<u64, f32> = BTreeMap::new();
        for (number, of_text) in self.of_texts.iter().enumerate() {
            let vector = vectors.vectors.get(number);
            // Without vectors only the words are left, whatever their share.
            let share = if vector.is_some() { words_share } else { 1.0 };
            for &id in &of_text.candidates {
                let stored = vector.zip(exact.get(&id));
                let stored = stored.filter(|(left, right)| left.dimensions() == right.dimensions());
                let cosine = stored.map(|(left, right)| left.cosine(right));
                let cosine = cosine.or_else(|| of_text.cosines.get(&id).copied());
                let words = of_text.words.get(&id);
                if let Some(cosine) = cosine {
                    keep_greatest(&mut ranking.cosines, id, cosine);
                }
                if is_above_floor(query, words, cosine) {
                    let fit = words.map_or(0.0, |hit| hit.fit);
                    keep_greatest(&mut scores, id, blend(cosine, fit, share));
                }
            }
        }
        ranking.scored = scores.into_iter().collect();
        let scored = &mut ranking.scored;
        scored.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        ranking
    }
}

/// Returns `true` if a chunk has enough of a text's words or is near enough.
fn is_above_floor(query: &Query, words: Option<&WordHit>, cosine: Option<f32>) -> bool {
    query.floor.is_none_or(|floor| {
        words.is_some_and(|hit| hit.share >= floor.words)
            || cosine.is_some_and(|cosine| cosine >= floor.cosine)
    })
}

fn keep_greatest(values: &mut BTreeMap<u64, f32>, id: u64, value: f32) {
    let kept = values.entry(id).or_insert(value);
    *kept = kept.max(value);
}

/// Returns the identifiers of the best hits.
fn best(mut hits: Vec<(u64, f32)>, limit: usize) -> impl Iterator<Item = u64> {
    hits.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    hits.truncate(limit);
    hits.into_iter().map(|(id, _)| id)
}
