//! The options of a search as `OpenAI`'s API has them: of the tool `file_search`, and of a vector store's search.

use kebne_collections::Query;
use kebne_wire::file_search::FileSearch;
use serde::Deserialize;
use serde_json::Value;

use super::{
    filter::FilterField,
    object::{Number, Object, Whole},
};
use crate::{caller::Caller, sources::Search, state::State, surface::error::ApiError};

/// The most results of a search, as in `OpenAI`'s API.
pub(crate) const RESULTS_MAX: usize = 50;

/// The options of a search.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchOptions {
    pub(crate) filters: Option<FilterField>,
    pub(crate) max_num_results: Option<Whole>,
    pub(crate) ranking_options: Option<Object<RankingOptions>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RankingOptions {
    ranker: Option<String>,
    score_threshold: Option<Number>,
    hybrid_search: Option<Object<HybridSearch>>,
    max_marginal_relevance: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HybridSearch {
    embedding_weight: Option<Number>,
    text_weight: Option<Number>,
}

impl HybridSearch {
    /// Returns the weights of vectors and of words; one that is not given is 1.
    fn weights(&self) -> (f32, f32) {
        let weight = |given: Option<Number>| given.map_or(1.0, |weight| weight.0);
        (weight(self.embedding_weight), weight(self.text_weight))
    }
}

impl SearchOptions {
    /// Reads the options of a tool.
    ///
    /// # Errors
    /// Returns a 400 that names the field.
    pub(crate) fn of_tool(tool: &FileSearch) -> Result<Self, ApiError> {
        let options = Value::Object(tool.options.clone());
        serde_path_to_error::deserialize(options).map_err(|error| {
            let at = match error.path().to_string().as_str() {
                "." => tool.path.clone(),
                path => format!("{}.{path}", tool.path),
            };
            let message = format!("`{at}` is not valid: {}", error.inner());
            ApiError::bad_request(Some(&at), message)
        })
    }

    /// Returns the search with these options. `at` is put before the names of fields in errors.
    ///
    /// # Errors
    /// Returns a 400 that names the field.
    pub(crate) fn search(
        self,
        (state, caller): (&State, &Caller),
        (collections, texts): (Vec<String>, Vec<String>),
        limit_default: usize,
        at: &str,
    ) -> Result<Search, ApiError> {
        let wrong = |key: &str, message: String| {
            Err(ApiError::bad_request(Some(&format!("{at}{key}")), message))
        };
        let filter = match self.filters.map(FilterField::filter) {
            None => None,
            Some(Ok(filter)) => Some(filter),
            Some(Err(message)) => return wrong("filters", message),
        };
        let limit = self.max_num_results;
        let limit = limit.map_or(limit_default, |limit| {
            usize::try_from(limit.0).unwrap_or(usize::MAX)
        });
        if !(1..=RESULTS_MAX).contains(&limit) {
            let message = format!("`max_num_results` must be 1 to {RESULTS_MAX}");
            return wrong("max_num_results", message);
        }
        let Object(options) = self.ranking_options.unwrap_or_default();
        let score_min = options.score_threshold.map_or(0.0, |least| least.0);
        let hybrid = options.hybrid_search.map(|hybrid| hybrid.0.weights());
        let in_range =
            |number: f32, most: f32| number.is_finite() && (0.0..=most).contains(&number);
        let weigh = hybrid.is_none_or(|(vectors, words)| {
            in_range(vectors, 1000.0) && in_range(words, 1000.0) && vectors + words > 0.0
        });
        if !in_range(score_min, 1.0) || !weigh {
            let message =
                "`score_threshold` must be 0 to 1, and the weights 0 to 1000 and not both 0";
            return wrong("ranking_options", message.to_owned());
        }
        let share = options.max_marginal_relevance.map(|share| share.0);
        if share.is_some_and(|share| !in_range(share, 1.0)) {
            let message = "`max_marginal_relevance` must be 0 to 1";
            return wrong("ranking_options", message.to_owned());
        }
        let ranker = ranker(state, caller, options.ranker.as_deref());
        let ranker = ranker.map_err(|error| error.at(&format!("{at}ranking_options.ranker")))?;
        Ok(Search {
            query: Query {
                collections,
                texts,
                filter,
                limit,
                score_min,
                words_share: hybrid.map(|(vectors, words)| words / (words + vectors)),
                relevance_share: share,
                ..Query::default()
            },
            ranker,
        })
    }
}

/// A ranker that cannot be used.
struct BadRanker(String);

impl BadRanker {
    fn at(self, param: &str) -> ApiError {
        ApiError::bad_request(Some(param), self.0)
    }
}

/// Returns the model that a caller's `ranker` names: none for `none`, that of the settings for no name, `auto` and `OpenAI`'s own, and else a
/// model that the caller may call.
fn ranker(
    state: &State,
    caller: &Caller,
    named: Option<&str>,
) -> Result<Option<String>, BadRanker> {
    match named {
        Some("none") => Ok(None),
        None | Some("auto") => Ok(of_settings(state)),
        Some(name) if name.starts_with("default-") || name.starts_with("default_") => {
            Ok(of_settings(state))
        }
        Some(name) => {
            let model = state.gateway.canonical(name);
            let model = model.filter(|model| caller.may_call(model));
            let missing = || {
                let message = format!(
                    "`ranker` must be `auto`, `none` or a model: there is no model `{name}`"
                );
                BadRanker(message)
            };
            model.map(Some).ok_or_else(missing)
        }
    }
}

/// Returns the model of the settings that brings what is found into its order.
pub(crate) fn of_settings(state: &State) -> Option<String> {
    let retrieval = state.retrieval.get();
    retrieval.settings.rerank_model.clone()
}
