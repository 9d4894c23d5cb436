//! The approximate index for many vectors: a graph of near neighbours that a search walks, instead of comparing all.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

use crate::{
    flat::{Best, FlatIndex, Rows, score},
    ids::IdMap,
    index::{Hit, VectorIndex},
    vector::{InvalidVector, Vector},
};

/// The links of a row in each layer above the lowest; the lowest has twice as many. The middle of the range that the paper recommends.
const LINKS: usize = 16;
const BASE_LINKS: usize = 2 * LINKS;
/// The candidates among which the links of a new row are chosen. More make a better graph, and a slower construction.
const BUILD_CANDIDATES: usize = 100;
/// The fewest candidates of a search. With it the recall of 10 of 100,000 clustered vectors is above 0.95.
const SEARCH_CANDIDATES: usize = 128;
/// The highest layer; it would be reached with 16^8 rows.
const LEVEL_MAX: u8 = 8;
/// The most rows whose links are sought at once. They do not see each other, so they are few beside those in the graph.
const BATCH_MAX: usize = 64;
/// The removed rows from which the index is built anew, if they are also more than a third.
const REMOVED_MIN: usize = 1024;
/// No row.
const NONE: u32 = u32::MAX;

/// An approximate index: a hierarchical graph of near neighbours over the codes of a [`FlatIndex`].
///
/// A vector that is inserted is found at once, by comparison; [`Self::plan`] and [`Self::apply`] add it to the graph later. So inserting
/// does not wait for the graph, and a search misses nothing but what the graph misses. A search whose condition accepts few of
/// the vectors compares all of them. A removed vector stays in the graph as a way to others until a third is removed; then the graph is
/// built anew.
///
/// Beside its codes a vector takes about 150 bytes.
///
/// Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
/// graphs", 2016, with its heuristic choice of neighbours (algorithm 4).
#[derive(Clone, Debug)]
pub struct GraphIndex {
    rows: Rows,
    places: IdMap<u32>,
    removed: Vec<bool>,
    /// For each row in the graph its highest layer.
    levels: Vec<u8>,
    /// The links of each row in the lowest layer, [`BASE_LINKS`] places for each.
    base: Vec<u32>,
    /// The links in the layers above it.
    upper: BTreeMap<u32, Vec<Vec<u32>>>,
    /// The row at which a search begins: one of the highest layer.
    entry: Option<u32>,
    /// It grows when the rows are numbered anew.
    generation: u64,
}

/// Links that rows are to get, as [`GraphIndex::plan`] found them.
#[derive(Clone, Debug)]
pub struct Links {
    generation: u64,
    first: usize,
    /// For each row its links in each of its layers, the lowest first.
    rows: Vec<Vec<Vec<u32>>>,
}

/// A row and its similarity to what is sought; the most similar is the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Near {
    score: f32,
    row: u32,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<FlatIndex> for GraphIndex {
    fn from(flat: FlatIndex) -> Self {
        let ids = flat.rows.ids.iter().copied();
        Self {
            places: ids.zip(0_u32..).collect(),
            removed: vec![false; flat.rows.len()],
            rows: flat.rows,
            levels: Vec::new(),
            base: Vec::new(),
            upper: BTreeMap::new(),
            entry: None,
            generation: 0,
        }
    }
}

impl GraphIndex {
    /// Returns the number of rows that are not in the graph yet, and are compared one by one.
    pub fn unlinked(&self) -> usize {
        self.rows.len() - self.levels.len()
    }

    /// Returns the links for the next rows; `None` if all are in the graph. This is the long part of adding rows, and changes nothing.
    pub fn plan(&self) -> Option<Links> {
        let first = self.levels.len();
        if self.unlinked() == 0 {
            return None;
        }
        let count = (first / 64).clamp(1, BATCH_MAX).min(self.unlinked());
        let rows = (first..first + count).map(|row| self.links_of(row));
        Some(Links {
            generation: self.generation,
            first,
            rows: rows.collect(),
        })
    }

    /// Adds rows with their links. Links that do not fit the index any more are left out: the next plan is made for it.
    pub fn apply(&mut self, links: Links) {
        if links.generation != self.generation || links.first != self.levels.len() {
            return;
        }
        for (row, layers) in (links.first..).zip(links.rows) {
            self.link(row, layers);
        }
    }

    fn links_of(&self, row: usize) -> Vec<Vec<u32>> {
        let level = level_of(row);
        let mut layers = vec![Vec::new(); usize::from(level) + 1];
        let Some(entry) = self.entry else {
            return layers;
        };
        let near = |other: u32| self.similarity(row, other as usize);
        let top = self.levels[entry as usize];
        let mut begin = self.descend(entry, top, level, &near);
        for layer in (0..=level.min(top)).rev() {
            let found = self.walk(&begin, layer, BUILD_CANDIDATES, &near);
            layers[usize::from(layer)] = self.chosen(&found, LINKS);
            begin = found;
        }
        layers
    }

    fn link(&mut self, row: usize, layers: Vec<Vec<u32>>) {
        let Ok(number) = u32::try_from(row) else {
            return;
        };
        let level = level_of(row);
        self.levels.push(level);
        self.base.resize(self.base.len() + BASE_LINKS, NONE);
        if level > 0 {
            let above = vec![Vec::new(); usize::from(level)];
            self.upper.insert(number, above);
        }
        for (layer, links) in (0..).zip(layers) {
            for &other in &links {
                self.link_back(other, number, layer);
            }
            self.set_neighbours(number, layer, &links);
        }
        let is_higher = |entry: u32| self.levels[entry as usize] < level;
        if self.entry.is_none_or(is_higher) {
            self.entry = Some(number);
        }
    }

    /// Adds a link from a row to a new one. If it has too many, those are kept that lead in different directions.
    fn link_back(&mut self, row: u32, new: u32, layer: u8) {
        let mut links: Vec<u32> = self.neighbours(row, layer).collect();
        links.push(new);
        let most = if layer == 0 { BASE_LINKS } else { LINKS };
        if links.len() > most {
            let mut near: Vec<Near> = links
                .iter()
                .map(|&other| Near {
                    score: self.similarity(row as usize, other as usize),
                    row: other,
                })
                .collect();
            near.sort_unstable_by(|left, right| right.cmp(left));
            links = self.chosen(&near, most);
        }
        self.set_neighbours(row, layer, &links);
    }

    /// Chooses links among candidates, the most similar first: those that are more similar to the row than to the links chosen before.
    /// Places that are left go to the most similar of the others.
    fn chosen(&self, found: &[Near], most: usize) -> Vec<u32> {
        let (mut chosen, mut others) = (Vec::with_capacity(most), Vec::new());
        for near in found {
            if chosen.len() == most {
                return chosen;
            }
            let leads_on = chosen.iter().all(|&other: &u32| {
                self.similarity(near.row as usize, other as usize) < near.score
            });
            if leads_on {
                chosen.push(near.row);
            } else {
                others.push(near.row);
            }
        }
        let left = most - chosen.len();
        chosen.extend(others.into_iter().take(left));
        chosen
    }

    fn neighbours(&self, row: u32, layer: u8) -> impl Iterator<Item = u32> {
        let links: &[u32] = if layer == 0 {
            &self.base[row as usize * BASE_LINKS..][..BASE_LINKS]
        } else {
            let layers = self.upper.get(&row);
            let links = layers.and_then(|layers| layers.get(usize::from(layer) - 1));
            links.map_or(&[], Vec::as_slice)
        };
        links.iter().copied().take_while(|link| *link != NONE)
    }

    fn set_neighbours(&mut self, row: u32, layer: u8, links: &[u32]) {
        if layer == 0 {
            let places = &mut self.base[row as usize * BASE_LINKS..][..BASE_LINKS];
            places.fill(NONE);
            places[..links.len()].copy_from_slice(links);
        } else if let Some(layers) = self.upper.get_mut(&row)
            && let Some(kept) = layers.get_mut(usize::from(layer) - 1)
        {
            *kept = links.to_vec();
        }
    }

    /// Walks down from layer `top` to the one above `to`, each time to the most similar row.
    fn descend(&self, entry: u32, top: u8, to: u8, near: &impl Fn(u32) -> f32) -> Vec<Near> {
        let score = near(entry);
        let mut best = Near { score, row: entry };
        for layer in (to + 1..=top).rev() {
            loop {
                let around = self.neighbours(best.row, layer);
                let around = around.map(|row| Near {
                    score: near(row),
                    row,
                });
                match around.max() {
                    Some(next) if next > best => best = next,
                    _ => break,
                }
            }
        }
        vec![best]
    }

    /// Returns the `count` most similar rows that a walk in a layer finds, the most similar first.
    fn walk(
        &self,
        begin: &[Near],
        layer: u8,
        count: usize,
        near: &impl Fn(u32) -> f32,
    ) -> Vec<Near> {
        let mut seen = vec![0_u64; self.levels.len() / 64 + 1];
        let mut see = |row: u32| {
            let (word, bit) = (row as usize / 64, 1 << (row % 64));
            let is_new = seen[word] & bit == 0;
            seen[word] |= bit;
            is_new
        };
        let mut open: BinaryHeap<Near> = BinaryHeap::new();
        let mut found: BinaryHeap<std::cmp::Reverse<Near>> = BinaryHeap::new();
        for &each in begin {
            if see(each.row) {
                open.push(each);
                found.push(std::cmp::Reverse(each));
            }
        }
        while found.len() > count {
            found.pop();
        }
        while let Some(next) = open.pop() {
            let worst = found.peek().map(|worst| worst.0);
            if found.len() == count && worst.is_some_and(|worst| next < worst) {
                break;
            }
            for row in self.neighbours(next.row, layer) {
                if !see(row) {
                    continue;
                }
                let each = Near {
                    score: near(row),
                    row,
                };
                let full = found.len() == count;
                if full && found.peek().is_some_and(|worst| each < worst.0) {
                    continue;
                }
                if full {
                    found.pop();
                }
                found.push(std::cmp::Reverse(each));
                open.push(each);
            }
        }
        let mut found: Vec<Near> = found.into_iter().map(|each| each.0).collect();
        found.sort_unstable_by(|left, right| right.cmp(left));
        found
    }

    /// Returns the cosine between two rows.
    fn similarity(&self, left: usize, right: usize) -> f32 {
        let codes = self.rows.codes(left).iter().zip(self.rows.codes(right));
        let sum: i32 = codes
            .map(|(&left, &right)| i32::from(left) * i32::from(right))
            .sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a relative error of 2^-24 is far below that of the codes"
        )]
        let sum = sum as f32;
        sum * self.rows.scales[left] * self.rows.scales[right]
    }

    /// Leaves out the rows that were removed; all others are to be linked anew.
    fn compact(&mut self) {
        let mut rows = Rows {
            dimensions: self.rows.dimensions,
            codes: Vec::with_capacity(self.places.len() * self.rows.dimensions),
            scales: Vec::with_capacity(self.places.len()),
            ids: Vec::with_capacity(self.places.len()),
        };
        let kept = (0..self.rows.len()).filter(|row| !self.removed[*row]);
        for row in kept {
            rows.ids.push(self.rows.ids[row]);
            rows.scales.push(self.rows.scales[row]);
            rows.codes.extend_from_slice(self.rows.codes(row));
        }
        self.places = rows.ids.iter().copied().zip(0_u32..).collect();
        self.removed = vec![false; rows.len()];
        self.rows = rows;
        self.levels = Vec::new();
        self.base = Vec::new();
        self.upper = BTreeMap::new();
        self.entry = None;
        self.generation += 1;
    }
}

impl VectorIndex for GraphIndex {
    fn dimensions(&self) -> usize {
        self.rows.dimensions
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn bytes(&self) -> usize {
        let upper = self.upper.values().flatten();
        let upper: usize = upper.map(|links| 24 + links.capacity() * 4).sum();
        self.rows.bytes()
            + self.places.bytes()
            + self.removed.capacity()
            + self.levels.capacity()
            + self.base.capacity() * size_of::<u32>()
            + upper
    }

    fn insert(&mut self, id: u64, vector: &Vector) -> Result<(), InvalidVector> {
        if vector.dimensions() != self.rows.dimensions {
            return Err(InvalidVector::Dimensions(vector.dimensions()));
        }
        self.remove(id);
        // The greatest number means that there is no row.
        if let Some(row) = u32::try_from(self.rows.len())
            .ok()
            .filter(|row| *row != NONE)
        {
            self.rows.push(id, vector);
            self.removed.push(false);
            self.places.insert(id, row);
        }
        Ok(())
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some(row) = self.places.remove(id) else {
            return false;
        };
        self.removed[row as usize] = true;
        let removed = self.rows.len() - self.places.len();
        if removed >= REMOVED_MIN && removed > self.rows.len() / 3 {
            self.compact();
        }
        true
    }

    fn search(
        &self,
        query: &Vector,
        limit: usize,
        wanted: &dyn Fn(u64) -> bool,
    ) -> Result<Vec<Hit>, InvalidVector> {
        if query.dimensions() != self.rows.dimensions {
            return Err(InvalidVector::Dimensions(query.dimensions()));
        }
        if limit == 0 {
            return Ok(Vec::new());
        }
        let codes = query.query_codes();
        let mut best = Best::new(limit, self.rows.len());
        let mut compared = 0;
        if let Some(entry) = self.entry {
            let count = SEARCH_CANDIDATES.max(2 * limit);
            let near = |row: u32| {
                let row = row as usize;
                score(self.rows.codes(row), self.rows.scales[row], &codes)
            };
            let begin = self.descend(entry, self.levels[entry as usize], 0, &near);
            let found = self.walk(&begin, 0, count, &near);
            let mut hits = Vec::with_capacity(found.len());
            for each in found {
                let (row, score) = (each.row as usize, each.score);
                let id = self.rows.ids[row];
                if !self.removed[row] && wanted(id) {
                    hits.push(Hit { id, score });
                }
            }
            // A condition that accepts few of the nearest rows may accept others that the walk did not reach.
            if hits.len() >= count / 2 {
                compared = self.levels.len();
                for hit in hits {
                    if best.takes(hit) {
                        best.push(hit);
                    }
                }
            }
        }
        let wanted = |row: usize, id| !self.removed[row] && wanted(id);
        self.rows.scan(compared, &codes, &mut best, wanted);
        Ok(best.sorted())
    }
}

/// Returns the highest layer of a row: each layer has a sixteenth of the rows of the one below it. The same row always has the same.
fn level_of(row: usize) -> u8 {
    // The finalizer of SplitMix64.
    let mut hash = (row as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let quarter = (hash ^ (hash >> 31)).trailing_zeros() / 4;
    u8::try_from(quarter).map_or(LEVEL_MAX, |level| level.min(LEVEL_MAX))
}

#[cfg(test)]
mod tests;
