//! The index of a collection in memory. It follows the store: each search compares its version with that of the store first.

use std::collections::{BTreeMap, BTreeSet};

use kebne_retrieval::{Attributes, Filter, FlatIndex, HashedNgrams, Hit, Vector, WordIndex};

use crate::{
    model::StoreError,
    sqlite::{Database, Visible},
};

/// The bytes of a chunk beside its vector and words: its place in two maps.
const CHUNK_BYTES: usize = 48;

/// The index of a collection.
#[derive(Debug)]
pub(crate) struct CollectionIndex {
    embedder: HashedNgrams,
    /// The version of the store that it shows; `None` if it shows none yet.
    pub(crate) version: Option<u64>,
    /// The greatest number of a chunk that was seen. Numbers are not used again.
    last: i64,
    vectors: FlatIndex,
    words: WordIndex,
    /// The files of the chunks.
    members: BTreeMap<u64, i64>,
    attributes: BTreeMap<i64, Attributes>,
}

impl CollectionIndex {
    pub(crate) fn new(embedder: HashedNgrams) -> Result<Self, StoreError> {
        let vectors = FlatIndex::new(embedder.dimensions());
        Ok(Self {
            embedder,
            version: None,
            last: 0,
            vectors: vectors.map_err(|error| StoreError::Failed(error.to_string()))?,
            words: WordIndex::default(),
            members: BTreeMap::new(),
            attributes: BTreeMap::new(),
        })
    }

    /// Returns the bytes that it takes, approximately.
    pub(crate) fn bytes(&self) -> usize {
        self.vectors.bytes() + self.words.bytes() + self.members.len() * CHUNK_BYTES
    }

    /// Brings it to the state of the store.
    pub(crate) fn follow(
        &mut self,
        database: &mut Database,
        of: &Visible,
    ) -> Result<(), StoreError> {
        // What fails in between is done again by the next search.
        self.version = None;
        let files = database.indexed(of)?;
        self.attributes = files
            .into_iter()
            .map(|file| (file.member, file.attributes))
            .collect();
        let present: BTreeSet<u64> = database
            .chunk_numbers(of)?
            .into_iter()
            .map(i64::unsigned_abs)
            .collect();
        let gone: Vec<u64> = self
            .members
            .keys()
            .filter(|chunk| !present.contains(chunk))
            .copied()
            .collect();
        for chunk in gone {
            self.members.remove(&chunk);
            self.vectors.remove(chunk);
            self.words.remove(chunk);
        }
        let (embedder, mut last) = (self.embedder, self.last);
        database.chunks_after(of, self.last, |number, member, text, vector| {
            let (id, indexed) = (number.unsigned_abs(), text.indexed());
            // A vector of another space is made anew.
            let vector = vector
                .ok()
                .filter(|vector| vector.dimensions() == embedder.dimensions());
            let vector = vector.unwrap_or_else(|| embedder.embed(&indexed));
            if self.vectors.insert(id, &vector).is_ok() {
                self.words.insert(id, &indexed);
                self.members.insert(id, member);
            }
            last = number;
        })?;
        self.last = last;
        self.version = Some(of.version);
        Ok(())
    }

    /// Returns the nearest chunks by their vectors and by their words.
    pub(crate) fn candidates(
        &self,
        text: &str,
        vector: &Vector,
        filter: Option<&Filter>,
        limit: usize,
    ) -> (Vec<Hit>, Vec<Hit>) {
        // A filter is applied once to each file, not to each chunk.
        let accepted: Option<BTreeSet<i64>> = filter.map(|filter| {
            let files = self
                .attributes
                .iter()
                .filter(|(_, attributes)| filter.accepts(attributes));
            files.map(|(member, _)| *member).collect()
        });
        let wanted = |chunk: u64| {
            accepted.as_ref().is_none_or(|accepted| {
                let member = self.members.get(&chunk);
                member.is_some_and(|member| accepted.contains(member))
            })
        };
        let by_vector = self
            .vectors
            .search(vector, limit, wanted)
            .unwrap_or_default();
        (by_vector, self.words.search(text, limit, wanted))
    }
}
