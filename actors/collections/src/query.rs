//! What a search asks and what it finds.

use kebne_retrieval::{Attributes, Filter, Vector, diverse};

/// A search.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The ids of the collections.
    pub collections: Vec<String>,
    /// The texts; what is near to any of them is found.
    pub texts: Vec<String>,
    /// The condition on the attributes of files.
    pub filter: Option<Filter>,
    /// The maximum number of results.
    pub limit: usize,
    /// The number of candidates from which the results are chosen, if [`Self::relevance_share`] is set or a reranker gives them other
    /// scores; fewer than `limit` count as `limit`. Default 0, which with [`Self::relevance_share`] means 50.
    pub candidates: usize,
    /// The minimum score of a result, 0 to 1.
    pub score_min: f32,
    /// The share of the words in the score, 0 (vectors only) to 1 (words only). Default none: that of the settings.
    pub words_share: Option<f32>,
    /// The share of the relevance in maximal marginal relevance, 0 to 1: the smaller it is, the less results repeat each other. Default
    /// none: only the relevance counts.
    pub relevance_share: Option<f32>,
    /// What a chunk must have to be found at all. Default none: there is always a best chunk.
    pub floor: Option<Floor>,
}

/// The candidates for maximal marginal relevance if their number is not given.
const CANDIDATES: usize = 50;

impl Query {
    /// Returns the number of candidates.
    pub(crate) fn count(&self) -> usize {
        let candidates = match (self.candidates, self.relevance_share) {
            (0, Some(_)) => CANDIDATES,
            (candidates, _) => candidates,
        };
        candidates.max(self.limit)
    }
}

/// What a chunk must have to be found: enough of the words, or a vector that is near enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// The minimum share of the query's words, weighed by their rarity, that a chunk must have; 0 to 1.
    pub words: f32,
    /// The minimum cosine between the vectors of query and chunk, -1 to 1.
    pub cosine: f32,
}

/// A chunk that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The id of the collection.
    pub collection: String,
    /// The id of the file.
    pub file: String,
    /// The name of the file.
    pub name: String,
    /// The attributes of the file.
    pub attributes: Attributes,
    /// The position among the chunks of its file, from 0.
    pub place: u64,
    /// The headings above it.
    pub headings: Vec<String>,
    /// The text.
    pub text: String,
    /// How near it is and how well its words fit, as [`kebne_retrieval::blend`] computes it, 0 to 1; after [`Candidates::rerank`] the score
    /// of the reranker.
    pub score: f32,
    /// The greatest cosine between its vector and those of the texts; `None` if there are no vectors to compare.
    pub cosine: Option<f32>,
}

/// The vectors of the texts of a query, made by [`crate::Collections::embed_query`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryVectors {
    /// A vector for each text, or none.
    pub(crate) vectors: Vec<Vector>,
    /// Why there are none.
    pub(crate) missing: Option<String>,
}

impl QueryVectors {
    /// Returns why there are no vectors, so that the search goes by words only; `None` if there are.
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }
}

/// The first step of a search: chunks from which the results are chosen, the best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidates {
    /// The chunks, with their vectors as far as the query needs them.
    pub items: Vec<Candidate>,
    /// How vectors were used.
    pub coverage: Coverage,
}

/// A chunk that may become a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The chunk.
    pub source: Source,
    /// Its vector, if the query has a `relevance_share` and the chunk has a vector of the embedder's space.
    pub vector: Option<Vector>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The chunks, the best first.
    pub sources: Vec<Source>,
    /// How vectors were used.
    pub coverage: Coverage,
}

/// How far a search used vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Why the search went by words only; `None` if it used vectors too.
    pub words_only: Option<String>,
    /// The chunks of the searched collections that were found by words only, because they have no vector of the present embedder yet.
    pub waiting: u64,
}

impl Candidates {
    /// Orders the candidates by the scores of a reranker, one for each in their order, 0 to 1. Candidates without a score keep their order
    /// behind the others, with score 0.
    pub fn rerank(&mut self, scores: &[f32]) {
        for (at, item) in self.items.iter_mut().enumerate() {
            let score = scores.get(at).copied();
            item.source.score = score.filter(|score| score.is_finite()).unwrap_or(0.0);
        }
        self.items
            .sort_by(|left, right| right.source.score.total_cmp(&left.source.score));
    }

    /// Chooses the results: those with the minimum score, by maximal marginal relevance if the query wants it.
    pub fn choose(mut self, query: &Query) -> Found {
        self.items
            .retain(|item| item.source.score >= query.score_min && item.source.score > 0.0);
        if let Some(share) = query.relevance_share {
            let candidates: Vec<_> = self
                .items
                .iter()
                .map(|item| (item.source.score, item.vector.as_ref()))
                .collect();
            let chosen = diverse(&candidates, query.limit, share);
            let mut items: Vec<Option<Candidate>> = self.items.into_iter().map(Some).collect();
            self.items = chosen
                .into_iter()
                .filter_map(|at| items.get_mut(at).and_then(Option::take))
                .collect();
        }
        self.items.truncate(query.limit);
        Found {
            sources: self.items.into_iter().map(|item| item.source).collect(),
            coverage: self.coverage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(file: &str, score: f32, components: &[f32]) -> Candidate {
        let source = Source {
            collection: "vs_1".to_owned(),
            file: file.to_owned(),
            name: String::new(),
            attributes: Attributes::new(),
            place: 0,
            headings: Vec::new(),
            text: String::new(),
            score,
            cosine: None,
        };
        let vector = Vector::new(components).ok();
        Candidate { source, vector }
    }

    fn candidates() -> Candidates {
        Candidates {
            items: vec![
                candidate("first", 0.9, &[1.0, 0.0]),
                candidate("again", 0.89, &[0.99, 0.02]),
                candidate("other", 0.6, &[0.3, 0.7]),
                candidate("bare", 0.1, &[]),
            ],
            coverage: Coverage::default(),
        }
    }

    fn files(found: &Found) -> Vec<&str> {
        found
            .sources
            .iter()
            .map(|each| each.file.as_str())
            .collect()
    }

    #[test]
    fn the_best_are_chosen_and_repetitions_left_behind_where_it_is_wanted() {
        let mut query = Query {
            limit: 2,
            ..Query::default()
        };
        assert_eq!(files(&candidates().choose(&query)), ["first", "again"]);
        query.relevance_share = Some(0.5);
        assert_eq!(files(&candidates().choose(&query)), ["first", "other"]);
        query.limit = 9;
        let all = candidates().choose(&query);
        assert_eq!(files(&all), ["first", "other", "bare", "again"]);
        query.score_min = 0.5;
        assert_eq!(candidates().choose(&query).sources.len(), 3);
    }

    #[test]
    fn the_scores_of_a_reranker_replace_those_of_the_search() {
        let query = Query {
            limit: 3,
            ..Query::default()
        };
        let mut items = candidates();
        items.rerank(&[0.1, f32::NAN, 0.8]);
        let found = items.choose(&query);
        assert_eq!(files(&found), ["other", "first"]);
        assert!((found.sources[0].score - 0.8).abs() < 1e-6);
    }
}
