//! The exact index: each search compares the query with every vector.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::{
    ids::IdMap,
    index::{Hit, VectorIndex},
    vector::{InvalidVector, QueryCodes, Vector},
};

/// An exact index of vectors with the same number of components, each stored in one byte per component and about 40 bytes
/// beside them.
///
/// A search compares the query with every vector: it takes time in proportion to their number (about 0.1 ms per 1,000
/// vectors of 384 components), finds the true neighbours except where their scores differ by less than a thousandth or so,
/// and sees each insertion and removal at once.
#[derive(Clone, Debug)]
pub struct FlatIndex {
    pub(crate) rows: Rows,
    places: IdMap<usize>,
}

/// Stored vectors, one behind the other.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) dimensions: usize,
    pub(crate) codes: Vec<i8>,
    pub(crate) scales: Vec<f32>,
    pub(crate) ids: Vec<u64>,
}

/// The rows for which there is room at first.
const ROWS_MIN: usize = 16;

impl Rows {
    /// Returns the number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.codes.capacity()
            + self.scales.capacity() * size_of::<f32>()
            + self.ids.capacity() * size_of::<u64>()
    }

    pub(crate) fn codes(&self, row: usize) -> &[i8] {
        &self.codes[row * self.dimensions..][..self.dimensions]
    }

    /// Adds a vector; returns its row.
    pub(crate) fn push(&mut self, id: u64, vector: &Vector) -> usize {
        let stored = vector.codes();
        if self.codes.len() + self.dimensions > self.codes.capacity() {
            // By a sixteenth: doubling would leave up to half of the memory unused.
            let rows = (self.len() / 16).max(ROWS_MIN);
            self.codes.reserve_exact(rows * self.dimensions);
            self.scales.reserve_exact(rows);
            self.ids.reserve_exact(rows);
        }
        self.ids.push(id);
        self.scales.push(stored.scale);
        self.codes.extend_from_slice(&stored.codes);
        self.ids.len() - 1
    }

    /// Adds the rows from `first` on to the best hits.
    pub(crate) fn scan(
        &self,
        first: usize,
        query: &QueryCodes,
        best: &mut Best,
        wanted: impl Fn(usize, u64) -> bool,
    ) {
        let codes = self.codes[first * self.dimensions..].chunks_exact(self.dimensions);
        let rows = codes.zip(&self.scales[first..]).zip(&self.ids[first..]);
        for (row, ((codes, scale), &id)) in (first..).zip(rows) {
            let score = score(codes, *scale, query);
            let hit = Hit { id, score };
            if best.takes(hit) && wanted(row, id) {
                best.push(hit);
            }
        }
    }
}

/// The best hits of a search.
pub(crate) struct Best {
    heap: BinaryHeap<Worst>,
    limit: usize,
}

impl Best {
    pub(crate) fn new(limit: usize, rows: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(limit.min(rows) + 1),
            limit,
        }
    }

    /// Returns `true` if a hit is one of the best so far.
    pub(crate) fn takes(&self, hit: Hit) -> bool {
        self.heap.len() < self.limit || self.heap.peek().is_some_and(|worst| Worst(hit) < *worst)
    }

    pub(crate) fn push(&mut self, hit: Hit) {
        if self.heap.len() == self.limit {
            self.heap.pop();
        }
        self.heap.push(Worst(hit));
    }

    /// Returns the hits, the greatest score first; of equal scores the smaller identifier.
    pub(crate) fn sorted(self) -> Vec<Hit> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|Worst(hit)| hit).collect()
    }
}

impl FlatIndex {
    /// Creates an index of vectors with this number of components.
    ///
    /// # Errors
    /// Fails if the number is 0 or greater than [`Vector::DIMENSIONS_MAX`].
    pub fn new(dimensions: usize) -> Result<Self, InvalidVector> {
        if dimensions == 0 || dimensions > Vector::DIMENSIONS_MAX {
            return Err(InvalidVector::Dimensions(dimensions));
        }
        let rows = Rows {
            dimensions,
            codes: Vec::new(),
            scales: Vec::new(),
            ids: Vec::new(),
        };
        Ok(Self {
            rows,
            places: IdMap::default(),
        })
    }
}

impl VectorIndex for FlatIndex {
    fn dimensions(&self) -> usize {
        self.rows.dimensions
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.places.bytes()
    }

    fn insert(&mut self, id: u64, vector: &Vector) -> Result<(), InvalidVector> {
        if vector.dimensions() != self.rows.dimensions {
            return Err(InvalidVector::Dimensions(vector.dimensions()));
        }
        self.remove(id);
        let row = self.rows.push(id, vector);
        self.places.insert(id, row);
        Ok(())
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some(row) = self.places.remove(id) else {
            return false;
        };
        let rows = &mut self.rows;
        rows.ids.swap_remove(row);
        rows.scales.swap_remove(row);
        // The last vector takes the place of the removed one.
        let last = rows.codes.len() - rows.dimensions;
        rows.codes.copy_within(last.., row * rows.dimensions);
        rows.codes.truncate(last);
        if let Some(&moved) = rows.ids.get(row) {
            self.places.insert(moved, row);
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
        let mut best = Best::new(limit, self.rows.len());
        let wanted = |_row, id| wanted(id);
        self.rows.scan(0, &query.query_codes(), &mut best, wanted);
        Ok(best.sorted())
    }
}

pub(crate) fn score(codes: &[i8], scale: f32, query: &QueryCodes) -> f32 {
    let sum: i32 = codes
        .iter()
        .zip(&query.codes)
        .map(|(&left, &right)| i32::from(left) * i32::from(right))
        .sum();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a relative error of 2^-24 is far below that of the codes"
    )]
    let sum = sum as f32;
    (sum * scale * query.scale).clamp(-1.0, 1.0)
}

/// A hit, ordered so that the worst one is the greatest.
#[derive(Clone, Copy, Debug)]
struct Worst(Hit);

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .0
            .score
            .total_cmp(&self.0.score)
            .then(self.0.id.cmp(&other.0.id))
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn random(rng: &mut fastrand::Rng, dimensions: usize) -> Vector {
        let components: Vec<f32> = (0..dimensions)
            .map(|_| rng.f32() + rng.f32() + rng.f32() - 1.5)
            .collect();
        Vector::new(&components).unwrap()
    }

    fn exact(vectors: &BTreeMap<u64, Vector>, query: &Vector, limit: usize) -> Vec<u64> {
        let mut all: Vec<(u64, f32)> = vectors
            .iter()
            .map(|(id, vector)| (*id, vector.cosine(query)))
            .collect();
        all.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        all.into_iter().take(limit).map(|(id, _)| id).collect()
    }

    #[test]
    fn ten_neighbours_of_random_vectors_are_the_true_ones_in_99_of_100() {
        let mut rng = fastrand::Rng::with_seed(11);
        let vectors: BTreeMap<u64, Vector> =
            (0..1000).map(|id| (id, random(&mut rng, 384))).collect();
        let mut index = FlatIndex::new(384).unwrap();
        for (id, vector) in &vectors {
            index.insert(*id, vector).unwrap();
        }
        let mut found = 0;
        for _ in 0..40 {
            let query = random(&mut rng, 384);
            let hits = index.search(&query, 10, &|_| true).unwrap();
            let truth = exact(&vectors, &query, 10);
            found += hits.iter().filter(|hit| truth.contains(&hit.id)).count();
        }
        assert!(found >= 396, "{found} of 400");
    }

    #[test]
    fn only_what_is_wanted_is_found_and_a_limit_of_zero_finds_nothing() {
        let mut rng = fastrand::Rng::with_seed(12);
        let mut index = FlatIndex::new(8).unwrap();
        for id in 0..100 {
            index.insert(id, &random(&mut rng, 8)).unwrap();
        }
        let query = random(&mut rng, 8);
        let hits = index.search(&query, 5, &|id| id % 10 == 3).unwrap();
        assert_eq!(hits.len(), 5);
        assert!(hits.iter().all(|hit| hit.id % 10 == 3));
        assert!(index.search(&query, 0, &|_| true).unwrap().is_empty());
    }

    #[test]
    fn a_vector_of_another_length_is_refused() {
        let mut index = FlatIndex::new(3).unwrap();
        let other = Vector::new(&[1.0, 0.0]).unwrap();
        assert_eq!(index.insert(1, &other), Err(InvalidVector::Dimensions(2)));
        assert_eq!(
            index.search(&other, 1, &|_| true),
            Err(InvalidVector::Dimensions(2))
        );
        assert!(FlatIndex::new(0).is_err());
    }

    proptest! {
        #[test]
        fn it_holds_what_was_inserted_last_and_not_removed(steps in prop::collection::vec((0_u64..12, prop::bool::ANY, -9_i8..9), 0..60)) {
            let mut index = FlatIndex::new(2).unwrap();
            let mut model = BTreeMap::new();
            for (id, insert, angle) in steps {
                if insert {
                    let vector = Vector::new(&[1.0, f32::from(angle)]).unwrap();
                    index.insert(id, &vector).unwrap();
                    model.insert(id, vector);
                } else {
                    prop_assert_eq!(index.remove(id), model.remove(&id).is_some());
                }
            }
            prop_assert_eq!(index.len(), model.len());
            let query = Vector::new(&[1.0, 0.3]).unwrap();
            let hits = index.search(&query, 100, &|_| true).unwrap();
            prop_assert_eq!(hits.len(), model.len());
            for hit in hits {
                prop_assert!((model[&hit.id].cosine(&query) - hit.score).abs() < 0.01);
            }
        }
    }
}
