//! The actor that owns the file of a store: each step is a transaction, done in time or not at all.

mod claim;
mod keeper;
mod store;

pub use claim::Claim;
pub use keeper::{FileKeeper, StepKind, Sweep, do_step, time_for};
pub use store::FileStore;

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
