//! What an index of vectors does.

use crate::vector::{InvalidVector, Vector};

/// A vector that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The identifier under which it was inserted.
    pub id: u64,
    /// The cosine between query and vector, -1 to 1.
    pub score: f32,
}

/// An index of vectors with the same number of components.
pub trait VectorIndex: std::fmt::Debug + Send + Sync {
    /// Returns the number of components of its vectors.
    fn dimensions(&self) -> usize;

    /// Returns the number of vectors.
    fn len(&self) -> usize;

    /// Returns `true` if there are no vectors.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes that the index takes, without what the allocator adds.
    fn bytes(&self) -> usize;

    /// Inserts a vector, in place of the one with the same identifier if there is one.
    ///
    /// # Errors
    /// Fails if the vector has another number of components than the index.
    fn insert(&mut self, id: u64, vector: &Vector) -> Result<(), InvalidVector>;

    /// Removes a vector. Returns `false` if there is none with this identifier.
    fn remove(&mut self, id: u64) -> bool;

    /// Returns the `limit` vectors with the greatest scores among those that `wanted` accepts, the greatest first; of equal scores the
    /// smaller identifier comes first. An index may be exact or miss some of them.
    ///
    /// # Errors
    /// Fails if the query has another number of components than the index.
    fn search(
        &self,
        query: &Vector,
        limit: usize,
        wanted: &dyn Fn(u64) -> bool,
    ) -> Result<Vec<Hit>, InvalidVector>;
}
