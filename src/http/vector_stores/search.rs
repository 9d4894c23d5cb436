//! `POST /v1/vector_stores/{id}/search`.

use std::time::Duration;

use actix_web::HttpResponse;
use kebne_collections::Source;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body_of, parameter};
use crate::{
    http::visit::Visit,
    sources::{
        self, Asker, Search, Ways,
        filter::FilterField,
        object::{Object, Texts, Whole},
        options::{RankingOptions, SearchOptions},
    },
    surface::error::ApiError,
};

/// The default number of results, as in `OpenAI`'s API.
const RESULTS: usize = 10;
/// The most texts of a search, and their greatest length in bytes.
const TEXTS_MAX: (usize, usize) = (16, 16 << 10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    query: Texts,
    filters: Option<FilterField>,
    max_num_results: Option<Whole>,
    ranking_options: Option<Object<RankingOptions>>,
    /// It is checked only: no query is rewritten, and the answer has the texts that were searched for.
    #[serde(rename = "rewrite_query")]
    _rewrite_query: Option<bool>,
}

impl Wanted {
    fn search(self, visit: &Visit, store: String) -> Result<Search, ApiError> {
        let Texts(texts) = self.query;
        let (texts_max, size_max) = TEXTS_MAX;
        let fits = (1..=texts_max).contains(&texts.len())
            && texts
                .iter()
                .all(|text| !text.is_empty() && text.len() <= size_max);
        if !fits {
            let message = format!(
                "`query` must be a text, or 1 to {texts_max} texts, of at most {size_max} bytes"
            );
            return Err(ApiError::bad_request(Some("query"), message));
        }
        let who = (&**visit.state, &*visit.caller);
        let options = SearchOptions {
            filters: self.filters,
            max_num_results: self.max_num_results,
            ranking_options: self.ranking_options,
        };
        options.search(who, (vec![store], texts), RESULTS, "")
    }
}

pub(in crate::http) async fn search(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = parameter(&visit, "id");
    let wanted: Wanted = body_of(&mut visit).await?;
    let search = wanted.search(&visit, id)?;
    let texts = search.query.texts.clone();
    let asker = Asker {
        owner: visit.owner(),
        behalf: &visit.behalf(),
        patience: Duration::MAX,
    };
    let found = sources::find(&visit.state, asker, search).await?;
    let data: Vec<Value> = found.sources.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({
        "object": "vector_store.search_results.page",
        "search_query": texts,
        "data": data,
        "has_more": false,
        "next_page": null,
        "ranking": ranking(&found.ways),
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

/// Returns how the results came into their order. It is not part of `OpenAI`'s API.
fn ranking(ways: &Ways) -> Value {
    let ranker = ways.ranked.as_ref().map(|(model, _)| model);
    let failure = ways.ranked.as_ref().and_then(|(_, result)| result.err());
    json!({
        "ranker": ranker,
        "ranker_error": failure.map(sources::Unranked::word),
        "vectors": ways.coverage.words_only.is_none(),
        "chunks_without_vector": ways.coverage.waiting,
    })
}
