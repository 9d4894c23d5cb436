//! What answers say of what was found.

use actix_web::http::header::HeaderName;
use kebne_collections::Source;
use kebne_wire::file_search::{FileSearch, Found, FoundChunk};
use serde_json::json;

use super::header;
use crate::{sources::Ways, stages::shape::Shaped};

/// Adds the headers that say what was found.
pub(super) fn announce(shaped: &mut Shaped, sources: &[Source], left_out: usize, ways: &[Ways]) {
    let headers = [
        ("x-kebne-sources", header::sources(sources)),
        (
            "x-kebne-retrieval",
            header::retrieval(sources.len(), left_out, ways),
        ),
    ];
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        shaped.retrieved.extend(value.map(|value| (name, value)));
    }
}

/// Returns what was found as answers show it.
pub(super) fn shown(question: String, sources: &[Source], tool: Option<&FileSearch>) -> Found {
    let chunk = |source: &Source| FoundChunk {
        vector_store_id: source.collection.clone(),
        file_id: source.file.clone(),
        filename: source.name.clone(),
        attributes: json!(source.attributes),
        score: source.score.into(),
        text: source.text.clone(),
    };
    Found {
        queries: Some(question)
            .filter(|text| !text.is_empty())
            .into_iter()
            .collect(),
        chunks: sources.iter().map(chunk).collect(),
        is_reported: tool.is_some_and(|tool| tool.is_chosen),
        includes_results: tool.is_some_and(|tool| tool.includes_results),
    }
}
