//! Searches: hybrid, over the indexes in memory, within the collections that their owner may see.

mod ranking;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, atomic::Ordering::SeqCst,
    },
};

use kebne_file_store::FileStore as _;

use crate::{
    index::CollectionIndex,
    model::StoreError,
    query::{Candidate, Candidates, Coverage, Query, QueryVectors, Source},
    search::ranking::Found,
    sqlite::{Database, Place, Visible},
};

/// Searches one store. It blocks: it must not be used on an event loop.
pub(crate) struct Searcher {
    place: Place,
    index_size_max: usize,
    /// The number of vectors from which on they are searched by a graph.
    graph_min: usize,
    /// Held by the thread that adds vectors to a graph: one at a time.
    linker: Arc<Mutex<()>>,
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
    pub(crate) fn new(place: Place, index_size_max: usize, graph_min: usize) -> Self {
        Self {
            place,
            index_size_max,
            graph_min,
            linker: Arc::default(),
            database: Mutex::default(),
            indexes: Mutex::default(),
        }
    }

    /// Returns the bytes that the indexes take.
    pub(crate) fn bytes(&self) -> usize {
        let indexes = lock(&self.indexes);
        indexes.by_collection.values().map(|kept| kept.bytes).sum()
    }

    /// Returns the vectors that are not in their graphs yet.
    pub(crate) fn unlinked(&self) -> usize {
        let indexes: Vec<Index> = {
            let indexes = lock(&self.indexes);
            let kept = indexes.by_collection.values();
            kept.map(|kept| Arc::clone(&kept.index)).collect()
        };
        indexes.iter().map(|index| read(index).unlinked()).sum()
    }

    /// Drops the index of a collection that was removed.
    pub(crate) fn forget(&self, collection: i64) {
        lock(&self.indexes).by_collection.remove(&collection);
    }

    /// Returns the chunks from which the results of a query are chosen, the best first. `words_share` is the share of the words in their
    /// scores.
    pub(crate) fn candidates(
        &self,
        owner: &str,
        (query, words_share): (&Query, f32),
        vectors: &QueryVectors,
        now: u64,
    ) -> Result<Candidates, StoreError> {
        let mut visible = Vec::with_capacity(query.collections.len());
        for id in &query.collections {
            let of = self.with_store(|database| database.visible(owner, id, now))?;
            let index = self.followed(&of, |database| database.visible(owner, id, now))?;
            visible.push((id.clone(), of, index));
        }
        let found = Found::of(query, vectors, &visible);
        let exact = if vectors.vectors.is_empty() {
            BTreeMap::new()
        } else {
            let of: Vec<&Visible> = visible.iter().map(|(_, of, _)| of).collect();
            let chunks = found.chunks();
            self.with_store(|database| database.vectors(&of, &chunks))?
        };
        let ranking = found.ranked((query, words_share), vectors, &exact);
        let count = query.count();
        let needs_vectors = query.relevance_share.is_some();
        let items = self.with_store(|database| {
            let mut items = Vec::new();
            for (id, score) in ranking.scored {
                if items.len() == count || score < query.score_min || score <= 0.0 {
                    break;
                }
                let place = found.place(id).and_then(|at| visible.get(at));
                let Some((collection, of, _)) = place else {
                    continue;
                };
                // The owner is asked for again; what is gone by now is left out.
                let Ok(chunk) = i64::try_from(id) else {
                    continue;
                };
                if let Some(row) = database.chunk(of, chunk, now)? {
                    let source = Source {
                        collection: collection.clone(),
                        file: row.file,
                        name: row.name,
                        attributes: row.attributes,
                        place: row.place,
                        headings: row.text.headings,
                        text: row.text.text,
                        score,
                        cosine: ranking.cosines.get(&id).copied(),
                    };
                    let vector = row.vector.filter(|_| needs_vectors);
                    items.push(Candidate { source, vector });
                }
            }
            Ok(items)
        })?;
        let coverage = Coverage {
            words_only: vectors.missing.clone(),
            waiting: visible
                .iter()
                .map(|(_, _, index)| read(index).waiting())
                .sum(),
        };
        Ok(Candidates { items, coverage })
    }

    /// Reads the store in one of its states. A store that fails is opened again for the next search.
    fn with_store<T>(
        &self,
        read: impl FnOnce(&mut Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = lock(&self.database);
        if let Err(error) = self.place.file().check() {
            *open = None;
            return Err(error.into());
        }
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
            None => Arc::new(RwLock::new(CollectionIndex::new(self.graph_min))),
        };
        if read(&index).version != Some(of.version) {
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
            self.link(&index);
        }
        Ok(index)
    }

    /// Has a thread add vectors to a graph, if there are some that are not in it. They are compared one by one until then.
    fn link(&self, index: &Index) {
        let is_due = {
            let index = read(index);
            index.unlinked() > 0 && !index.is_linking.swap(true, SeqCst)
        };
        if !is_due {
            return;
        }
        let (weak, linker) = (Arc::downgrade(index), Arc::clone(&self.linker));
        let thread = std::thread::Builder::new().name("kebne-links".to_owned());
        let spawned = thread.spawn(move || {
            let _one_at_a_time = lock(&linker);
            while let Some(index) = weak.upgrade() {
                let links = read(&index).plan();
                if let Some(links) = links {
                    let mut writing = index.write().unwrap_or_else(PoisonError::into_inner);
                    writing.apply(links);
                    continue;
                }
                // The next search that finds new vectors begins again.
                read(&index).is_linking.store(false, SeqCst);
                return;
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "a large vector store is searched without a graph");
            read(index).is_linking.store(false, SeqCst);
        }
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

fn read(index: &Index) -> RwLockReadGuard<'_, CollectionIndex> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
