//! `POST /v1/vector_stores/{id}/search`.

use actix_web::HttpResponse;
use kebne_collections::{Filter, Query, Source, Weights};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body_of, parameter};
use crate::{http::visit::Visit, surface::error::ApiError};

/// The most results and their default number, as in `OpenAI`'s API.
const RESULTS: (usize, usize) = (50, 10);
/// The most texts of a search, and their greatest length in bytes.
const TEXTS_MAX: (usize, usize) = (16, 16 << 10);

#[derive(Debug, Deserialize)]
struct Wanted {
    query: Texts,
    filters: Option<Filter>,
    max_num_results: Option<usize>,
    ranking_options: Option<RankingOptions>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct RankingOptions {
    score_threshold: Option<f32>,
    hybrid_search: Option<HybridSearch>,
}

#[derive(Debug, Deserialize)]
struct HybridSearch {
    embedding_weight: f32,
    text_weight: f32,
}

impl Wanted {
    fn query(self, store: String) -> Result<Query, ApiError> {
        let wrong = |param: &str, message: String| Err(ApiError::bad_request(Some(param), message));
        let texts = match self.query {
            Texts::One(text) => vec![text],
            Texts::Several(texts) => texts,
        };
        let (texts_max, size_max) = TEXTS_MAX;
        let fits = (1..=texts_max).contains(&texts.len())
            && texts
                .iter()
                .all(|text| !text.is_empty() && text.len() <= size_max);
        if !fits {
            let message = format!(
                "`query` must be a text, or 1 to {texts_max} texts, of at most {size_max} bytes"
            );
            return wrong("query", message);
        }
        if let Some(filter) = &self.filters
            && let Err(error) = filter.check()
        {
            return wrong("filters", error.to_string());
        }
        let limit = self.max_num_results.unwrap_or(RESULTS.1);
        if !(1..=RESULTS.0).contains(&limit) {
            return wrong(
                "max_num_results",
                format!("`max_num_results` must be 1 to {}", RESULTS.0),
            );
        }
        let options = self.ranking_options;
        let score_min = options.as_ref().and_then(|options| options.score_threshold);
        let score_min = score_min.unwrap_or(0.0);
        let weights = options.and_then(|options| options.hybrid_search);
        let weights = weights.map_or_else(Weights::default, |hybrid| Weights {
            vectors: hybrid.embedding_weight,
            words: hybrid.text_weight,
        });
        let in_range =
            |number: f32, most: f32| number.is_finite() && (0.0..=most).contains(&number);
        let weigh = in_range(weights.vectors, 1000.0) && in_range(weights.words, 1000.0);
        if !in_range(score_min, 1.0) || !weigh || weights.vectors + weights.words <= 0.0 {
            let message =
                "`score_threshold` must be 0 to 1, and the weights 0 to 1000 and not both 0";
            return wrong("ranking_options", message.to_owned());
        }
        Ok(Query {
            collections: vec![store],
            texts,
            filter: self.filters,
            limit,
            score_min,
            weights,
        })
    }
}

pub(in crate::http) async fn search(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = parameter(&visit, "id");
    let wanted: Wanted = body_of(&mut visit).await?;
    let query = wanted.query(id)?;
    let texts = query.texts.clone();
    let sources = crate::sources::find(&visit.state, visit.owner(), query).await?;
    let data: Vec<Value> = sources.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({
        "object": "vector_store.search_results.page",
        "search_query": texts,
        "data": data,
        "has_more": false,
        "next_page": null,
    })))
}

fn shown(source: &Source) -> Value {
    json!({
        "file_id": source.file,
        "filename": source.name,
        "score": source.score,
        "attributes": source.attributes,
        "content": [{"type": "text", "text": source.text}],
    })
}
