//! Retrieval: text becomes chunks, chunks become vectors, and a query finds the nearest ones. Pure functions of their
//! arguments: no I/O, no clock, no threads.

mod chunk;
mod counted;
mod diverse;
mod filter;
mod flat;
mod fuse;
mod hashed;
mod quality;
mod vector;
mod window;
mod words;

pub use chunk::{Chunk, ChunkRules, Chunker, InvalidChunkRules, TextKind};
pub use counted::Abandoned;
pub use diverse::diverse;
pub use filter::{Attribute, Attributes, Filter, InvalidAttributes};
pub use flat::{FlatIndex, Hit};
pub use fuse::{Fused, RANK_OFFSET, fuse};
pub use hashed::HashedNgrams;
pub use quality::{Judged, Quality};
pub use vector::{InvalidVector, Vector};
pub use words::WordIndex;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
