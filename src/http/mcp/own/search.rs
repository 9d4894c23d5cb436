//! The search in collections.

use std::time::Duration;

use kebne_collections::Query;
use kebne_mcp::Tool;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{http::visit::Visit, sources, surface::error::ApiError};

/// The results of a search, at most and by default.
const RESULTS: (usize, usize) = (50, 10);
/// The collections of a search, at most.
const COLLECTIONS_MAX: usize = 16;
/// The longest question, in bytes.
const QUESTION_MAX: usize = 16 << 10;

/// The arguments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    query: String,
    collections: Vec<String>,
    results: Option<usize>,
}

pub(super) fn tool() -> Tool {
    let schema = super::schema(
        &json!({
            "query": {"type": "string", "description": "What to search for."},
            "collections": {
                "type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": COLLECTIONS_MAX,
                "description": "The ids of the collections (vector stores) to search in.",
            },
            "results": {"type": "integer", "minimum": 1, "maximum": RESULTS.0},
        }),
        &["query", "collections"],
    );
    let about = "Searches collections of documents and returns the parts that fit best.";
    Tool::own("search", about, schema).read_only()
}

pub(super) async fn call(visit: &Visit, asked: Arguments) -> Result<Value, ApiError> {
    let wrong = |param, message: &str| Err(ApiError::bad_request(Some(param), message));
    if asked.query.is_empty() || asked.query.len() > QUESTION_MAX {
        return wrong("query", "`query` must be a text of at most 16 KiB");
    }
    if !(1..=COLLECTIONS_MAX).contains(&asked.collections.len()) {
        return wrong("collections", "`collections` must be 1 to 16 ids");
    }
    let results = asked.results.unwrap_or(RESULTS.1);
    if !(1..=RESULTS.0).contains(&results) {
        return wrong("results", "`results` must be 1 to 50");
    }
    let behalf = visit.behalf();
    let asker = sources::Asker {
        owner: visit.owner(),
        behalf: &behalf,
        patience: Duration::MAX,
    };
    let search = sources::Search {
        query: Query {
            collections: asked.collections,
            texts: vec![asked.query],
            limit: results,
            ..Query::default()
        },
        ranker: sources::options::of_settings(&visit.state),
    };
    let found = sources::find(&visit.state, asker, search).await?;
    let found = found.sources.iter();
    let found = found
        .map(|source| json!({"file": source.name, "score": source.score, "text": source.text}));
    Ok(json!({"results": found.collect::<Vec<_>>()}))
}
