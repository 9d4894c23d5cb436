//! Searches: hybrid, over the indexes in memory, within the collections that their owner may see.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use kebne_retrieval::{Attributes, Filter, HashedNgrams, Hit, RANK_OFFSET, fuse};

use crate::{
    index::CollectionIndex,
    model::StoreError,
    sqlite::{Database, Place, Visible},
};

/// The fewest candidates of each ranking.
const CANDIDATES_MIN: usize = 50;
/// The components of the vectors of the built-in embedder.
const DIMENSIONS: usize = 384;

/// Returns the built-in embedder.
pub(crate) fn embedder() -> HashedNgrams {
    HashedNgrams::new(DIMENSIONS)
}

/// A search.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The ids of the collections.
    pub collections: Vec<String>,
    /// The texts; what is near to any of them is found.
    pub texts: Vec<String>,
    /// The condition on the attributes of files.
    pub filter: Option<Filter>,
    /// The most results.
    pub limit: usize,
    /// The least score of a result, 0 to 1.
    pub score_min: f32,
    /// How much each ranking counts.
    pub weights: Weights,
}

/// How much the rankings by vectors and by words count; at least 0 each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// By vectors. Default 1.
    pub vectors: f32,
    /// By words. Default 1.
    pub words: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            vectors: 1.0,
            words: 1.0,
        }
    }
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
    /// The fused rank, 1 for what is first in both rankings, down to 0. It compares results of one search only.
    pub score: f32,
}

/// Searches one store. It blocks: it must not be used on an event loop.
pub(crate) struct Searcher {
    place: Place,
    index_size_max: usize,
    /// A connection of its own, so that searches do not wait for what is written.
    database: Mutex<Option<Database>>,
    indexes: Mutex<Indexes>,
}

/// The indexes of collections that were searched last.
#[derive(Default)]
struct Indexes {
    by_collection: BTreeMap<i64, Kept>,
    /// The number of the last search.
    searches: u64,
}

struct Kept {
    index: Arc<RwLock<CollectionIndex>>,
    bytes: usize,
    last_search: u64,
}

type Index = Arc<RwLock<CollectionIndex>>;

impl Searcher {
    pub(crate) fn new(place: Place, index_size_max: usize) -> Self {
        Self {
            place,
            index_size_max,
            database: Mutex::default(),
            indexes: Mutex::default(),
        }
    }

    /// Returns the bytes that the indexes take.
    pub(crate) fn bytes(&self) -> usize {
        let indexes = lock(&self.indexes);
        indexes.by_collection.values().map(|kept| kept.bytes).sum()
    }

    /// Drops the index of a collection that was removed.
    pub(crate) fn forget(&self, collection: i64) {
        lock(&self.indexes).by_collection.remove(&collection);
    }

    /// Returns the best chunks, the best first.
    pub(crate) fn search(
        &self,
        owner: &str,
        query: &Query,
        now: u64,
    ) -> Result<Vec<Source>, StoreError> {
        let mut visible = Vec::with_capacity(query.collections.len());
        for id in &query.collections {
            let of = self.with_store(|database| database.visible(owner, id, now))?;
            let index = self.followed(&of, |database| database.visible(owner, id, now))?;
            visible.push((id.clone(), of, index));
        }
        let limit = CANDIDATES_MIN.max(query.limit.saturating_mul(4));
        let mut rankings: Vec<(f32, Vec<u64>)> = Vec::new();
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        for text in &query.texts {
            let vector = embedder().embed(text);
            let (mut by_vector, mut by_words) = (Vec::new(), Vec::new());
            for (at, (_, _, index)) in visible.iter().enumerate() {
                let index = index.read().unwrap_or_else(PoisonError::into_inner);
                let (vectors, words) =
                    index.candidates(text, &vector, query.filter.as_ref(), limit);
                places.extend(vectors.iter().chain(&words).map(|hit| (hit.id, at)));
                by_vector.extend(vectors);
                by_words.extend(words);
            }
            rankings.push((query.weights.vectors, ranked(by_vector, limit)));
            rankings.push((query.weights.words, ranked(by_words, limit)));
        }
        let best: f32 = rankings
            .iter()
            .map(|(weight, _)| weight / (RANK_OFFSET + 1.0))
            .sum();
        let fused = fuse(
            rankings
                .iter()
                .map(|(weight, ids)| (*weight, ids.as_slice())),
        );
        self.with_store(|database| {
            let mut sources = Vec::new();
            for item in fused {
                let score = if best > 0.0 {
                    (item.score / best).min(1.0)
                } else {
                    0.0
                };
                if sources.len() == query.limit || score < query.score_min || score <= 0.0 {
                    break;
                }
                let Some((id, of, _)) = places.get(&item.id).and_then(|at| visible.get(*at)) else {
                    continue;
                };
                // The owner is asked for again; what is gone by now is left out.
                let Ok(chunk) = i64::try_from(item.id) else {
                    continue;
                };
                if let Some(row) = database.chunk(of, chunk, now)? {
                    sources.push(Source {
                        collection: id.clone(),
                        file: row.file,
                        name: row.name,
                        attributes: row.attributes,
                        place: row.place,
                        headings: row.text.headings,
                        text: row.text.text,
                        score,
                    });
                }
            }
            Ok(sources)
        })
    }

    /// Reads the store in one of its states. A store that fails is opened again for the next search.
    fn with_store<T>(
        &self,
        read: impl FnOnce(&mut Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = lock(&self.database);
        if open.is_none() {
            *open = Some(self.place.open_to_read()?);
        }
        let Some(database) = open.as_mut() else {
            return Err(StoreError::Failed("it is not open".to_owned()));
        };
        let done = database.read(read);
        if matches!(done, Err(StoreError::Failed(_) | StoreError::Damaged(_))) {
            *open = None;
        }
        done
    }

    /// Returns the index of a collection in the state of the store. An index that has to follow the store reads it by a connection of its
    /// own, so that searches in other collections do not wait for it. `look` asks for the collection again there.
    fn followed(
        &self,
        of: &Visible,
        look: impl FnOnce(&Database) -> Result<Visible, StoreError>,
    ) -> Result<Index, StoreError> {
        let present = {
            let mut indexes = lock(&self.indexes);
            indexes.searches += 1;
            let search = indexes.searches;
            indexes.by_collection.get_mut(&of.number).map(|kept| {
                kept.last_search = search;
                Arc::clone(&kept.index)
            })
        };
        let index = match present {
            Some(index) => index,
            None => Arc::new(RwLock::new(CollectionIndex::new(embedder())?)),
        };
        let is_current = {
            let index = index.read().unwrap_or_else(PoisonError::into_inner);
            index.version == Some(of.version)
        };
        if !is_current {
            let mut writing = index.write().unwrap_or_else(PoisonError::into_inner);
            // Another search may have done it meanwhile.
            if writing.version != Some(of.version) {
                let mut database = self.place.open_to_read()?;
                database.read(|database| {
                    let of = look(database)?;
                    writing.follow(database, &of)
                })?;
            }
            let bytes = writing.bytes();
            drop(writing);
            self.keep(of.number, Arc::clone(&index), bytes);
        }
        Ok(index)
    }

    /// Keeps an index in memory, in place of those that were not searched for the longest time.
    fn keep(&self, collection: i64, index: Index, bytes: usize) {
        let mut indexes = lock(&self.indexes);
        let last_search = indexes.searches;
        let kept = Kept {
            index,
            bytes,
            last_search,
        };
        indexes.by_collection.insert(collection, kept);
        let total = |indexes: &Indexes| -> usize {
            indexes.by_collection.values().map(|kept| kept.bytes).sum()
        };
        while total(&indexes) > self.index_size_max {
            let oldest = indexes
                .by_collection
                .iter()
                .min_by_key(|(_, kept)| kept.last_search);
            let Some(oldest) = oldest.map(|(collection, _)| *collection) else {
                return;
            };
            indexes.by_collection.remove(&oldest);
        }
    }
}

/// Returns the identifiers of the best hits of several collections, the best first.
fn ranked(mut hits: Vec<Hit>, limit: usize) -> Vec<u64> {
    hits.sort_by(|left, right| {
        right
            .score
            .total_cmp(&left.score)
            .then(left.id.cmp(&right.id))
    });
    hits.truncate(limit);
    hits.into_iter().map(|hit| hit.id).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
