//! The search in the turns of a session: by words and by vectors.
//!
//! The index of a session is made of its kept turns when it is first searched, and lives in memory only, within a bound and as
//! long as it is used. Whoever searches has read the session before, which checks its owner. Words are indexed at once; vectors
//! are made in the background, and a search goes without those that are not there yet.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kebne_context::{
    ContextHandle, MemorySettings,
    store::{Session, Turn},
};
use kebne_retrieval::{
    CANDIDATES_EACH, Embedder, FlatIndex, Role, Vector, VectorIndex as _, WORDS_SHARE, WordIndex,
    blend,
};
use tokio::{sync::OwnedMutexGuard, time::Instant};

use crate::{off_loop::OffLoop, surface::error::ApiError, transcript};

/// The number of turns that are read from the store at once.
const PAGE: usize = 64;
/// The longest text of a turn in an index, in bytes.
const TEXT_MAX: usize = 4 << 10;
/// The number of texts of one call of the embedder. The built-in one takes about a millisecond for them.
const BATCH: usize = 8;
/// The time for which a search waits for vectors that are being made.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time for which a call of a model waits for them.
const BRIEF: Duration = Duration::from_millis(250);

/// The indexes of sessions.
pub struct Recall {
    entries: Mutex<BTreeMap<String, Entry>>,
    context: ContextHandle,
    off_loop: OffLoop,
    size_max: usize,
    idle: Duration,
}

#[derive(Debug)]
struct Entry {
    index: Arc<tokio::sync::Mutex<Index>>,
    used: Instant,
    bytes: usize,
}

#[derive(Default)]
struct Index {
    /// How often turns had been removed from the session.
    cuts: u64,
    /// The number of the last turn.
    through: u64,
    words: WordIndex,
    vectors: Option<FlatIndex>,
    /// The turns whose vectors are still to be made.
    pending: VecDeque<(u64, String)>,
    /// `true` while they are made.
    is_filling: bool,
}

/// A question to a session.
#[derive(Clone, Debug)]
pub struct Search {
    /// The text that turns are to resemble.
    pub query: String,
    /// The largest number of turns.
    pub limit: usize,
    /// Only turns before this one are found.
    pub before: u64,
    /// `true` if the search waits for vectors.
    pub waits: bool,
}

/// A turn that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The number of the turn.
    pub turn: u64,
    /// How near it is and how well its words fit, as [`blend`] computes it, 0 to 1.
    pub score: f32,
}

impl Recall {
    /// Creates the indexes, within the bounds of the settings.
    pub fn new(settings: &MemorySettings, context: ContextHandle, off_loop: OffLoop) -> Self {
        Self {
            entries: Mutex::default(),
            context,
            off_loop,
            size_max: settings.search_size_max.as_usize(),
            idle: settings.search_idle.0,
        }
    }

    /// Returns the bytes of all indexes.
    pub fn bytes(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(|entry| entry.bytes).sum()
    }

    /// Drops the index of a session.
    pub fn forget(&self, session: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(session);
    }

    /// Drops the indexes that are not used any more.
    pub fn tidy(&self) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.used.elapsed() < self.idle);
    }

    /// Returns the turns of a session that fit a question best, the best first. The vectors are made by `embedder`, all of whose vectors must
    /// be in one space.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn search(
        &self,
        session: &Session,
        search: Search,
        embedder: &Arc<dyn Embedder>,
    ) -> Result<Vec<Hit>, ApiError> {
        if search.query.trim().is_empty() || search.limit == 0 {
            return Ok(Vec::new());
        }
        let shared = self.index_of(&session.id);
        let index = Arc::clone(&shared).lock_owned().await;
        let index = self.current(session, index).await?;
        let bytes = index.bytes();
        drop(index);
        self.note(&session.id, bytes);
        let patience = if search.waits { PATIENCE } else { BRIEF };
        fill(&shared, embedder, patience).await;
        let query = embedder.embed(vec![search.query.clone()], Role::Query);
        let query = tokio::time::timeout(patience, query).await;
        let query = query
            .ok()
            .and_then(Result::ok)
            .and_then(|mut all| all.pop());
        let index = shared.lock_owned().await;
        let found = move || index.search(&search, query.as_ref(), WORDS_SHARE);
        self.off_loop.run(found).await
    }

    /// Brings an index to the present turns of its session.
    async fn current(
        &self,
        session: &Session,
        mut index: OwnedMutexGuard<Index>,
    ) -> Result<OwnedMutexGuard<Index>, ApiError> {
        if index.cuts != session.marks.cuts {
            *index = Index {
                cuts: session.marks.cuts,
                ..Index::default()
            };
        }
        while index.through < session.turns {
            let (owner, id) = (&session.owner, &session.id);
            let page = self.context.turns(owner, id, index.through, PAGE).await?;
            if page.items.is_empty() {
                index.through = session.turns;
            } else {
                index = added(&self.off_loop, index, page.items).await?;
            }
        }
        Ok(index)
    }

    fn index_of(&self, session: &str) -> Arc<tokio::sync::Mutex<Index>> {
        self.tidy();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(session.to_owned()).or_insert_with(|| Entry {
            index: Arc::default(),
            used: Instant::now(),
            bytes: 0,
        });
        entry.used = Instant::now();
        Arc::clone(&entry.index)
    }

    /// Notes the size of an index, and drops those that were not used for the longest time if all are too large together.
    fn note(&self, session: &str, bytes: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(session) {
            entry.bytes = bytes;
        }
        let mut all: usize = entries.values().map(|entry| entry.bytes).sum();
        while all > self.size_max {
            let others = entries.iter().filter(|(id, _)| *id != session);
            let oldest = others.min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else {
                // This one alone is larger; it is dropped after its search.
                entries.remove(session);
                return;
            };
            all -= entries.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}

async fn added(
    off_loop: &OffLoop,
    mut index: OwnedMutexGuard<Index>,
    turns: Vec<Turn>,
) -> Result<OwnedMutexGuard<Index>, ApiError> {
    let add = move || {
        for turn in turns {
            let text = transcript::of_turn(&turn, TEXT_MAX);
            index.through = turn.number;
            if !text.is_empty() {
                index.words.insert(turn.number, &text);
                index.pending.push_back((turn.number, text));
            }
        }
        index
    };
    off_loop.run(add).await
}

/// Has the missing vectors made, and waits for them for some time. The work goes on after it.
async fn fill(
    shared: &Arc<tokio::sync::Mutex<Index>>,
    embedder: &Arc<dyn Embedder>,
    patience: Duration,
) {
    {
        let mut index = shared.lock().await;
        if index.pending.is_empty() || index.is_filling {
            return;
        }
        index.is_filling = true;
    }
    let (shared, embedder) = (Arc::clone(shared), Arc::clone(embedder));
    let work = actix_rt::spawn(async move {
        while embed_some(&shared, &*embedder).await {
            tokio::task::yield_now().await;
        }
        shared.lock().await.is_filling = false;
    });
    // If that takes longer, the search goes on with what is there.
    tokio::time::timeout(patience, work).await.ok();
}

/// Makes the vectors of some turns; returns `true` if there is more to do.
async fn embed_some(shared: &tokio::sync::Mutex<Index>, embedder: &dyn Embedder) -> bool {
    let (cuts, batch) = {
        let mut index = shared.lock().await;
        let count = index.pending.len().min(BATCH);
        (index.cuts, index.pending.drain(..count).collect::<Vec<_>>())
    };
    if batch.is_empty() {
        return false;
    }
    let texts = batch.iter().map(|(_, text)| text.clone()).collect();
    let vectors = embedder.embed(texts, Role::Document).await;
    let mut index = shared.lock().await;
    if index.cuts != cuts {
        return true;
    }
    match vectors {
        Ok(vectors) => {
            for ((turn, _), vector) in batch.iter().zip(vectors) {
                index.put(*turn, &vector);
            }
            true
        }
        Err(error) => {
            tracing::debug!(%error, "turns of a session have no vectors");
            if error.is_temporary() {
                // The next search tries again.
                for text in batch.into_iter().rev() {
                    index.pending.push_front(text);
                }
            }
            !error.is_temporary()
        }
    }
}

impl Index {
    fn bytes(&self) -> usize {
        let pending = self.pending.iter().map(|(_, text)| text.len());
        let vectors = self.vectors.as_ref().map_or(0, FlatIndex::bytes);
        self.words.bytes() + vectors + pending.sum::<usize>()
    }

    fn put(&mut self, turn: u64, vector: &Vector) {
        if self.vectors.is_none() {
            self.vectors = FlatIndex::new(vector.dimensions()).ok();
        }
        if let Some(vectors) = &mut self.vectors {
            // A vector of another size is left out; its turn is found by its words.
            vectors.insert(turn, vector).ok();
        }
    }

    /// Returns the turns that fit best. `words_share` is the share of the words in their scores.
    fn search(&self, search: &Search, query: Option<&Vector>, words_share: f32) -> Vec<Hit> {
        let limit = search.limit.saturating_mul(CANDIDATES_EACH);
        let near = self.near(query, limit, &|turn| turn < search.before);
        let near_turns: BTreeSet<u64> = near.keys().copied().collect();
        let wanted = |turn| turn < search.before;
        let words = self
            .words
            .search_with(&search.query, limit, wanted, &near_turns);
        let fits: BTreeMap<u64, f32> = words.iter().map(|hit| (hit.id, hit.fit)).collect();
        let others = |turn| fits.contains_key(&turn) && !near_turns.contains(&turn);
        let mut cosines = self.near(query, fits.len(), &others);
        cosines.extend(near);
        let share = if query.is_some() { words_share } else { 1.0 };
        let turns: BTreeSet<u64> = fits.keys().chain(cosines.keys()).copied().collect();
        let hits = turns.into_iter().map(|turn| {
            let fit = fits.get(&turn).copied().unwrap_or_default();
            let score = blend(cosines.get(&turn).copied(), fit, share);
            Hit { turn, score }
        });
        let mut hits: Vec<Hit> = hits.collect();
        hits.sort_by(|left, right| {
            let by_score = right.score.total_cmp(&left.score);
            by_score.then(left.turn.cmp(&right.turn))
        });
        hits.truncate(search.limit);
        hits
    }

    /// Returns the cosines of the nearest turns.
    fn near(
        &self,
        query: Option<&Vector>,
        limit: usize,
        wanted: &dyn Fn(u64) -> bool,
    ) -> BTreeMap<u64, f32> {
        let vectors = self.vectors.as_ref().zip(query);
        let near = vectors.and_then(|(vectors, query)| vectors.search(query, limit, wanted).ok());
        let near = near.into_iter().flatten();
        near.map(|hit| (hit.id, hit.score)).collect()
    }
}

impl std::fmt::Debug for Recall {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recall")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Index")
            .field("through", &self.through)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kebne_retrieval::{BuiltIn, HashedNgrams};

    use super::*;

    fn search(query: &str, before: u64) -> Search {
        Search {
            query: query.to_owned(),
            limit: 2,
            before,
            waits: true,
        }
    }

    #[actix::test]
    async fn turns_are_found_by_words_and_by_vectors_before_a_turn() {
        let mut index = Index::default();
        for (turn, text) in [
            (1, "user: my dog is called Rex"),
            (2, "user: what is the weather in Kiruna"),
            (3, "user: dogs are great"),
        ] {
            index.words.insert(turn, text);
            index.pending.push_back((turn, text.to_owned()));
        }
        let shared = Arc::new(tokio::sync::Mutex::new(index));
        let embedder: Arc<dyn Embedder> = Arc::new(BuiltIn::new(HashedNgrams::new(64)));
        fill(&shared, &embedder, PATIENCE).await;
        let index = shared.lock().await;
        assert_eq!(index.vectors.as_ref().map(FlatIndex::len), Some(3));
        assert!(index.pending.is_empty() && !index.is_filling);
        let text = vec!["how is my dog called".to_owned()];
        let query = embedder.embed(text, Role::Query).await.unwrap().pop();
        let found = index.search(&search("how is my dog called", 4), query.as_ref(), 0.5);
        assert_eq!(found[0].turn, 1);
        let found = index.search(&search("how is my dog called", 1), query.as_ref(), 0.5);
        assert_eq!(found, []);
        // Without a vector of the question, words are enough.
        let found = index.search(&search("weather Kiruna", 4), None, 0.5);
        assert_eq!(found[0].turn, 2);
    }

    #[actix::test]
    async fn indexes_that_were_not_used_for_the_longest_time_are_dropped_first() {
        let system = kebne_actors::ActorSystem::new("test", 1);
        let store = Arc::new(kebne_context::MemoryStore::default());
        let parts = kebne_context::ContextParts {
            open: Arc::new(move || Ok(Arc::clone(&store) as _)),
            limits: kebne_context::ContextLimits::default(),
            clock: Arc::new(|| 0),
            former_owners: Vec::new(),
        };
        let recall = Recall {
            entries: Mutex::default(),
            context: ContextHandle::start(&system, parts),
            off_loop: OffLoop::new(),
            size_max: 100,
            idle: Duration::from_mins(1),
        };
        for (session, bytes) in [("a", 60), ("b", 30), ("c", 40)] {
            recall.index_of(session);
            recall.note(session, bytes);
        }
        assert_eq!(recall.bytes(), 70);
        recall.index_of("d");
        recall.note("d", 1000);
        assert_eq!(recall.bytes(), 0);
        recall.index_of("e");
        recall.note("e", 10);
        recall.forget("e");
        assert_eq!(recall.bytes(), 0);
        system.terminate().await;
    }
}
