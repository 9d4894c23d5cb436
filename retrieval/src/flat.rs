//! The exact index: each search compares the query with every vector.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

use crate::vector::{InvalidVector, QueryCodes, Vector};

/// A vector that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The identifier under which it was inserted.
    pub id: u64,
    /// The cosine between query and vector, -1 to 1.
    pub score: f32,
}

/// An exact index of vectors with the same number of components, each stored in one byte per component and about 40 bytes
/// beside them.
///
/// A search compares the query with every vector: it takes time in proportion to their number (about 0.1 ms per 1,000
/// vectors of 384 components), finds the true neighbours except where their scores differ by less than a thousandth or so,
/// and sees each insertion and removal at once.
#[derive(Clone, Debug)]
pub struct FlatIndex {
    dimensions: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
    ids: Vec<u64>,
    rows: BTreeMap<u64, usize>,
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
        Ok(Self {
            dimensions,
            codes: Vec::new(),
            scales: Vec::new(),
            ids: Vec::new(),
            rows: BTreeMap::new(),
        })
    }

    /// Returns the number of components of its vectors.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Returns the number of vectors.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns `true` if there are no vectors.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the bytes that the vectors take, without what the allocator adds.
    pub fn bytes(&self) -> usize {
        self.codes.capacity()
            + self.scales.capacity() * size_of::<f32>()
            + self.ids.capacity() * size_of::<u64>()
            + self.rows.len() * 2 * size_of::<(u64, usize)>()
    }

    /// Inserts a vector, in place of the one with the same identifier if there is one.
    ///
    /// # Errors
    /// Fails if the vector has another number of components than the index.
    pub fn insert(&mut self, id: u64, vector: &Vector) -> Result<(), InvalidVector> {
        if vector.dimensions() != self.dimensions {
            return Err(InvalidVector::Dimensions(vector.dimensions()));
        }
        self.remove(id);
        let stored = vector.codes();
        self.rows.insert(id, self.ids.len());
        self.ids.push(id);
        self.scales.push(stored.scale);
        self.codes.extend_from_slice(&stored.codes);
        Ok(())
    }

    /// Removes a vector. Returns `false` if there is none with this identifier.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(row) = self.rows.remove(&id) else {
            return false;
        };
        self.ids.swap_remove(row);
        self.scales.swap_remove(row);
        // The last vector takes the place of the removed one.
        let last = self.codes.len() - self.dimensions;
        self.codes.copy_within(last.., row * self.dimensions);
        self.codes.truncate(last);
        if let Some(&moved) = self.ids.get(row) {
            self.rows.insert(moved, row);
        }
        true
    }

    /// Returns the `limit` vectors with the greatest scores among those that `wanted` accepts, the greatest first; of equal
    /// scores the smaller identifier comes first.
    ///
    /// # Errors
    /// Fails if the query has another number of components than the index.
    pub fn search(
        &self,
        query: &Vector,
        limit: usize,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Vec<Hit>, InvalidVector> {
        if query.dimensions() != self.dimensions {
            return Err(InvalidVector::Dimensions(query.dimensions()));
        }
        if limit == 0 {
            return Ok(Vec::new());
        }
        let query = query.query_codes();
        let mut best: BinaryHeap<Worst> = BinaryHeap::with_capacity(limit.min(self.len()) + 1);
        for ((codes, scale), &id) in self
            .codes
            .chunks_exact(self.dimensions)
            .zip(&self.scales)
            .zip(&self.ids)
        {
            let hit = Hit {
                id,
                score: score(codes, *scale, &query),
            };
            let full = best.len() == limit;
            if full && best.peek().is_some_and(|worst| Worst(hit) >= *worst) || !wanted(id) {
                continue;
            }
            if full {
                best.pop();
            }
            best.push(Worst(hit));
        }
        Ok(best
            .into_sorted_vec()
            .into_iter()
            .map(|Worst(hit)| hit)
            .collect())
    }
}

fn score(codes: &[i8], scale: f32, query: &QueryCodes) -> f32 {
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
            let hits = index.search(&query, 10, |_| true).unwrap();
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
        let hits = index.search(&query, 5, |id| id % 10 == 3).unwrap();
        assert_eq!(hits.len(), 5);
        assert!(hits.iter().all(|hit| hit.id % 10 == 3));
        assert!(index.search(&query, 0, |_| true).unwrap().is_empty());
    }

    #[test]
    fn a_vector_of_another_length_is_refused() {
        let mut index = FlatIndex::new(3).unwrap();
        let other = Vector::new(&[1.0, 0.0]).unwrap();
        assert_eq!(index.insert(1, &other), Err(InvalidVector::Dimensions(2)));
        assert_eq!(
            index.search(&other, 1, |_| true),
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
            let hits = index.search(&query, 100, |_| true).unwrap();
            prop_assert_eq!(hits.len(), model.len());
            for hit in hits {
                prop_assert!((model[&hit.id].cosine(&query) - hit.score).abs() < 0.01);
            }
        }
    }
}
