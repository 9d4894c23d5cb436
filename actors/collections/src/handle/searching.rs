//! Searches, through the handle.

use kebne_file_store::FileStore as _;
use kebne_retrieval::{Embedder, Role, WORDS_SHARE};

use super::Collections;
use crate::{
    model::{StoreError, Thing},
    query::{Candidates, Floor, Found, Query, QueryVectors},
};

impl Collections {
    /// Returns what a chunk must have to be put into a prompt; `None` with an embedder that is lexical, as the one that is built in, whose
    /// cosines do not tell what fits from what does not.
    pub fn prompt_floor(&self) -> Option<Floor> {
        let is_lexical = self.0.parts.embedder.is_lexical();
        (!is_lexical).then(|| self.settings().prompt_floor())
    }

    /// Returns the share of the words in the scores of a query: its own, or that of the settings, or [`WORDS_SHARE`].
    fn words_share(&self, query: &Query) -> f32 {
        let of_query = query.words_share.or_else(|| self.settings().words_share());
        of_query.unwrap_or(WORDS_SHARE)
    }

    /// Returns the vectors of a query's texts. If the embedder does not make them within its time, the search goes by words only.
    pub async fn embed_query(&self, query: &Query) -> QueryVectors {
        self.embed_query_by(query, &*self.0.parts.embedder).await
    }

    /// Returns them by another embedder, whose vectors are in the same space: one for which somebody else pays.
    pub async fn embed_query_by(&self, query: &Query, embedder: &dyn Embedder) -> QueryVectors {
        if self.words_share(query) >= 1.0 {
            return QueryVectors::default();
        }
        match embedder.embed(query.texts.clone(), Role::Query).await {
            Ok(vectors) => QueryVectors {
                vectors,
                missing: None,
            },
            Err(error) => QueryVectors {
                vectors: Vec::new(),
                missing: Some(error.to_string()),
            },
        }
    }

    /// Returns the chunks that fit a query best, the best first. It blocks: it must not be called on an event loop.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such collection.
    pub fn search(
        &self,
        owner: &str,
        query: &Query,
        vectors: &QueryVectors,
    ) -> Result<Found, StoreError> {
        Ok(self.candidates(owner, query, vectors)?.choose(query))
    }

    /// Returns the chunks from which the results of a query are chosen, the best first: the first step of a search whose candidates get
    /// other scores before [`Candidates::choose`]. It blocks: it must not be called on an event loop.
    ///
    /// # Errors
    /// As [`Collections::search`].
    pub fn candidates(
        &self,
        owner: &str,
        query: &Query,
        vectors: &QueryVectors,
    ) -> Result<Candidates, StoreError> {
        if !self.0.place.file().exists() {
            return Err(StoreError::NotFound(Thing::Collection));
        }
        let (query, now) = ((query, self.words_share(query)), self.now());
        self.0.searcher.candidates(owner, query, vectors, now)
    }
}
