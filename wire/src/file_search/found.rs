//! What a search found, as answers show it.

use serde_json::{Value, json};

use super::Citations;

/// One chunk that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundChunk {
    /// The id of the vector store.
    pub vector_store_id: String,
    /// The id of the file.
    pub file_id: String,
    /// The name of the file.
    pub filename: String,
    /// The attributes of the file, an object.
    pub attributes: Value,
    /// The score, 0 to 1.
    pub score: f64,
    /// The text as it was put into the prompt.
    pub text: String,
}

/// What was found for a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The texts that were searched for.
    pub queries: Vec<String>,
    /// The chunks that were put into the prompt, in the order of their numbers there, which begin with 1.
    pub chunks: Vec<FoundChunk>,
    /// `true` if the answer reports the search as an item of its own.
    pub is_reported: bool,
    /// `true` if that item has the results.
    pub includes_results: bool,
}

impl Found {
    /// Replaces texts that the answer repeats. `replace` returns `None` for a text that stays.
    pub fn replace(&mut self, replace: &dyn Fn(&str) -> Option<String>) {
        let texts = self.chunks.iter_mut().map(|chunk| &mut chunk.text);
        for text in self.queries.iter_mut().chain(texts) {
            if let Some(other) = replace(text) {
                *text = other;
            }
        }
    }

    /// Returns the item of the search in a state.
    pub(crate) fn item(&self, id: &str, status: &str) -> Value {
        let is_done = status == "completed";
        let queries: &[String] = if is_done { &self.queries } else { &[] };
        let results = (is_done && self.includes_results).then(|| self.results());
        json!({
            "id": id, "type": "file_search_call", "status": status, "queries": queries, "results": results,
        })
    }

    fn results(&self) -> Vec<Value> {
        let result = |chunk: &FoundChunk| {
            json!({
                "vector_store_id": chunk.vector_store_id, "file_id": chunk.file_id, "filename": chunk.filename,
                "score": chunk.score, "attributes": chunk.attributes, "text": chunk.text,
            })
        };
        self.chunks.iter().map(result).collect()
    }

    /// Returns what finds the citations of the chunks in an answer.
    pub fn citations(&self) -> Citations {
        let files = self.chunks.iter();
        Citations::new(files.map(|chunk| (chunk.file_id.clone(), chunk.filename.clone())))
    }
}
