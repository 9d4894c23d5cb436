//! The index of a collection in memory. It follows the store: each search compares its version with that of the store first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::AtomicBool,
};

use kebne_retrieval::{
    Attributes, Filter, FlatIndex, GraphIndex, Hit, IdMap, Links, Vector, VectorIndex, WordHit,
    WordIndex,
};

use crate::{
    model::StoreError,
    sqlite::{Database, Visible},
};

/// The index of a collection.
#[derive(Debug)]
pub(crate) struct CollectionIndex {
    /// The version of the store that it shows; `None` if it shows none yet.
    pub(crate) version: Option<u64>,
    /// The version from which on changes are missing.
    since: u64,
    removals: u64,
    vectors: Vectors,
    words: WordIndex,
    /// The files of the chunks.
    members: IdMap<i64>,
    attributes: BTreeMap<i64, Attributes>,
    /// `true` while a thread adds vectors to the graph.
    pub(crate) is_linking: AtomicBool,
}

/// The vectors of one space.
#[derive(Debug)]
struct Vectors {
    index: Option<Index>,
    /// The number of vectors from which on they are searched by a graph.
    graph_min: usize,
}

#[derive(Debug)]
enum Index {
    Flat(FlatIndex),
    Graph(GraphIndex),
}

impl Vectors {
    fn index(&self) -> Option<&dyn VectorIndex> {
        self.index.as_ref().map(|index| match index {
            Index::Flat(flat) => flat as &dyn VectorIndex,
            Index::Graph(graph) => graph,
        })
    }

    fn index_mut(&mut self) -> Option<&mut dyn VectorIndex> {
        self.index.as_mut().map(|index| match index {
            Index::Flat(flat) => flat as &mut dyn VectorIndex,
            Index::Graph(graph) => graph,
        })
    }

    fn len(&self) -> usize {
        self.index().map_or(0, VectorIndex::len)
    }

    /// Inserts a vector. One of another size than the first is left out: its chunk is found by its words.
    fn insert(&mut self, id: u64, vector: &Vector) {
        if self.index.is_none() {
            self.index = FlatIndex::new(vector.dimensions()).ok().map(Index::Flat);
        }
        let inserted = self.index_mut().map(|index| index.insert(id, vector));
        if let Some(Err(error)) = inserted {
            self.remove(id);
            tracing::warn!(%error, "a chunk of a vector store is found by its words only");
        }
        if self.len() >= self.graph_min {
            self.index = self.index.take().map(|index| match index {
                Index::Flat(flat) => Index::Graph(flat.into()),
                graph @ Index::Graph(_) => graph,
            });
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some(index) = self.index_mut() {
            index.remove(id);
        }
    }
}

impl CollectionIndex {
    pub(crate) fn new(graph_min: usize) -> Self {
        let vectors = Vectors {
            index: None,
            graph_min,
        };
        Self {
            version: None,
            since: 0,
            removals: 0,
            vectors,
            words: WordIndex::default(),
            members: IdMap::default(),
            attributes: BTreeMap::new(),
            is_linking: AtomicBool::new(false),
        }
    }

    /// Returns the bytes that it takes, approximately.
    pub(crate) fn bytes(&self) -> usize {
        let vectors = self.vectors.index().map_or(0, VectorIndex::bytes);
        vectors + self.words.bytes() + self.members.bytes()
    }

    /// Returns the number of chunks without a vector of the embedder.
    pub(crate) fn waiting(&self) -> u64 {
        self.members.len().saturating_sub(self.vectors.len()) as u64
    }

    /// Brings it to the state of the store.
    pub(crate) fn follow(
        &mut self,
        database: &mut Database,
        of: &Visible,
    ) -> Result<(), StoreError> {
        // What fails in between is done again by the next search.
        self.version = None;
        if of.removals != self.removals {
            self.remove_gone(&database.chunk_numbers(of)?);
        }
        for file in database.indexed(of, self.since)? {
            self.attributes.insert(file.member, file.attributes);
        }
        let Self {
            vectors,
            words,
            members,
            since,
            ..
        } = self;
        database.chunks_since(of, *since, |number, read| {
            let id = number.unsigned_abs();
            let chunk = read(!members.contains(id))?;
            if let Some(text) = &chunk.text {
                words.insert(id, &text.indexed());
                members.insert(id, chunk.member);
            }
            match &chunk.vector {
                Some(vector) => vectors.insert(id, vector),
                None => vectors.remove(id),
            }
            Ok(())
        })?;
        (self.since, self.removals) = (of.version, of.removals);
        self.version = Some(of.version);
        Ok(())
    }

    fn remove_gone(&mut self, present: &[i64]) {
        let present: BTreeSet<u64> = present.iter().map(|number| number.unsigned_abs()).collect();
        let gone: Vec<u64> = self
            .members
            .iter()
            .map(|(chunk, _)| chunk)
            .filter(|chunk| !present.contains(chunk))
            .collect();
        for chunk in gone {
            self.members.remove(chunk);
            self.vectors.remove(chunk);
            self.words.remove(chunk);
        }
        let files: BTreeSet<i64> = self.members.iter().map(|(_, member)| member).collect();
        self.attributes.retain(|member, _| files.contains(member));
    }

    /// Returns the number of vectors that are not in the graph yet.
    pub(crate) fn unlinked(&self) -> usize {
        match &self.vectors.index {
            Some(Index::Graph(graph)) => graph.unlinked(),
            _ => 0,
        }
    }

    /// Returns the links for vectors that are not in the graph yet; `None` if there are none.
    pub(crate) fn plan(&self) -> Option<Links> {
        match &self.vectors.index {
            Some(Index::Graph(graph)) => graph.plan(),
            _ => None,
        }
    }

    /// Adds links to the graph.
    pub(crate) fn apply(&mut self, links: Links) {
        if let Some(Index::Graph(graph)) = &mut self.vectors.index {
            graph.apply(links);
        }
    }

    /// Returns the nearest chunks by their vectors, and the best ones by their words with those of the others that have enough of the words.
    pub(crate) fn candidates(
        &self,
        text: &str,
        vector: Option<&Vector>,
        filter: Option<&Filter>,
        limit: usize,
    ) -> (Vec<Hit>, Vec<WordHit>) {
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
                let member = self.members.get(chunk);
                member.is_some_and(|member| accepted.contains(&member))
            })
        };
        let by_vector = vector.zip(self.vectors.index());
        let by_vector = by_vector.and_then(|(vector, index)| {
            // A query of another size than the vectors finds none of them.
            index.search(vector, limit, &wanted).ok()
        });
        let by_vector = by_vector.unwrap_or_default();
        let near: BTreeSet<u64> = by_vector.iter().map(|hit| hit.id).collect();
        let by_words = self.words.search_with(text, limit, wanted, &near);
        (by_vector, by_words)
    }
}
