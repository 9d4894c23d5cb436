//! Retrieval: text becomes chunks, chunks become vectors, and a query finds the nearest ones. Pure functions of their
//! arguments: no I/O, no clock, no threads.

mod blend;
mod chunk;
mod counted;
mod diverse;
mod embedder;
mod filter;
mod flat;
mod fuse;
mod graph;
mod hashed;
mod ids;
mod index;
mod letters;
mod quality;
mod rescore;
mod vector;
mod window;
mod words;

pub use blend::{WORDS_SHARE, blend};
pub use chunk::{Chunk, ChunkRules, Chunker, InvalidChunkRules, TextKind};
pub use counted::Abandoned;
pub use diverse::diverse;
pub use embedder::{BuiltIn, EmbedError, Embedded, Embedder, Role};
pub use filter::{Attribute, Attributes, Filter, InvalidAttributes};
pub use flat::FlatIndex;
pub use fuse::{Fused, RANK_OFFSET, fuse};
pub use graph::{GraphIndex, Links};
pub use hashed::HashedNgrams;
pub use ids::IdMap;
pub use index::{Hit, VectorIndex};
pub use quality::{Judged, Quality};
pub use rescore::{CANDIDATES_EACH, rescored};
pub use vector::{InvalidVector, Vector};
pub use words::{WordHit, WordIndex};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
